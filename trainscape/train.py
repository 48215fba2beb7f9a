"""`train`: a scenario is run for real, in one block of steps, with checkpoints in its run folder."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from graph.record import record
from runtime import checkpoint
from runtime.errors import CheckpointError
from runtime.job import Block, Checkpoints, Job
from runtime.result import RunResult
from trainscape.algorithms import words
from trainscape.build import Built
from trainscape.fit import require
from trainscape.job import job_of, run_in_time, workers
from trainscape.output import Output
from trainscape.progress import progress

AUTO = "auto"
CHECKPOINTS = "checkpoints"  # folder in the run folder


@record
class Training:
    """A finished training.

    Parameters
    ----------
    built : what was run.
    result : of the run.
    """

    built: Built
    result: RunResult

    @property
    def step_s(self) -> float | None:
        """Median of the steps run here, the first aside; None when there were too few."""
        steps = [s for b in self.result.blocks for s in b.step_seconds][1:]
        return median(steps) if steps else None

    def numbers(self) -> dict[str, Any]:
        """The parts of a result document."""
        r, step_s = self.result, self.step_s
        return {
            "accuracy": r.accuracy,
            "held_out": r.held_out,
            "loss": r.loss if r.losses else None,
            "steps": r.steps,
            "first_step": r.first_step,
            "measured": {
                "step_s": step_s,
                "samples_per_s": self.built.scenario.model.batch / step_s if step_s else None,
                "bytes_sent_run": r.bytes_sent_total,
                "memory_peak_bytes": list(r.memory_peak_bytes),
                "accuracy": r.accuracy,
                "loss": r.loss if r.losses else None,
                "compile_s": r.compile_seconds,
                "wall_s": r.wall_seconds,
            },
            "algorithms": dict(self.built.algorithms),
            "kept_f32": dict(self.built.kept_f32),
            "checkpoint": str(r.checkpoint) if r.checkpoint else None,
            "plan_hash": r.plan_hash,
            "lowered_hash": r.lowered_hash,
        }


def find_checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to go on from.

    Parameters
    ----------
    resume : a checkpoint, a folder with checkpoints, a run folder, ``"auto"`` (the newest of `folder`, if there is one), or None.
    folder : the run folder.

    Raises
    ------
    CheckpointError : what was named is not there.
    """
    if resume is None:
        return None
    if resume == AUTO:
        return checkpoint.latest(folder / CHECKPOINTS)
    path = Path(resume)
    found = path if path.is_file() else checkpoint.latest(path) or checkpoint.latest(path / CHECKPOINTS)
    if found is None:
        raise CheckpointError(f"--resume {resume}: no checkpoint there; name a file, a run folder, or auto")
    return found


def train(built: Built, *, folder: Path, output: Output, data: Path | None = None, resume: Path | None = None) -> Training:
    """Train a scenario, and show how far it is.

    Parameters
    ----------
    built : a scenario of this computer.
    folder : run folder, for checkpoints.
    output : where progress is shown.
    data : folder of the data set's files, where it has one.
    resume : checkpoint to go on from.

    Raises
    ------
    TimedOut : `run.timeout` has passed; the run was saved.
    Interrupted, DistributedFailure, DataError, CheckpointError : see `runtime.dist.launch.run`.
    """
    job = training_job(built, folder=folder, data=data, resume=resume)
    with _polite_end(), progress(output, _title(built)) as shown:
        return Training(built=built, result=run_in_time(job, built.scenario.run.timeout, [shown]))


def training_job(built: Built, *, folder: Path, data: Path | None, resume: Path | None) -> Job:
    """The run as the workers are told it.

    Raises
    ------
    CheckpointError : nothing is left to do.
    DoesNotFit : the GPU has too little memory; with what would be possible.
    """
    steps = built.scenario.run.steps
    if resume is not None and (done := checkpoint.load(resume).step) >= steps:
        raise CheckpointError(f"{resume} is of step {done}, and run.steps is {steps}: nothing is left to do")
    if built.is_gpu:
        require(built)
    return job_of(
        built,
        (Block(steps=steps),),
        data=data,
        folder=str(folder),
        checkpoints=Checkpoints(every=built.scenario.run.checkpoint_every),
        resume=str(resume or ""),
    )


def _title(built: Built) -> str:
    said = words(built.scenario.system.algorithm, built.algorithms, built.kept_f32)
    return ", ".join(filter(None, (built.scenario.name, workers(built.plan), said)))


@contextmanager
def _polite_end() -> Iterator[None]:
    """Take SIGTERM (of a batch system, a container, a shutdown) as Ctrl-C meanwhile, so that the run is saved."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can signals be handled
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
