"""A kernel of one size in memory of its own, which the rival reads as well; checked against it, and timed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.timing import Turn, times_for
from graph.op import OPS, Attrs, Size
from graph.tensor_type import DType, TensorType
from hw.kernels.record import KERNELS, Call
from runtime.calibration import call_of
from runtime.errors import MissingCapability
from runtime.kernels.cuda.kernel import CUDA_KERNELS, Launch, Place, load_families
from runtime.kernels.cuda.run import Go, bound, launches_of, places_of

if TYPE_CHECKING:
    from benchmarks.gpu.peer import Peer
    from runtime.cuda.device import Device

Array = npt.NDArray[Any]
ALIGN = 256
PATTERN = 1 << 20
"""Random numbers that are drawn; a larger operand repeats them."""


class Wrong(Exception):
    """The rivals do not compute the same: nothing is timed."""


class Bound:
    """A call of a kernel.

    Parameters
    ----------
    device : where.
    kernel : name of its record.
    types, attrs : of the call.
    rng : draws the operands: floats from -1 to 1, or as `values` says; whole numbers are zero.
    values : operand -> numbers that it begins with, repeated.
    """

    def __init__(
        self, device: "Device", kernel: str, types: Sequence[TensorType], attrs: Attrs, rng: np.random.Generator,
        values: Mapping[int, Array] | None = None,
    ) -> None:  # fmt: skip
        record = KERNELS[kernel]
        plain: dict[str, Any] = {"epilogue": ""} if record.epilogue else {}
        self.call, outputs = call_of(record, Size(types=tuple(types), attrs={**plain, **attrs}))
        self.device, self.record, self._stream = device, record, device.stream()
        self._kinds = (*self.call.types, *outputs)
        held = OPS[record.op].aliases if record.op in OPS else {0: 0}
        self.is_in_place = bool(held)
        own = [*self.call.types, *(t for k, t in enumerate(outputs) if k not in held)]
        at = np.cumsum([0, *(t.nbytes + -t.nbytes % ALIGN for t in own)])
        self._memory = device.allocate(int(at[-1]) + self.call.workspace)
        arrays = [self._memory[a : a + t.nbytes].view(t.dtype.numpy) for a, t in zip(at, own, strict=False)]
        self.reads, rest = arrays[: len(types)], iter(arrays[len(types) :])
        self.writes = [self.reads[held[k]] if k in held else next(rest) for k in range(len(outputs))]
        for k, (a, t) in enumerate(zip(self.reads, types, strict=True)):
            _fill(device, a, (values or {}).get(k, _drawn(t, rng)))
        self._arrays = [*self.reads, *self.writes, self._memory[int(at[-1]) :][: self.call.workspace]]

    @cached_property
    def gos(self) -> tuple[Go, ...]:
        """What the call launches."""
        return tuple(bound(launch, self._arrays) for launch in launches_of(self.call, places_of(self._arrays)))

    def put(self, times: int = 1) -> None:
        """Put it on the device so many times."""
        for _ in range(times):
            for go in self.gos:
                go(self._stream)

    def run(self) -> None:
        """Do it once, and wait."""
        self.put()
        self.device.synchronize()

    def terms(self) -> Mapping[str, float]:
        """What its record counts of it."""
        return self.record.terms(self.call.types, self.call.attrs)

    def host(self, index: int) -> Array:
        """A copy of an operand, or of a result behind them."""
        t = self._kinds[index]
        found = np.empty(t.shape, t.dtype.numpy)
        self.device.download(found.reshape(-1), self._arrays[index])
        return found

    def tensor(self, peer: "Peer", index: int) -> Any:
        """The same memory as the rival sees it, in the same shape."""
        return peer.tensor(self._arrays[index]).view(self._kinds[index].shape)

    @cached_property
    def turn(self) -> Turn:
        """Captured as one graph where that can be, so that nothing of the host is in it; it has run before."""
        if not self.device.can_capture:
            return self._on_the_clock
        times = times_for(self._timed(self.put))
        graph = self.device.captured(self._stream, lambda: self.put(times))
        graph()
        return lambda: self._timed(graph) / times

    def _timed(self, put: Callable[[], None]) -> float:
        first, last = self.device.event(), self.device.event()
        self.device.mark(first, self._stream)
        put()
        self.device.mark(last, self._stream)
        self.device.await_event(last)
        return max(self.device.nanoseconds(first, last), 1) * 1e-9

    def _on_the_clock(self) -> float:
        began = time.perf_counter()
        self.run()
        return time.perf_counter() - began


def _drawn(t: TensorType, rng: np.random.Generator) -> Array:
    if t.dtype is not DType.F32:
        return np.zeros(1, t.dtype.numpy)
    return rng.random(min(t.size, PATTERN), np.float32) * np.float32(2) - np.float32(1)


def _fill(device: "Device", array: Any, numbers: Array) -> None:
    """Write numbers from the beginning on, then what is there after itself, until it is full."""
    size, done = int(array.size), min(int(array.size), numbers.size)
    flat = np.ascontiguousarray(numbers, array.dtype).reshape(-1)
    device.upload(array[:done], flat[:done])
    while done < size:
        more = min(done, size - done)
        device.copy(array[done : done + more], array[:more])
        done += more
    device.synchronize()


def reference(work: Bound) -> list[Array]:
    """What the operator says that the results are."""
    op, count = OPS[work.record.op], len(work.call.types)
    attrs = {**op.attrs, **{k: v for k, v in work.call.attrs.items() if k != "epilogue"}}
    return [np.asarray(a) for a in op.reference([work.host(k) for k in range(count)], attrs)]


def difference(got: Any, want: Any) -> float:
    """Greatest difference, relative to the greatest magnitude; of two arrays, or two of the rival's tensors."""
    return float(abs(got - want).max()) / max(float(abs(want).max()), 1e-30)


def same(what: str, found: float, most: float) -> float:
    """The difference; raises `Wrong` where it is more than that, or no number."""
    if not found <= most:
        raise Wrong(f"{what} differ by {found:.1e} of the largest, at most {most:.1e} is rounding; nothing was timed")
    return found


def compile_calls(calls: Iterable[tuple[Call, Sequence[TensorType]]]) -> None:
    """Compile what calls, each with the types of its results, will launch when all of its operands are aligned."""
    for call, outputs in calls:
        kinds = [*call.types, *outputs]
        places = [Place(index=i, address=0, dtype=t.dtype, size=t.size) for i, t in enumerate(kinds)]
        scratch = Place(index=len(kinds), address=0, dtype=DType.U8, size=call.workspace)
        for launch in launches_of(call, [*places, scratch]):
            if isinstance(launch, Launch):  # what a library launches is compiled
                _ = launch.kernel.compiled


def compile_all() -> None:
    """Compile every kernel that this device can have; what cannot be is told by whoever launches it."""
    load_families()
    for kernel in {k for made in CUDA_KERNELS.values() for k in made.kernels}:
        with suppress(MissingCapability):
            _ = kernel.compiled
