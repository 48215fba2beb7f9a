"""What the parent of a run does before the first worker starts: find what cannot be, and make the kernels ready on disk."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from graph.instrument import hooks
from graph.ir import Kind
from hw.errors import DoesNotFit
from hw.lowered import Lowered
from runtime import checkpoint
from runtime.data.dataset import load_for, part_size
from runtime.data.stage import ring_layout
from runtime.dist.control import Control
from runtime.errors import InvalidJob, MissingCapability
from runtime.executor import data_layout
from runtime.job import Job, build, lowered_hash

_INTERPRETER_BYTES = 100 << 20  # of a worker that has loaded its libraries, beside the arena


def check(job: Job) -> tuple[Job, Lowered, int]:
    """Raise whatever `run` would raise before it starts anything; nothing is written.

    Returns
    -------
    The job with its hashes and its checkpoint's file, its lowering, and the step where it begins.
    """
    plan, roles = build(job)
    if len(roles) > 1:
        raise InvalidJob(f"worker processes play one role; the plan has {', '.join(roles)}")
    (lowered,) = roles.values()
    job = replace(job, plan_hash=plan.hash, lowered_hash=lowered_hash(roles), resume=_resumed(job))
    first_step = _first_step(job, lowered)
    control = Control(job, lowered)
    check_memory(control, lowered)
    if data := load_for(lowered, job):
        part_size(data[0], job.batch, len(control.ranks), max(control.losses_per_step, 1))
    return job, lowered, first_step


def compile_kernels(lowered: Lowered, instruments: Sequence[object] = ()) -> None:
    """Make every kernel that the plan calls, and the native step, ready on disk."""
    from runtime.dist.warm import is_warm, warm
    from runtime.kernels.build import compile_all

    compile_all(sorted({c.kernel for c in lowered.calls if c.kernel != "cpu.input"}), instruments=instruments)
    if not is_warm():
        for call in hooks(instruments, "on_phase"):
            call("compiling kernels")
    warm()


def check_memory(control: Control, lowered: Lowered) -> None:
    """Refuse a run that would drive the computer out of memory, before any is taken."""
    have, ranks = _available_bytes(), len(control.ranks)
    has_input = "input" in lowered.segments
    slots, stride = ring_layout(data_layout(lowered)[1]) if has_input else (0, 0)
    need = ranks * (lowered.layout.nbytes + slots * stride + _INTERPRETER_BYTES) + control.nbytes
    if have is not None and need > have:
        workers = f"{ranks} workers need" if ranks > 1 else "1 worker needs"
        raise DoesNotFit(f"{workers} {need:,} bytes of memory, this computer has {have:,} free: {need - have:,} too few")


def _available_bytes() -> int | None:
    """Memory that can be taken without paging, where the system says so."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _first_step(job: Job, lowered: Lowered) -> int:
    """Where the run begins; refuses a checkpoint that it cannot go on from before anything is started."""
    if not job.resume:
        return 0
    saved = checkpoint.load(Path(job.resume))
    inputs = [v for kind in (Kind.PARAMETER, Kind.STATE) for v in lowered.graph.of_kind(kind)]
    into = {v.name: np.empty(v.type.shape, v.type.dtype.numpy) for v in inputs}
    checkpoint.restore(saved, into, seed=job.seed, batch=job.batch, data=job.source.name)
    return saved.step


def _resumed(job: Job) -> str:
    """The checkpoint to go on from, as a file."""
    if not job.resume:
        return ""
    path = Path(job.resume)
    if path.is_dir():
        path = checkpoint.latest(path) or checkpoint.latest(path / "checkpoints") or path
    checkpoint.load(path)
    return str(path)
