"""A rank's actions bound to its arena: what each of them launches, and the sums of what comes in letters."""

from collections.abc import Mapping
from typing import Any

from graph.ir import Phase
from graph.op import Work
from graph.parallel.plan import Do
from graph.tensor_type import f32
from hw.kernels.record import Call
from hw.lowered import Lowered
from hw.model import INPUT
from runtime.cuda.arena import DeviceArena
from runtime.errors import MissingCapability
from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families
from runtime.kernels.cuda.run import Go, bound, launches_of, places_of
from runtime.part import is_exchange, rows_moved

ACCUMULATE = "cuda.accumulate"


def require_kernels(lowered: Mapping[str, Lowered]) -> None:
    """Raise `MissingCapability` where something calls a kernel that does not exist, naming operators and layers, or a library
    that is not here.
    """
    load_families()
    lacking: dict[str, list[str]] = {}
    for low in lowered.values():
        for segment, calls in low.segments.items():
            for c in calls:
                if segment != INPUT and c.kernel not in CUDA_KERNELS:
                    lacking.setdefault(c.kernel.split(".", 1)[1], []).append(c.layer or segment)
    if lacking:
        each = (f"{op} (in {', '.join(dict.fromkeys(layers))})" for op, layers in lacking.items())
        raise MissingCapability(f"there is no CUDA kernel for {'; '.join(each)}: run this model with --device cpu")
    called = dict.fromkeys(c.kernel for low in lowered.values() for c in low.calls if c.kernel in CUDA_KERNELS)
    for name in called:
        if (library := CUDA_KERNELS[name].library) is not None:
            library.require()


class Binder:
    """Binds calls to places; like calls at like places are bound once.

    Parameters
    ----------
    arena : where they are.
    """

    def __init__(self, arena: DeviceArena) -> None:
        self._arena = arena
        self._made: dict[tuple[Any, ...], tuple[Go, ...]] = {}

    def launches(self, do: Do) -> tuple[Go, ...]:
        """What an action launches, in order."""
        return tuple(go for c in self._arena.lowered.segments[do.kernel] for go in self._call(do, c))

    def _call(self, do: Do, c: Call) -> tuple[Go, ...]:
        arena = self._arena
        moved = rows_moved(arena.plan, arena.rank, do, c) if is_exchange(c) else (0, 0)
        if moved is None:  # it is not this rank's turn
            return ()
        offsets = [arena.lowered.offset(do, v, arena.rank) for v in (*c.reads, *c.writes)]
        key = (c.kernel, c.nodes, repr(sorted(c.attrs.items())), *offsets, *moved)
        if key not in self._made:
            arrays = arena.arrays(do, c, moved)
            self._made[key] = tuple(bound(launch, arrays) for launch in launches_of(c, places_of(arrays)))
        return self._made[key]


def sums(own: Any, letter: Any) -> tuple[Go, ...]:
    """What adds the numbers of one device array to those of another, both flat f32 of the same size."""
    arrays = [own, letter, own, own[:0]]
    return tuple(bound(launch, arrays) for launch in launches_of(sum_call(int(own.size)), places_of(arrays)))


def sum_call(size: int) -> Call:
    """Adds the numbers of a letter to a rank's own."""
    kind = f32(size)
    return Call(
        kernel=ACCUMULATE, nodes=(), fused=(), reads=("own", "letter"), writes=("own",), types=(kind, kind), attrs={},
        work=Work(flop=kind.size), workspace=0, layer="", phase=Phase.BACKWARD,
    )  # fmt: skip
