"""What the parent of a run does before the first worker starts: find what cannot be, and make the kernels ready on disk."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graph.instrument import hooks
from graph.parallel.strategies import STRATEGIES
from hw.errors import DoesNotFit
from hw.kernels.record import Platform
from hw.lowered import Lowered
from runtime import checkpoint
from runtime.cuda.driver import is_simulated, require_gpu
from runtime.data.dataset import Dataset, load_for, part_size
from runtime.data.stage import ring_layout
from runtime.dist.control import Control
from runtime.dist.setup import Setup
from runtime.errors import InvalidJob
from runtime.executor import data_layout
from runtime.job import Job, lowered_hash

_INTERPRETER_BYTES = 100 << 20  # of a worker that has loaded its libraries, beside the arena


def check(job: Job) -> tuple[Setup, int]:
    """Raise whatever `run` would raise before it starts anything; nothing is written.

    Returns
    -------
    What the job comes to, the job with its hashes and its checkpoint's file; and the step where it begins.
    """
    trains = not job.model or STRATEGIES[job.strategy].trains
    if not trains and (job.checkpoints or job.resume):
        raise InvalidJob(
            f"strategy {job.strategy!r} trains nothing, so there is nothing to save or to go on from; give the job neither "
            f"checkpoints nor a checkpoint to resume (values takes parameters from one)"
        )
    if trains and job.values:
        raise InvalidJob(f"strategy {job.strategy!r} trains; it goes on from a checkpoint (resume), and takes no values")
    if job.platform == Platform.CUDA:
        require_gpu()
    setup = Setup(job)
    setup.job = replace(job, plan_hash=setup.plan.hash, lowered_hash=lowered_hash(setup.lowered), resume=_resumed(job))
    first_step = _first_step(setup)
    check_memory(Control(setup))
    if job.platform == Platform.CUDA:
        _check_gpu(setup)
    if data := load_for(job, setup.graph):
        _check_parts(setup, data[0])
    return setup, first_step


def _check_parts(setup: Setup, data: Dataset) -> None:
    """Refuse a batch that cannot be cut into the micro-batches that the plan's graphs are made for."""
    for rank in setup.plan.ranks:
        if not setup.has_input(rank.role):
            continue
        _, parts, micro_batches = setup.part_of_step(rank)
        size = part_size(data, setup.job.batch, parts, micro_batches, setup.plan.role[rank.role].sample_parts)
        lowered = setup.lowered[rank.role]
        for v in data_layout(lowered)[0]:
            if (made_for := lowered.graph.type_of(v).shape[0]) != size:
                raise InvalidJob(f"{rank} takes {size} samples at once, {v!r} of its graph holds {made_for}")


def compile_kernels(setup: Setup, instruments: Sequence[object] = ()) -> None:
    """Make every kernel that the plan calls, and the native step, ready on disk."""
    from runtime.dist.warm import is_warm, warm
    from runtime.kernels.build import compile_all

    lowered = [*setup.lowered.values(), *([setup.forward] if setup.forward else [])]
    names = {c.kernel for low in lowered if low.platform is not Platform.CUDA for c in low.calls if c.kernel != "cpu.input"}
    if names:
        compile_all(sorted(names), instruments=instruments)
    _compile_for_gpu([low for low in lowered if low.platform is Platform.CUDA], instruments)
    if not is_warm():
        for call in hooks(instruments, "on_phase"):
            call("compiling kernels")
    warm()


def _compile_for_gpu(lowered: Sequence[Lowered], instruments: Sequence[object]) -> None:
    """Make what a GPU launches ready on disk; a simulator compiles nothing."""
    if not lowered or is_simulated():
        return
    from runtime.cuda.ahead import compile_ahead, launched

    if (capability := require_gpu().capability) is not None:
        compile_ahead(launched(lowered, capability), capability, instruments=instruments)


def check_memory(control: Control) -> None:
    """Refuse a run that would drive the computer out of memory, before any is taken."""
    have, setup, need = _available_bytes(), control.setup, control.nbytes
    for rank in control.ranks:
        lowered = setup.lowered[rank.role]
        slots, stride = ring_layout(data_layout(lowered)[1]) if setup.has_input(rank.role) else (0, 0)
        arena = lowered.layout.nbytes if lowered.platform is not Platform.CUDA else 0
        need += arena + slots * stride + _INTERPRETER_BYTES
    if have is not None and need > have:
        ranks = len(control.ranks)
        workers = f"{ranks} workers need" if ranks > 1 else "1 worker needs"
        raise DoesNotFit(f"{workers} {need:,} bytes of memory, this computer has {have:,} free: {need - have:,} too few")


def _check_gpu(setup: Setup) -> None:
    """Refuse a run whose kernels do not exist, or whose arenas the GPU cannot hold together."""
    from runtime.cuda.bound import require_kernels

    on_it = {name: low for name, low in setup.lowered.items() if low.platform is Platform.CUDA}
    require_kernels({**on_it, **({"forward": setup.forward} if setup.forward else {})})
    gpu, need = require_gpu(), sum(on_it[rank.role].layout.nbytes for rank in setup.plan.ranks if rank.role in on_it)
    if gpu.memory_nbytes and need > gpu.memory_nbytes:
        lack = f"{need - gpu.memory_nbytes:,} too few"
        raise DoesNotFit(f"the arenas of all ranks hold {need:,} bytes, {gpu.name} has {gpu.memory_nbytes:,}: {lack}")


def _available_bytes() -> int | None:
    """Memory that can be taken without paging, where the system says so."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _first_step(setup: Setup) -> int:
    """Where the run begins; refuses a checkpoint that it cannot go on from before anything is started."""
    job = setup.job
    if job.values:
        checkpoint.check_values(checkpoint.load(Path(job.values)), setup.whole)
    if not job.resume:
        return 0
    saved = checkpoint.load(Path(job.resume))
    checkpoint.check(saved, setup.whole, seed=job.seed, batch=job.batch, data=job.source.name)
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
