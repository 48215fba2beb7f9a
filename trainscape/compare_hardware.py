"""`compare --systems`: the same jobs on several systems, each predicted, side by side in time and energy.

A row is a scenario file with a model, on a system, under a strategy. Rows stay in the order in which files, models and systems
are named, and are held against the same job on the first system: how many times as fast, how many times less energy a sample.

Unless a scenario says in which numbers it computes (`trainscape.numerics`), every device computes in those that it has: an NFU in
its own fixed-point words, all others in floats. The data of a single layer is what the layer before it has left in the device's
memory.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp, log
from typing import Any

from graph.record import record
from graph.zoo import MODELS
from hw.errors import HwError
from trainscape.compare import Row, row_of
from trainscape.detail import AUTO
from trainscape.fit import changed
from trainscape.load import Loaded
from trainscape.numerics import numerics
from trainscape.scenario import Scenario
from trainscape.strategies import name_of

PUBLISHED_FOR = ("input", "classes", "depth")
"""Settings of a model that are its paper's, unless ``--set`` says otherwise."""
RATIOS = ("speed", "energy")


@record
class Against:
    """A row held against the same job on the first system.

    Parameters
    ----------
    row : the row.
    joules : of a sample; None where nobody knows.
    speed : times as many samples a second; None where either cannot be.
    energy : times less energy a sample; None likewise, or where an energy is not known.
    """

    row: Row
    joules: float | None = None
    speed: float | None = None
    energy: float | None = None

    def document(self) -> dict[str, Any]:
        """The document of the row, with the joules of a sample and the two ratios."""
        more = {
            "numerics": _numbers(self.row),
            "energy_per_sample_j": self.joules,
            "speed_ratio": self.speed,
            "energy_ratio": self.energy,
        }
        return {**self.row.document(), **more}


def compare_hardware(
    scenarios: Sequence[Loaded],
    *,
    models: Sequence[str] = (),
    systems: Sequence[str] = (),
    strategies: Sequence[str] = (),
    detail: str = AUTO,
    on_row: Callable[[str], object] = lambda title: None,
) -> tuple[Against, ...]:
    """Predict each scenario with each model on each system.

    Parameters
    ----------
    scenarios : read from files.
    models : of the zoo, on the images that they were published for; by default the scenario's own.
    systems : of the catalogue, the first being what the others are held against; by default the scenario's own.
    strategies : short names; by default the scenario's own.
    detail : of the network, as of `compare`.
    on_row : called with what comes next.

    Returns
    -------
    Rows, in the order in which things are named: files, models, strategies, systems.

    Raises
    ------
    MissingCapability : a system is this computer, which has no calibration.
    """
    found: list[Against] = []
    for loaded, model, strategy in jobs(scenarios, models, strategies):
        first: Row | None = None
        for name in systems or (loaded.scenario.system.name,):
            on_row(f"{model}, {name}")
            row = _row(loaded, model, name, strategy, detail)
            first = first or row
            found.append(held(row, first))
    return tuple(found)


def jobs(scenarios: Iterable[Loaded], models: Sequence[str], strategies: Sequence[str]) -> list[tuple[Loaded, str, str]]:
    """(scenario, model, strategy) of every job."""
    return [
        (loaded, model, strategy)
        for loaded in scenarios
        for model in models or (loaded.scenario.model.name,)
        for strategy in strategies or (name_of(loaded.scenario.parallel),)
    ]


def _row(loaded: Loaded, model: str, system: str, strategy: str, detail: str) -> Row:
    scenario = loaded.scenario
    try:
        scenario = on_system(with_model(loaded, model), system)
        return row_of(replace(loaded, scenario=scenario), strategy, detail=detail)
    except HwError as e:
        return Row(file=loaded.file, scenario=scenario, strategy=strategy, reason=str(e))


def with_model(loaded: Loaded, model: str) -> Scenario:
    """The scenario with another model, on the images and with the classes that it was published for unless ``--set`` chose them.

    Raises `DoesNotFit` when a setting is not allowed.
    """
    scenario = loaded.scenario
    if model == scenario.model.name:
        return scenario
    own = MODELS[model]
    published = {"input": list(own.image), "classes": own.classes, "depth": own.depth}
    asked = scenario.settings()["model"]
    kept = {k: v for k, v in asked.items() if k not in PUBLISHED_FOR or ("model", k) in loaded.places.overrides}
    return changed(scenario, {"model": {**published, **kept, "name": model}})


def on_system(scenario: Scenario, system: str) -> Scenario:
    """The scenario on another system, as many nodes of it as its entry has; raises `DoesNotFit` when a setting is not allowed."""
    if system == scenario.system.name:
        return scenario
    kept = {k: v for k, v in scenario.settings()["system"].items() if k in ("precision", "algorithm")}
    return changed(scenario, {"system": {**kept, "name": system}})


def held(row: Row, first: Row) -> Against:
    """A row against the same job on the first system."""
    mine, theirs = joules_of_a_sample(row), joules_of_a_sample(first)
    return Against(
        row=row,
        joules=mine,
        speed=row.samples_per_s / first.samples_per_s if row.fits and first.fits else None,
        energy=theirs / mine if mine and theirs else None,
    )


def joules_of_a_sample(row: Row) -> float | None:
    """Energy of a step over its samples; None where nobody knows."""
    joules = row.footprint.joules if row.footprint else None
    return None if joules is None else joules / row.scenario.model.batch


def _numbers(row: Row) -> dict[str, Any] | None:
    """The fixed-point words that a row computes in; None: floats, or nothing."""
    built = row.prediction.built if row.prediction else None
    found = None if built is None or built.is_host else numerics(row.scenario, built.system)
    return None if found is None else found.model_dump(mode="json")


def summaries(rows: Sequence[Mapping[str, Any]], systems: Sequence[str]) -> list[dict[str, Any]]:
    """How each system does against the first, over all jobs that both can do.

    Parameters
    ----------
    rows : documents of `Against`.
    systems : as they were named.

    Returns
    -------
    For each but the first: ``system``, ``against``, ``jobs`` (how many were asked), ``both`` (how many both can do), and of
    ``speed`` and ``energy`` each ``mean`` (geometric), ``least`` and ``most``, or None.
    """
    found = []
    for name in systems[1:]:
        mine = [r for r in rows if r["system"] == name]
        both = sum(r["speed_ratio"] is not None for r in mine)
        spans = {k: _span([r[f"{k}_ratio"] for r in mine if r[f"{k}_ratio"] is not None]) for k in RATIOS}
        found.append({"system": name, "against": systems[0], "jobs": len(mine), "both": both, **spans})
    return found


def _span(ratios: Sequence[float]) -> dict[str, float] | None:
    if not ratios:
        return None
    mean = exp(sum(map(log, ratios)) / len(ratios))
    return {"mean": mean, "least": min(ratios), "most": max(ratios)}
