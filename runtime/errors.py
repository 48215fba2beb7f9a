"""What can go wrong in `runtime`. The command line turns each kind into an exit code; a message says what would be right."""

from pathlib import Path


class RunError(Exception):
    """Base of every error that `runtime` raises on purpose."""


class InvalidJob(RunError):
    """A job contradicts itself, or what was built from it is not what its maker built."""


class DataError(RunError):
    """A data file is missing, damaged, or does not fit the model."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class MissingCapability(RunError):
    """This machine or system cannot do what was asked (exit code 6)."""


class StepFailed(RunError):
    """The native step ended early: an abort, a time-out, or a letter out of step."""


class DeviceFailed(RunError):
    """A GPU gave up: what it was doing when it did is not known, and nothing in this process can use it any more."""


class DistributedFailure(RunError):
    """A worker died or gave up (exit code 7).

    Parameters
    ----------
    rank : which one failed first, e.g. ``"server[0]"``.
    reason : how, e.g. ``"killed by SIGKILL"``.
    step : steps that all workers had completed.
    checkpoint : the newest checkpoint of the run, if there is one.
    """

    def __init__(self, *, rank: str, reason: str, step: int, checkpoint: Path | None) -> None:
        self.rank, self.reason, self.step, self.checkpoint = rank, reason, step, checkpoint
        resume = f"resume from {checkpoint}" if checkpoint else "there is no checkpoint to resume from"
        super().__init__(f"{rank} failed after step {step}: {reason}; {resume}")


class Interrupted(RunError):
    """The user stopped the run; it ended between two steps (exit code 130).

    Parameters
    ----------
    step : steps completed.
    checkpoint : the checkpoint that was written, if the job has a folder.
    """

    def __init__(self, *, step: int, checkpoint: Path | None) -> None:
        self.step, self.checkpoint = step, checkpoint
        resume = f"resume from {checkpoint}" if checkpoint else "no checkpoint was asked for"
        super().__init__(f"stopped after step {step}; {resume}")
