"""Nets whose inference is looked at: one that has learnt the digits, trained here if need be, or another with random weights."""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graph.init import init_parameters
from graph.ir import Graph, Kind
from graph.op import Array
from graph.passes.inference import inference_graph
from graph.record import record
from graph.rng import uniform
from runtime import checkpoint
from runtime.data.dataset import Dataset, load
from runtime.errors import CheckpointError, DataError
from runtime.job import Source, lowered_hash
from trainscape.load import load_text
from trainscape.models import model_part
from trainscape.output import Output
from trainscape.scenario import DIGITS
from trainscape.zoo_graph import model_graph

if TYPE_CHECKING:
    from trainscape.build import Built
    from trainscape.scenario import ModelPart

HELD_OUT = 360
TRAINING = """
name: digits-{name}
seed: {seed}
model: {{name: {name}, batch: 64, input: digits}}
system: {{name: host}}
parallel: {{strategy: data, ranks: 1}}
run: {{steps: 1000, learning_rate: 0.02, momentum: 0.9, weight_decay: 0.0001, data: digits, held_out: 360, timeout: 250 s}}
"""
"""How a net learns the digits: as in `trainscape demo` and in scenarios/digits-lenet-1worker.yaml."""


@record
class Net:
    """An inference graph in floats with its parameters and what it is given.

    Parameters
    ----------
    name : of the model.
    settings : of the model, plain.
    graph : for all images at once.
    values : parameters and state by name.
    images : f32 [n, rows, columns, channels].
    labels : i64 [n]; None: there are none.
    origin : where the weights come from, in words.
    """

    name: str
    settings: dict[str, Any]
    graph: Graph
    values: dict[str, Array]
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    origin: str


def net(
    name: str, settings: Sequence[str] = (), *, seed: int | None = None, samples: int | None = None, saved: Path | None = None,
    cache: Path | None = None, output: Output | None = None,
) -> Net:  # fmt: skip
    """A model of the zoo with weights and images.

    A net that takes the digits has learnt them, and is given those set aside; any other has the weights that it would begin a
    training with, and is given noise. ``lenet`` takes the digits unless settings say otherwise.

    Parameters
    ----------
    name : of the zoo.
    settings : of the model, e.g. ``"model.width=0.5"``.
    seed : of weights and noise; None: 1.
    samples : images; None: all digits that were set aside, or one image of noise.
    saved : checkpoint to take the weights from, or a folder of them; None: as said above.
    cache : folder that keeps what was trained; None: the user's.
    output : where training shows how far it is; None: nowhere.

    Raises
    ------
    ScenarioError : a setting is unknown or out of range.
    CheckpointError : there is no such checkpoint, or it is of another model.
    DataError : there are not so many digits.
    """
    seed = 1 if seed is None else seed
    is_lenet = name == "lenet" and not any(t.split("=")[0].strip() in ("model.input", "input") for t in settings)
    part = model_part(name, (*(["model.input=digits"] if is_lenet else []), *settings), seed)
    on_digits = (part.input, part.classes) == ((8, 8, 1), 10)
    images, labels = _digits(samples) if on_digits else (_noise(part, samples or 1, seed), None)
    graph = inference_graph(model_graph(part, batch=len(images), seed=seed))
    if saved is not None:
        found = checkpoint.load(saved)
        values, origin = _of(graph, found, saved), f"checkpoint of step {found.step:,}"
    elif on_digits:
        trained, origin = _trained(name, settings, seed, cache, output or Output(verbosity=-1))
        values = _of(graph, trained, Path(name))
    else:
        values, origin = init_parameters(graph, seed), "random weights, as before a training"
    return Net(
        name=name, settings=part.model_dump(mode="json"), graph=graph, values=values, images=images, labels=labels, origin=origin
    )


def _digits(samples: int | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    data = held_out()
    if samples is not None and samples > len(data):
        raise DataError(f"there are {len(data)} digits that were set aside, not {samples}")
    n = samples or len(data)
    return data.images[:n] * np.float32(data.scale), data.labels[:n]


@lru_cache(maxsize=1)
def held_out() -> Dataset:
    """The digits that no training has seen."""
    return load(Source(name="digits", held_out=HELD_OUT / DIGITS), (8, 8, 1), 10)[1]


def _noise(part: "ModelPart", samples: int, seed: int) -> npt.NDArray[np.float32]:
    shape = (samples, *part.input)
    return uniform(seed, "x", int(np.prod(shape))).reshape(shape)


def _of(graph: Graph, saved: checkpoint.Checkpoint, path: Path) -> dict[str, Array]:
    """What the graph reads of a checkpoint."""
    found = {}
    for v in (*graph.of_kind(Kind.PARAMETER), *graph.of_kind(Kind.STATE)):
        got = saved.values.get(v.name)
        if got is None or got.shape != v.type.shape:
            said = "is not in it" if got is None else f"has shape {list(got.shape)} in it"
            raise CheckpointError(
                f"{path}: {v.name!r}, of shape {list(v.type.shape)} in {graph.name}, {said}; it is of another model"
            )
        found[v.name] = got
    return found


def _trained(
    name: str, settings: Sequence[str], seed: int, cache: Path | None, output: Output
) -> tuple[checkpoint.Checkpoint, str]:
    """A net that has learnt the digits, from the cache where it is there; and that in words."""
    from trainscape.build import Built

    built = Built(load_text(TRAINING.format(name=name, seed=seed), name, settings).scenario)
    folder = (cache or _cache()) / f"{name}-{built.scenario.hash}-{lowered_hash(built.lowered)}"
    steps = built.scenario.run.steps
    origin = f"{steps:,} steps of {built.scenario.model.batch} digits"
    with suppress(CheckpointError):
        if (path := checkpoint.latest(folder)) is not None:
            return checkpoint.load(path), origin
    output.note(f"training {name} on the digits, {steps:,} steps")
    found = _train(built, output)
    with suppress(CheckpointError, OSError):  # a cache that cannot be written to costs time, no more
        checkpoint.save(folder, found)
    return found, origin


def _train(built: "Built", output: Output) -> checkpoint.Checkpoint:
    from trainscape.train import train

    with TemporaryDirectory(prefix="trainscape-") as run:
        done = train(built, folder=Path(run), output=output)
        assert done.result.checkpoint is not None  # a training saves at its end
        return checkpoint.load(done.result.checkpoint)


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("trainscape", appauthor=False) / "nets"
