"""A GPU that failed late: the run is played again up to that step, waiting after every action, to find the one that it failed at.

A kernel that reads or writes where it must not is found out by the device, some time later; nothing in that process can use the
device any more, nor say what it was doing. So new processes play the steps since the newest checkpoint again, carefully, where
those are not too many.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runtime.errors import DistributedFailure
from runtime.job import Block, Job
from runtime.result import RunResult

MOST = 200
"""Steps that are played again at most."""
BEYOND = 2
"""Steps that may have begun beyond those that were completed."""


def found_again(failure: DistributedFailure, job: Job, first_step: int, run: Callable[[Job], RunResult]) -> DistributedFailure:
    """The failure, with the action that it was at, if it happens again.

    Parameters
    ----------
    failure : of a run whose GPU failed.
    job : that was run.
    first_step : where it began.
    run : plays a job.
    """
    saved = failure.checkpoint if failure.checkpoint is not None else Path(job.resume) if job.resume else None
    begin = _step_of(saved) if failure.checkpoint is not None else first_step
    last = failure.step + BEYOND
    if last - begin > MOST:
        how = f"with a checkpoint in the last {MOST} steps it is played again to find the action (run.checkpoint_every)"
        return _with(failure, f"{failure.reason}; {how}")
    again = replace(
        job,
        is_careful=True,
        blocks=(Block(steps=last),),
        params={**job.params, "steps": last},
        checkpoints=None,
        resume=str(saved or ""),
        evaluate=False,
        probe=False,
        plan_hash="",
        lowered_hash="",
    )
    try:
        run(again)
    except DistributedFailure as e:
        return _with(e, f"{e.reason} (found by playing it again, action by action)", of=failure)
    return _with(failure, f"{failure.reason}; played again, action by action, it did not fail")


def _step_of(saved: Path | None) -> int:
    from runtime import checkpoint

    return checkpoint.load(saved).step if saved is not None else 0


def _with(e: DistributedFailure, reason: str, of: DistributedFailure | None = None) -> DistributedFailure:
    told = of or e
    return DistributedFailure(rank=e.rank, reason=reason, step=told.step, checkpoint=told.checkpoint)
