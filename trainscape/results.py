"""Result documents of predictions, trainings and validations; and whether they meet what their scenario expects."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graph.parallel.strategies import STRATEGIES
from graph.timeline import Timeline, compare
from trainscape.algorithms import words
from trainscape.errors import MissingCapability, OutsideTolerance
from trainscape.expect import outcomes
from trainscape.report.exposure import exposure, kind_bands
from trainscape.report.run import Run
from trainscape.report.tables import share, side_of
from trainscape.strategies import WHERE, short

if TYPE_CHECKING:
    from trainscape.build import Built
    from trainscape.commands.options import Options
    from trainscape.emulate import Emulation
    from trainscape.load import Loaded
    from trainscape.predict import Prediction
    from trainscape.validate import Validation


def require_host(built: "Built") -> None:
    """Raise `MissingCapability` for a system that is not this computer: it can be predicted, not run."""
    if not built.is_host:
        places = "".join(f" --set parallel.{key}=device" for key, _ in WHERE.get(built.scenario.parallel.strategy, ()))
        raise MissingCapability(
            f"system {built.scenario.system.name!r} is not this computer: it can be predicted, not run; "
            f"to run on this computer: --set system.name=host --set parallel.ranks=1{places}"
        )


def require_runnable(built: "Built") -> None:
    """Raise `MissingCapability` for a system that can neither be run nor emulated, and where there is nothing to compute."""
    if not built.is_emulated:
        require_host(built)
    if built.scenario.is_resident:
        raise MissingCapability(
            f"scenario {built.scenario.name!r} has its samples in the memory of the devices (run.data: resident), so there is "
            f"nothing to compute: it can be predicted; `trainscape nfu run LAYER --values` computes a layer bit by bit"
        )


def require_trains(built: "Built") -> None:
    """Raise `MissingCapability` for a scenario that trains nothing, or not on this computer; says how a net gets trained."""
    if STRATEGIES[built.scenario.parallel.strategy].trains:
        require_host(built)
        return
    where = "" if built.is_host else f", and system {built.scenario.system.name!r} is not this computer"
    raise MissingCapability(
        f"strategy {short(built.scenario.parallel.strategy)!r} trains nothing{where}; train the model on this computer: --set "
        f"system.name=host --set parallel.strategy=data; then test what came of it: trainscape validate FILE --checkpoint RUN"
    )


def place(built: "Built") -> str:
    """Where and how a scenario runs, in words; with the algorithms that it asks for."""
    said = words(built.scenario.system.algorithm, built.algorithms, built.kept_f32)
    with_algorithms = f", {said}" if said else ""
    if built.is_host:
        from trainscape.job import workers

        where = "the GPU of this computer" if built.is_gpu else "this computer"
        return f"{workers(built.plan)} on {where}{with_algorithms}"
    system = built.system
    count = Counter(system.kind_at(p) for p in dict.fromkeys(built.placed.places.values()) if p in system.places)
    names = {"gpu": "GPU", "nfu": "NFU"}
    used = [f"{n} {names.get(kind, kind)}{'s' if n > 1 else ''}" for kind, n in count.items()]
    return f"{' and '.join(used) or 'host'} of {system.name}{with_algorithms}"


def prediction_run(prediction: "Prediction") -> Run:
    """A prediction as a result."""
    from trainscape.footprint import footprint

    used = footprint(prediction).document()
    document = {
        "model": model_numbers(prediction.built),
        "predicted": {**prediction.numbers(), **used, "exposed_s": exposure(prediction.timeline)},
    }
    return Run(title=place(prediction.built), document=document, timelines={"predicted": prediction.timeline})


def model_numbers(built: "Built") -> dict[str, Any]:
    """The model in numbers."""
    from graph.summary import summary

    found = summary(built.model_graph)
    return {k: found[k] for k in ("parameters", "forward_macs_per_sample", "activation_bytes_per_sample")}


def validation_run(validation: "Validation") -> Run:
    """A prediction and what was measured as a result."""
    document = {"model": model_numbers(validation.prediction.built), **validation.numbers()}
    document["predicted"]["exposed_s"] = exposure(validation.predicted_timeline)
    document["measured"]["exposed_s"] = exposure(validation.measured_timeline)
    low, high = kind_bands(validation.measured_timeline)
    document["measured"] |= {"kinds_p10_s": low, "kinds_p90_s": high}
    document["accuracy"] = document["measured"].get("accuracy")
    timelines = {"predicted": validation.predicted_timeline, "measured": validation.measured_timeline}
    document["actions"] = _actions(timelines, "measured")
    return Run(title=place(validation.prediction.built), document=document, timelines=timelines)


def emulation_run(emulation: "Emulation") -> Run:
    """A prediction and what was emulated as a result: nothing in it is called measured."""
    document = {"model": model_numbers(emulation.prediction.built), **emulation.numbers()}
    timelines = {"predicted": emulation.predicted_timeline, "emulated": emulation.emulated_timeline}
    for side, timeline in timelines.items():
        document[side]["exposed_s"] = exposure(timeline)
    document["accuracy"] = emulation.accuracy
    document["actions"] = _actions(timelines, "emulated")
    return Run(title=place(emulation.prediction.built), document=document, timelines=timelines)


def _actions(timelines: Mapping[str, Timeline], side: str) -> list[dict[str, Any]]:
    """Every action of a step, predicted and as the other side has it."""
    found = compare(timelines["predicted"], timelines[side])
    return [
        {"action": c.name, "count": c.count, "predicted_s": c.predicted, f"{side}_s": c.measured, "error": c.error} for c in found
    ]


def with_expectations(loaded: "Loaded", document: Mapping[str, Any], options: "Options") -> dict[str, Any]:
    """The document with what its scenario expects of it, and whether that is met.

    Expectations are about the scenario as written: with overrides only those on the command line are looked at; a note says so.
    """
    expect = loaded.scenario.expect
    keys = [o.partition("=")[0].strip() for o in options.overrides]
    if expect and "expect" not in keys and any(not k.startswith("expect.") for k in keys):
        options.output.note(f"note: with --set, what {loaded.file} expects of the scenario as written is not looked at")
        expect = {name: e for name, e in expect.items() if any(f"{k}.".startswith(f"expect.{name}.") for k in keys)}
    return {**document, "expectations": [o.document() for o in outcomes(expect, document)]}


def enforce(document: Mapping[str, Any]) -> None:
    """Raise `OutsideTolerance`, with the document, when an expectation is not met or a verdict is not ``ok``."""
    wrong = []
    for o in document.get("expectations") or ():
        if not o["met"]:
            sides = (("low", "at least"), ("high", "at most"))
            bounds = " and ".join(f"{word} {o[k]:.6g}" for k, word in sides if o[k] is not None)
            got = "no number" if o["got"] is None else f"{o['got']:.6g}"
            wrong.append(f"{o['key']} is {got}, expected {bounds} ({o['source']})")
    for w in document.get("wires") or ():
        if w["predicted_bytes"] != w["measured_bytes"]:
            sent = f"{w['from']} sent {w['measured_bytes']:,} bytes a step to {w['to']}"
            wrong.append(f"{sent}, predicted {w['predicted_bytes']:,}")
    verdict = document.get("verdict")
    if verdict == "outside" and side_of(document) == "emulated":
        off = f"by up to {document['greatest_error']:.2g}, tolerance {document['tolerance']:g}"
        wrong.insert(0, f"closed form and instructions differ {off}: a defect of Trainscape; result.json has the actions")
    elif verdict == "outside":
        wrong.insert(0, f"the step's error is {share(document['error']['step'])}, tolerance {share(document['tolerance'])}")
    elif verdict not in (None, "ok"):
        moved = document.get("measured", {}).get("probe_moved")
        why = f": the probes moved by {share(moved)} since the calibration" if moved is not None else ""
        link = document.get("measured", {}).get("link_moved") or 1.0
        why += f", the way from core to core by a factor of {link:.1f}" if link > 1.1 else ""
        wrong.insert(0, f"{verdict}{why}; run it again on a quiet computer, or calibrate again")
    if wrong:
        raise OutsideTolerance("\n".join(wrong), document)
