"""`predict`: play the plan in virtual time and sum up one step."""

from typing import Any

from graph.record import record
from graph.step_stats import StepStats, step_stats
from graph.timeline import Timeline
from sim.play import Detail, play
from trainscape.build import Built

STEPS = 5  # played; a synchronous step soon repeats itself
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
            "bytes_sent_total": s.bytes_sent_total // s.steps,
            "memory_peak_bytes": [model.memory_bytes(r) for r in built.plan.ranks],
            "flop_total": s.flop_total // s.steps,
            "kinds_s": dict(s.kinds),
            "cost_model": model.cost.name,
            "plan_hash": built.plan.hash,
        }


def predict(built: Built, *, detail: Detail | str = Detail.FLOW, steps: int = STEPS) -> Prediction:
    """Predict a scenario's step.

    Parameters
    ----------
    built : what is played.
    detail : how closely communication is looked at.
    steps : how many are played; the step's numbers are medians over all but the first.

    Raises
    ------
    SimError : a rank needs more memory than its device has, or the plan cannot go on.
    """
    timeline = play(built.plan.shortened(steps), built.placed, detail=detail)
    spread = max(built.placed.spread(built.plan.first_rank(r.name)) for r in built.plan.roles)
    return Prediction(built=built, timeline=timeline, stats=step_stats(timeline), spread=spread)
