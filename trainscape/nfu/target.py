"""What `trainscape nfu` is asked about: layers by name or by shape, the inference layers of a model or a scenario, a program."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.errors import nearest
from graph.record import record
from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer
from trainscape.errors import Mistake, ScenarioError

if TYPE_CHECKING:
    from hw.nfu.isa import Program
    from trainscape.scenario import ModelPart, Scenario

BENCHMARK = "benchmark"
PROGRAM, SCENARIOS = ".nfu", (".yaml", ".yml")


@record
class Target:
    """What is asked about.

    Parameters
    ----------
    title : its name.
    kind : ``"layer"``, ``"benchmark"``, ``"model"``, ``"scenario"`` or ``"program"``.
    layers : for the NFU, in the order in which they are computed.
    processor : what the device's processor computes beside them: ``name``, ``op``, ``flop``, ``bytes``, ``time_s``, ``energy_J``.
    model : settings of the model, where it is one.
    program : where it is one.
    """

    title: str
    kind: str
    layers: tuple[Layer, ...] = ()
    processor: tuple[dict[str, Any], ...] = ()
    model: "ModelPart | None" = None
    program: "Program | None" = None


def names() -> tuple[str, ...]:
    """What can be asked about by name: layers, all ten of the benchmark, models of the zoo."""
    from graph.zoo import MODELS
    from hw.nfu.benchmark import LAYERS

    return (BENCHMARK, *LAYERS, *MODELS)


def kind_of(name: str) -> str:
    """What kind of target a text names; raises `ValueError` with the nearest name where it is none."""
    from graph.zoo import MODELS
    from hw.nfu.benchmark import LAYERS

    if name.lower() == BENCHMARK:
        return BENCHMARK
    if _layer_named(name) in LAYERS:
        return "layer"
    if name in MODELS:
        return "model"
    path = Path(name)
    if path.suffix.lower() == PROGRAM:
        return "program"
    if path.suffix.lower() in SCENARIOS:
        return "scenario"
    near = nearest(name.lower(), [n.lower() for n in names()])
    files = f"a file of a scenario ends in {SCENARIOS[0]}, of a program in {PROGRAM}"
    raise ValueError(f"no layer, model or file is named {name!r}; {near} ({files})")


def _layer_named(name: str) -> str:
    """The benchmark's spelling of a layer's name; empty for none."""
    from hw.nfu.benchmark import LAYERS

    return next((n for n in LAYERS if n.lower() == name.lower()), "")


def with_batch(layer: Layer, batch: int | None) -> Layer:
    """The layer for so many images or samples; None: as it is."""
    if batch is None:
        return layer
    return replace(layer, nx=batch) if layer.kind is Kind.CLASSIFIER else replace(layer, batch=batch)


def named_layers(name: str, batch: int | None = None) -> Target:
    """A layer of the benchmark, or all ten, whatever the case of the name."""
    from hw.nfu.benchmark import LAYERS, TEN

    if name.lower() == BENCHMARK:
        return Target(title="the ten layers of DianNao", kind=BENCHMARK, layers=tuple(with_batch(x, batch) for x in TEN))
    found = LAYERS[_layer_named(name)]
    return Target(title=found.name, kind="layer", layers=(with_batch(found, batch),))


def program(file: str, nfu: Nfu) -> Target:
    """A program that an NFU can execute; raises `ScenarioError` with all its mistakes."""
    from trainscape.nfu.program import checked

    return Target(title=Path(file).name, kind="program", program=checked(file, nfu))


def model(name: str, device: str, nfu: Nfu, settings: Sequence[str] = (), *, batch: int | None = None, seed: int = 0) -> Target:
    """The layers of a model's inference.

    Parameters
    ----------
    name : of the zoo.
    device : of the catalogue, whose processor computes what the NFU has not.
    nfu : its configuration.
    settings : of the model, as for `trainscape model show`.
    batch : images; None: one.
    seed : of dropout, which inference leaves out.
    """
    from trainscape.models import model_part
    from trainscape.nfu.inference import layers_of

    part = model_part(name, settings, seed, batch=batch or 1)
    layers, processor = layers_of(part, device, nfu, batch=part.batch, seed=seed)
    return Target(title=name, kind="model", layers=layers, processor=processor, model=part)


def scenario(s: "Scenario", device: str, nfu: Nfu) -> Target:
    """The layers of the inference of a scenario's model, for the samples of one of its micro-batches."""
    from trainscape.nfu.inference import layers_of

    layers, processor = layers_of(s.model, device, nfu, batch=s.micro_batch, seed=s.seed)
    return Target(title=s.name, kind="scenario", layers=layers, processor=processor, model=s.model)


def device_of(s: "Scenario") -> str | None:
    """The NFU of the catalogue that ranks of a scenario stand on; None: they stand on none."""
    from trainscape.numerics import nfus
    from trainscape.systems import HOST, catalogue_system

    if s.system.name == HOST:
        return None
    return next((device.name for _, device in nfus(s, catalogue_system(s.system))), None)


def refuse_settings(settings: Sequence[str], what: str) -> None:
    """Raise for settings that mean nothing for a target: only the NFU can be changed."""
    if settings:
        keys = [t.partition("=")[0].strip() for t in settings]
        why = f"{what} has no settings of its own; those of the NFU begin with nfu., such as nfu.tn=32"
        raise ScenarioError([Mistake(place=f"--set {key}", path=key, message=why) for key in keys])
