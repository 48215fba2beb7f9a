"""Kernels of a GPU made ready on disk before anything is bound to it: by several processes, without the GPU.

So workers, and later runs, find them there. What is not made ahead is made by whoever binds it.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from graph.instrument import hooks
from graph.parallel.plan import Do, Rank, Recv
from graph.parallel.unroll import unroll
from graph.tensor_type import DType
from hw.kernels.record import Call
from hw.lowered import Lowered
from hw.model import INPUT
from runtime.cuda.arena import extents
from runtime.cuda.bound import sum_call
from runtime.kernels.build import apart
from runtime.kernels.cuda.compile import image, is_kept
from runtime.kernels.cuda.kernel import CUDA_KERNELS, DeviceKernel, Launch, Place, load_families
from runtime.kernels.cuda.run import launches_of
from runtime.part import is_exchange, rows_moved

MOST = 8
"""Processes."""
WORTH = 6
"""Kernels for each process: what its start costs."""


def launched(lowered: Iterable[Lowered], capability: tuple[int, int]) -> list[DeviceKernel]:
    """What the plans of lowered roles launch on an architecture, once each.

    Raises
    ------
    MissingCapability : something needs a later architecture.
    """
    found: dict[DeviceKernel, None] = {}
    seen = set[tuple[object, ...]]()
    for low in lowered:
        for rank in (r for r in low.plan.ranks if r.role == low.role):
            for call, places in _calls(low, rank):
                key = (call.kernel, call.types, repr(sorted(call.attrs.items())), *((p.address % 512, p.size) for p in places))
                if key not in seen:
                    seen.add(key)
                    found.update(dict.fromkeys(of_call(call, places)))
    return list(dict.fromkeys(k.on(capability) for k in found))


def of_call(call: Call, places: Sequence[Place]) -> list[DeviceKernel]:
    """What a call of a kernel of ours launches at its places."""
    return [launch.kernel for launch in launches_of(call, places) if isinstance(launch, Launch)]


def places_at(extents: Iterable[tuple[int, DType, int]]) -> list[Place]:
    """Operands of a call at (address, elements of which type, how many), in order."""
    return [Place(index=i, address=at if size else 0, dtype=t, size=size) for i, (at, t, size) in enumerate(extents)]


def _calls(low: Lowered, rank: Rank) -> Iterator[tuple[Call, list[Place]]]:
    """What a rank's actions call in a step, at the places of an arena that begins at 0."""
    for a in unroll(low.plan, rank):
        if isinstance(a.ins, Do) and a.ins.kernel != INPUT:
            for call in low.segments[a.ins.kernel]:
                moved = rows_moved(low.plan, rank, a.ins, call) if is_exchange(call) else (0, 0)
                if moved is not None:
                    yield call, places_at(extents(low, rank, a.ins, call, moved))
        elif isinstance(a.ins, Recv) and a.ins.add:
            into = a.ins.into
            buffer, slot, _, _ = low.plan.key(rank, into)
            first = low.layout.buffers[buffer, slot]
            at = first + low.plan.extent(rank, into)[0] * low.plan.buffer(rank, buffer).itemsize
            size = low.plan.nbytes(rank, into) // 4
            yield (
                sum_call(size),
                places_at([(at, DType.F32, size), (0, DType.F32, size), (at, DType.F32, size), (0, DType.F32, 0)]),
            )


def compile_ahead(
    kernels: Sequence[DeviceKernel],
    capability: tuple[int, int],
    *,
    instruments: Sequence[object] = (),
    processes: int | None = None,
) -> None:
    """Make what a GPU's driver loads of kernels, where it is not on disk yet.

    Parameters
    ----------
    kernels : which; the architecture has their instructions.
    capability : of the GPU, e.g. ``(9, 0)``.
    instruments : who watches (`graph.instrument`): a phase, and a part of it for every kernel that had to be compiled.
    processes : how many may compile at the same time; None: as many as pay.

    Raises
    ------
    RunError : a kernel cannot be compiled; the message ends with what the compiler said.
    ToolkitMissing : there is no compiler.
    """
    cold = [k for k in kernels if not is_kept(k, capability)]
    for call in hooks(instruments, "on_phase"):
        call("compiling kernels" if cold else "loading kernels")
    count = min(processes or min(len(os.sched_getaffinity(0)), MOST, len(cold) // WORTH), len(cold))
    for done, _ in enumerate(_made_apart(cold, capability, count) if count > 1 else _made(cold, capability), 1):
        for call in hooks(instruments, "on_part"):
            call(done, len(cold))


def _made(kernels: Iterable[DeviceKernel], capability: tuple[int, int]) -> Iterator[str]:
    for k in kernels:
        image(k, capability)
        yield k.name


def _made_apart(kernels: Sequence[DeviceKernel], capability: tuple[int, int], count: int) -> Iterable[str]:
    architecture = ".".join(map(str, capability))
    return apart("runtime.cuda.ahead", [[architecture, *(k.name for k in kernels[i::count])] for i in range(count)])


def main(architecture: str, *names: str) -> None:
    """Make these kernels ready in this process, and say so line by line."""
    major, minor = map(int, architecture.split("."))
    load_families()
    known = {k.name: k for c in CUDA_KERNELS.values() for own in c.kernels for k in (own, own.older) if k is not None}
    for name in _made((known[n] for n in names), (major, minor)):
        sys.stdout.write(name + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
