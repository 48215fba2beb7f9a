"""`validate`: predict, then run for real, then hold the one against the other. What NFUs do is `trainscape.emulate`'s.

The prediction is complete before the first worker starts. Measured is the median over blocks of steps without per-action
timers, of each block's median step: a step during which the system gave the core to somebody else is not the typical one (the
mean, which has them all, stands beside it). One more block records the actions. Before and after every block two probes,
arithmetic and copy, tell whether the machine is as fast as when it was calibrated: where they moved by more than 10 % the
verdict is ``inconclusive``, never ``ok``.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from math import ceil
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from graph.parallel.strategies import STRATEGIES
from graph.record import record
from graph.step_stats import StepStats, is_transfer, kind_of, step_stats
from graph.timeline import Timeline
from hw.gpu_profile import AnyProfile
from hw.profile import Profile
from runtime import checkpoint
from runtime.data.dataset import load
from runtime.job import Block
from runtime.result import RunResult
from trainscape.build import Built
from trainscape.errors import MissingCapability
from trainscape.job import job_of, run_in_time, source_of
from trainscape.predict import Prediction, predict
from trainscape.strategies import short

BLOCKS = 7
BLOCK_SECONDS = 0.3  # least length of a block: long against a scheduler's time slice
BLOCK_STEPS, TIMED_STEPS = 8, 60
SLOW_SECONDS = 2.0  # of a step: one that takes longer is timed twice where others are timed so often
MOVED = 0.10  # of a probe of the core
LINK_MOVED = 1.5  # factor, of the probe of the link: the host may move virtual cores apart, and then it jumps by 2 to 4
TOLERANCE = {1: 0.10, 2: 0.20}  # of the step, by ranks
KINDS = ("forward", "backward", "update", "allreduce")


@record
class Wire:
    """What one rank sends another in a step.

    Parameters
    ----------
    source, destination : ranks as text.
    predicted, measured : bytes; predicted by the simulator's transfers, measured by the transport's own count.
    """

    source: str
    destination: str
    predicted: float
    measured: float


class Verdict(StrEnum):
    """What a comparison says."""

    OK = "ok"
    OUTSIDE = "outside"
    INCONCLUSIVE = "inconclusive"


@record
class Validation:
    """A prediction and what was measured.

    Parameters
    ----------
    prediction : made before the run.
    result : the run.
    step_s : median of the blocks' median steps, seconds.
    step_p10_s, step_p90_s, step_mean_s : 10th and 90th percentile, and mean, of all steps of those blocks.
    repeat_band : half the distance from the 10th to the 90th percentile of the blocks, relative to `step_s`: no error smaller
        than this means anything.
    measured : stats of the timed block.
    probe_moved : the greatest relative change of a core's probe from its calibration.
    link_moved : factor by which the link's probe changed.
    tolerance : of the step.
    """

    prediction: Prediction
    result: RunResult
    step_s: float
    step_p10_s: float
    step_p90_s: float
    step_mean_s: float
    repeat_band: float
    measured: StepStats
    probe_moved: float
    link_moved: float
    tolerance: float

    @property
    def predicted_timeline(self) -> Timeline:
        """What was predicted."""
        return self.prediction.timeline

    @property
    def measured_timeline(self) -> Timeline:
        """What was measured."""
        return self.result.timeline

    @property
    def wires(self) -> tuple[Wire, ...]:
        """The bytes of a step from rank to rank."""
        predicted, measured = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for r in self.predicted_timeline:
            if r.is_leaf and r.id[-1] == "send" and r.peer is not None:
                predicted[str(r.rank), str(r.peer)] += r.nbytes
        for (source, destination, _), nbytes in self.result.bytes_sent.items():
            measured[source, destination] += nbytes
        played, ran = self.prediction.stats.steps, self.result.steps - self.result.first_step
        return tuple(
            Wire(source=a, destination=b, predicted=_each(predicted[a, b], played), measured=_each(measured[a, b], ran))
            for a, b in dict.fromkeys((*predicted, *measured))
        )

    def errors(self) -> dict[str, float | None]:
        """Signed: predicted / measured - 1; None where nothing of the kind was measured. Of transfers each kind that there is."""
        predicted, measured = self.prediction.stats.kinds, self.measured.kinds
        found: dict[str, float | None] = {"step": self.prediction.stats.step_s / self.step_s - 1}
        sent = dict.fromkeys(kind_of(r) for r in self.measured_timeline if is_transfer(r))
        for kind in dict.fromkeys((*KINDS, *sent)):
            m = measured.get(kind, 0.0)
            found[kind] = predicted.get(kind, 0.0) / m - 1 if m > 0 else None
        return found

    @property
    def verdict(self) -> Verdict:
        """``inconclusive`` when the machine was not the one that was calibrated."""
        if self.probe_moved > MOVED or self.link_moved > LINK_MOVED:
            return Verdict.INCONCLUSIVE
        error = self.errors()["step"]
        return Verdict.OK if error is not None and abs(error) <= self.tolerance else Verdict.OUTSIDE

    def numbers(self) -> dict[str, Any]:
        """The parts of a result document: ``predicted``, ``measured``, ``error``, ``verdict``."""
        r = self.result
        ran = r.steps - r.first_step
        return {
            "predicted": self.prediction.numbers(),
            "measured": {
                "step_s": self.step_s,
                "step_p10_s": self.step_p10_s,
                "step_p90_s": self.step_p90_s,
                "step_mean_s": self.step_mean_s,
                "samples_per_s": self.prediction.built.scenario.model.batch / self.step_s,
                "blocks": len([b for b in r.blocks if not b.timed]) - 1,
                "steps": ran,
                "bytes_sent_total": _each(r.bytes_sent_total, ran),
                "bytes_sent_run": r.bytes_sent_total,
                "memory_peak_bytes": list(r.memory_peak_bytes),
                "accuracy": r.accuracy,
                "loss": r.loss if r.losses else None,
                "kinds_s": dict(self.measured.kinds),
                "probe_moved": self.probe_moved,
                "link_moved": self.link_moved,
                "plan_hash": r.plan_hash,
            },
            "wires": [
                {"from": w.source, "to": w.destination, "predicted_bytes": w.predicted, "measured_bytes": w.measured}
                for w in self.wires
            ],
            "error": self.errors(),
            "repeat_band": self.repeat_band,
            "tolerance": self.tolerance,
            "verdict": self.verdict.value,
        }


def _each(total: int, steps: int) -> int | float:
    """A step's share, whole where it is."""
    return total / steps if total % steps else total // steps


def blocks_of(steps: int, step_s: float) -> tuple[Block, ...]:
    """The training itself, which also warms up, then `BLOCKS` to measure and one with timers, of a useful length."""
    is_slow = step_s > SLOW_SECONDS
    least = 2 if is_slow else BLOCK_STEPS
    length = max(ceil(BLOCK_SECONDS / step_s), least)
    return (
        Block(steps=max(steps, least), evaluate=True),
        *(Block(steps=length) for _ in range(BLOCKS)),
        Block(steps=least if is_slow else TIMED_STEPS, timed=True),
    )


def probe_moved(profile: Profile, result: RunResult) -> float:
    """The greatest relative change of a rank's median probe from the calibration with as many cores busy."""
    then = profile.probes[max((n for n in profile.probes if n <= len(result.probes)), default=min(profile.probes))]
    moved = 0.0
    for probes in result.probes:
        for calibrated, now in ((then.arith_s, [p.arithmetic for p in probes]), (then.copy_s, [p.copy for p in probes])):
            moved = max(moved, abs(median(now) / calibrated - 1))
    return moved


def link_moved(profile: Profile, result: RunResult) -> float:
    """The factor by which the way from core to core became longer or shorter since the calibration; 1.0 for one worker."""
    then = profile.probes[max(profile.probes)].meeting_s
    now = [p.meeting for probes in result.probes for p in probes if p.meeting > 0]
    return max(median(now) / then, then / median(now)) if now and then > 0 else 1.0


def validate(
    built: Built,
    *,
    data: Path | None = None,
    saved: Path | None = None,
    instruments: Sequence[object] = (),
) -> Validation:
    """Predict a scenario of this host, run it, compare.

    Parameters
    ----------
    built : the scenario, on system ``host``.
    data : folder of the data set's files, where it has one.
    saved : checkpoint whose parameters a strategy that trains nothing takes, or a folder of them.
    instruments : who watches the run (`graph.instrument`).

    Raises
    ------
    MissingCapability : no calibration profile that fits.
    DistributedFailure, DataError : the run failed.
    TimedOut : `run.timeout` has passed.
    """
    prediction = predict(built)
    assert built.profile is not None  # predict has asked for it
    blocks = blocks_of(built.scenario.run.steps, prediction.stats.step_s)
    job = job_of(built, blocks, data=data, probe=not built.is_gpu, values=str(saved or ""))
    result = run_in_time(job, built.scenario.run.timeout, instruments)
    return compare(prediction, result, built.profile)


def check(built: Built, saved: Path | None, data: Path | None = None) -> None:
    """Raise `MissingCapability`, `DataError` or `CheckpointError` for what cannot be validated here as it was asked for."""
    _ = built.profile  # raises
    if data is not None:
        load(source_of(built, data), built.scenario.model.input, built.scenario.model.classes)
    if saved is None:
        return
    if STRATEGIES[built.scenario.parallel.strategy].trains:
        raise MissingCapability(
            f"strategy {short(built.scenario.parallel.strategy)!r} trains, from its own beginning; --checkpoint is for "
            f"strategies that train nothing (--set parallel.strategy=inference)"
        )
    checkpoint.load(saved)


def compare(prediction: Prediction, result: RunResult, profile: AnyProfile) -> Validation:
    """Hold a finished run against its prediction. Probes are of cores: of a GPU nothing tells whether it is as fast as it was."""
    host = profile if isinstance(profile, Profile) else None
    blocks = [b.step_seconds for b in result.blocks if not b.timed][1:]
    medians = [median(b) for b in blocks]
    steps, among = (quantiles(x, n=10, method="inclusive") for x in ([s for b in blocks for s in b], medians))
    return Validation(
        prediction=prediction,
        result=result,
        step_s=median(medians),
        step_p10_s=steps[0],
        step_p90_s=steps[-1],
        step_mean_s=fmean(s for b in blocks for s in b),
        repeat_band=(among[-1] - among[0]) / 2 / median(medians),
        measured=step_stats(result.timeline),
        probe_moved=probe_moved(host, result) if host else 0.0,
        link_moved=link_moved(host, result) if host else 1.0,
        tolerance=TOLERANCE.get(len(prediction.built.plan.ranks), max(TOLERANCE.values())),
    )
