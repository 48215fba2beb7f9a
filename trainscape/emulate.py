"""Validation on NFUs that nobody has: predict, then emulate instruction by instruction, then hold the one against the other.

Nothing is measured, and nothing here says so. The prediction has each layer's cycles in closed form; the emulation adds up when
its instructions begin, one by one, and computes their values bit by bit. Both take the time of the NFU's processor from the same
cost model. So they must agree to the last bits of a float, and any difference is a defect. What does say something about the
world are the values: logits of real samples, beside those of the same net in f32, and of the same words summed in f32 (the CPU's
kernels).
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.init import init_parameters
from graph.ir import Kind
from graph.record import record
from graph.step_stats import StepStats, step_of, step_stats
from graph.timeline import Timeline
from graph.timeline import compare as compare_timelines
from hw.kernels.record import Platform
from runtime import checkpoint
from runtime.data.dataset import Dataset
from runtime.data.dataset import load as load_data
from runtime.errors import Interrupted
from runtime.evaluate import Evaluator, lower_forward
from runtime.nfu.player import Played, Player
from trainscape.build import Built
from trainscape.errors import TimedOut
from trainscape.job import source_of
from trainscape.predict import STEPS, Prediction, of_steps, predict
from trainscape.scenario import DataName
from trainscape.validate import Verdict

TOLERANCE = 1e-9  # of every action: what is left are roundings of sums of times
RECORDED = 60  # steps of the timeline
Values = Mapping[str, npt.NDArray[Any]]


@record
class Reference:
    """The same samples computed elsewhere.

    Parameters
    ----------
    accuracy : fraction right; None: labels mean nothing.
    logits_error : of the emulated logits against these: ``max``, ``mean``, ``rms`` of its magnitude, and ``bias``.
    """

    accuracy: float | None
    logits_error: Mapping[str, float]


@record
class Emulation:
    """A prediction and what was emulated.

    Parameters
    ----------
    prediction : made before.
    played : values and times.
    stats : of the emulated timeline.
    accuracy : of what was computed bit by bit; None: labels mean nothing.
    references : ``"float32"``, and ``"cpu"``: the same words, summed in f32.
    parameters : where they come from, in words.
    """

    prediction: Prediction
    played: Played
    stats: StepStats
    accuracy: float | None
    references: Mapping[str, Reference]
    parameters: str

    @property
    def predicted_timeline(self) -> Timeline:
        """What was predicted."""
        return self.prediction.timeline

    @property
    def emulated_timeline(self) -> Timeline:
        """What was emulated."""
        return self.played.timeline

    def errors(self) -> dict[str, float | None]:
        """Signed: predicted / emulated - 1, of the step and of each kind; None where a kind takes no time."""
        predicted, emulated = self.prediction.stats, self.stats
        pairs = {"step": (predicted.step_s, emulated.step_s)}
        pairs |= {kind: (predicted.kinds.get(kind, 0.0), seconds) for kind, seconds in emulated.kinds.items()}
        return {what: p / e - 1 if e else None for what, (p, e) in pairs.items()}

    @property
    def greatest_error(self) -> float:
        """Of the step and of every action, without its sign."""
        actions = (c.error for c in compare_timelines(self.predicted_timeline, self.emulated_timeline))
        return max(abs(e) for e in (*self.errors().values(), *actions) if e is not None)

    @property
    def verdict(self) -> Verdict:
        """``ok``: the same actions, each as long as predicted."""
        is_same = self.predicted_timeline.actions() == self.emulated_timeline.actions()
        return Verdict.OK if is_same and self.greatest_error <= TOLERANCE else Verdict.OUTSIDE

    def numbers(self) -> dict[str, Any]:
        """The parts of a result document: ``predicted``, ``emulated``, ``error``, ``verdict``."""
        built, played = self.prediction.built, self.played
        return {
            "predicted": self.prediction.numbers(),
            "emulated": {
                "step_s": self.stats.step_s,
                "samples_per_s": built.scenario.model.batch / self.stats.step_s,
                "steps": played.steps,
                "samples": len(played.samples),
                "memory_peak_bytes": list(played.memory_peak_bytes),
                "accuracy": self.accuracy,
                "kinds_s": dict(self.stats.kinds),
                **_of_a_step(played.timeline),
                "parameters": self.parameters,
                "plan_hash": played.timeline.plan_hash,
            },
            "references": {
                name: {"accuracy": r.accuracy, "logits_error": dict(r.logits_error)} for name, r in self.references.items()
            },
            "error": self.errors(),
            "greatest_error": self.greatest_error,
            "tolerance": TOLERANCE,
            "verdict": self.verdict.value,
        }


def _of_a_step(timeline: Timeline) -> dict[str, Any]:
    """Instructions and cycles of the last step, over all ranks."""
    last = max(step_of(r) for r in timeline)
    notes = [r.note for r in timeline if step_of(r) == last and isinstance(r.note, dict)]
    stalls = dict.fromkeys((k for n in notes for k in n["stalls"]), 0.0)
    for n in notes:
        stalls = {k: s + n["stalls"].get(k, 0.0) for k, s in stalls.items()}
    return {k: sum(n[k] for n in notes) for k in ("instructions", "cycles", "busy_cycles")} | {"stalls": stalls}


def emulate(
    built: Built, *, saved: Path | None = None, data: Path | None = None, instruments: Sequence[object] = ()
) -> Emulation:
    """Predict a scenario on NFUs, play it, compare.

    Parameters
    ----------
    built : the scenario; all of its ranks stand on NFUs (`Built.is_emulated`).
    saved : checkpoint whose parameters are taken, or a folder of them; None: those that a training would begin with.
    data : folder of the data set's files, where it has one.
    instruments : who watches (`graph.instrument`).

    Raises
    ------
    MissingCapability : ranks send each other something.
    CheckpointError, DataError : what was named is missing, damaged or of another model.
    TimedOut, Interrupted : it was ended.
    """
    began = time.monotonic()
    prediction = predict(built, unfolded=len(built.plan.ranks))  # every rank is played, so every rank is predicted
    reference = Evaluator(lower_forward(built.model_graph, built.optimizer, Platform.CPU, {}))
    values = values_of(built, reference, saved)
    graph = reference.graph
    test = load_data(source_of(built, data), graph.type_of("x").shape[1:], graph.type_of(graph.outputs["logits"]).shape[-1])[1]
    steps = steps_of(built, test)
    player = Player(of_steps(built.plan, steps), built.lowered, built.placed)
    player.load(values)
    timeout = built.scenario.run.timeout
    try:
        left = max(timeout - (time.monotonic() - began), 0.0)
        played = player.play(test, steps, recorded=RECORDED, timeout=left, instruments=instruments)
    except Interrupted as e:
        if time.monotonic() < began + timeout:
            raise
        raise TimedOut(seconds=timeout, step=e.step, checkpoint=None) from e
    return _held_against(prediction, played, reference, values, test, _words(saved, built))


def _held_against(
    prediction: Prediction, played: Played, reference: Evaluator, values: Values, test: Dataset, parameters: str
) -> Emulation:
    built = prediction.built
    seen = test.take(played.samples, test.name)
    means = built.scenario.data.name is not DataName.SYNTHETIC
    fixed = {k: v for k, v in built.strategy_options.items() if k in ("word", "fraction", "rounding")}
    exact = Evaluator(lower_forward(built.model_graph, built.optimizer, Platform.CPU, {}, fixed))
    found = {}
    for name, evaluator in (("float32", reference), ("cpu", exact)):
        logits = evaluator.logits(values, seen)
        right = float((logits.argmax(axis=-1) == seen.labels).mean())
        found[name] = Reference(accuracy=right if means else None, logits_error=_error(played.logits, logits))
    return Emulation(
        prediction=prediction,
        played=played,
        stats=step_stats(played.timeline),
        accuracy=played.accuracy(test) if means else None,
        references=found,
        parameters=parameters,
    )


def _error(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> dict[str, float]:
    e = found.astype(np.float64) - wanted
    size = np.abs(e)
    rms = float(np.sqrt(np.square(e).mean()))
    return {"max": float(size.max()), "mean": float(size.mean()), "rms": rms, "bias": float(e.mean())}


def steps_of(built: Built, test: Dataset) -> int:
    """Steps to play: those of the scenario, until every sample was seen; where samples are noise, as many as are predicted."""
    once = -(-len(test) // built.scenario.model.batch)
    wanted = STEPS if built.scenario.data.name is DataName.SYNTHETIC else min(built.scenario.run.steps, once)
    return max(wanted, STEPS)


def values_of(built: Built, reference: Evaluator, saved: Path | None) -> Values:
    """Parameters and state of a scenario's model, in floats; raises `CheckpointError`."""
    if saved is None:
        return init_parameters(built.model_graph, built.scenario.seed)
    found = checkpoint.load(saved)
    kinds = (Kind.PARAMETER, Kind.STATE)
    checkpoint.check_values(found, {v.name: v.type for kind in kinds for v in reference.graph.of_kind(kind)})
    return found.values


def _words(saved: Path | None, built: Built) -> str:
    return f"as drawn from seed {built.scenario.seed}, untrained" if saved is None else f"of {saved}"
