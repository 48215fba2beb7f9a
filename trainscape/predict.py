"""`predict`: play the plan in virtual time and sum up one step."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from graph.parallel.closed_form import total_nbytes
from graph.parallel.plan import Plan
from graph.record import record
from graph.step_stats import StepStats, step_stats
from graph.timeline import Timeline
from hw.model import PlacedModel
from sim.errors import SimError
from sim.play import Detail, play
from trainscape.build import Built
from trainscape.fit import require

STEPS = 5  # played; a synchronous step soon repeats itself
UNFOLDED = 16  # ranks that are all played
NORMAL_80 = 1.2816  # standard deviations on either side that hold 80 % of a normal distribution


@record
class Prediction:
    """A predicted step.

    Parameters
    ----------
    built : what was played.
    timeline : what happened when, in `STEPS` steps.
    stats : a step in numbers.
    spread : relative standard deviation of the step's time.
    """

    built: Built
    timeline: Timeline
    stats: StepStats
    spread: float

    @property
    def waiting_s(self) -> float:
        """Of a step, a rank that trains: it neither computes nor communicates; launches, input, other ranks."""
        return max(self.stats.step_s - self.stats.compute_s - self.stats.exposed_comm_s, 0.0)

    @property
    def bytes_sent(self) -> int:
        """Of a step, over all ranks, exactly: as played, or by formula where ranks were folded, whose parts differ a little."""
        if self.timeline.like:
            return total_nbytes(self.built.plan, 1, first=1)
        return self.stats.bytes_sent_total // self.stats.steps

    @property
    def interval(self) -> tuple[float, float]:
        """80 % interval of the step's seconds."""
        reach = NORMAL_80 * self.spread
        return self.stats.step_s * max(1 - reach, 0.0), self.stats.step_s * (1 + reach)

    def numbers(self) -> dict[str, Any]:
        """The ``predicted`` part of a result document."""
        built, s = self.built, self.stats
        model = built.placed
        return {
            "step_s": s.step_s,
            "step_interval_s": list(self.interval),
            "samples_per_s": built.scenario.model.batch / s.step_s,
            "compute_s": s.compute_s,
            "comm_s": s.comm_s,
            "exposed_comm_s": s.exposed_comm_s,
            "waiting_s": self.waiting_s,
            "input_wait_s": s.input_wait_s,
            "bytes_sent_total": self.bytes_sent,
            "memory_peak_bytes": [model.memory_bytes(r) for r in built.plan.ranks],
            "flop_total": s.flop_total // s.steps,
            "kinds_s": dict(s.kinds),
            "cost_model": model.cost_name,
            "algorithms": dict(built.algorithms),
            "kept_f32": dict(built.kept_f32),
            "plan_hash": built.plan.hash,
        }


def predict(built: Built, *, detail: Detail | str = Detail.FLOW, steps: int = STEPS, unfolded: int = UNFOLDED) -> Prediction:
    """Predict a scenario's step.

    Parameters
    ----------
    built : what is played.
    detail : how closely communication is looked at.
    steps : how many are played; the step's numbers are medians over all but the first.
    unfolded : of more ranks than so many, one of several like ones plays (`sim.fold`).

    Raises
    ------
    DoesNotFit : there is no such plan, or a rank needs more memory than its device has; with what would be possible.
    SimError : the plan cannot go on.
    """
    require(built)
    timeline = _played(of_steps(built.plan, steps), built.placed, detail, unfolded)
    spread = max(built.placed.spread(built.plan.first_rank(r.name)) for r in built.plan.roles)
    return Prediction(built=built, timeline=timeline, stats=step_stats(timeline), spread=spread)


def _played(plan: Plan, placed: PlacedModel, detail: Detail | str, unfolded: int) -> Timeline:
    """Many ranks are folded: one of several like ones plays, and the times are the same. Some programs cannot be."""
    if len(plan.ranks) > unfolded:
        with suppress(SimError):
            return play(plan, placed, detail=detail, fold=True)
    return play(plan, placed, detail=detail)


def of_steps(plan: Plan, steps: int) -> Plan:
    """The plan with exactly so many steps: a step is predicted as it is in a long run, however long the run is."""
    roles = (replace(r, params={**r.params, "steps": steps}) if "steps" in r.params else r for r in plan.roles)
    return Plan(tuple(roles), plan.slots)
