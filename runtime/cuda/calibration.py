"""Times kernels and copies on a GPU one by one, as a captured step has them: one right behind the other, on one stream.

A kernel of a size is put on the device many times in one go, as a graph where that can be, between two events; nothing is left of
the host. Sizes are visited several times, far apart and in a new order each time, so that a slow moment does not fall on one of
them alone. What is timed is only kernels over `KernelRecord.sizes()`, a committed grid that shares no shape with the zoo, and
sums and copies of some sizes. Never a model.

In the simulator small samples of the operators stand for the grid, once: that shows that all of it runs, and nothing of time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.op import OPS, Size
from graph.ops.common import type_of
from graph.record import record
from graph.tensor_type import DType, TensorType, f32
from hw.kernels.record import KERNELS, Call, KernelRecord
from runtime.calibration import call_of
from runtime.cuda.bound import ACCUMULATE
from runtime.cuda.device import Device
from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families
from runtime.kernels.cuda.run import Go, bound, launches_of, places_of

INPUT_COPY = "cuda.input"
"""Record of the copy of a batch: no kernel here, but a copy from pinned memory."""
ALIGN = 256
VISITS, TARGET_SECONDS, MOST = 5, 0.002, 400
"""Visits of a size; seconds of one, about; launches in one at most."""
BUFFERS = tuple(3 * 4**k for k in range(3, 13))  # elements of sums and copies: 768 B to 201 MB
TINY = 3  # samples of an operator that stand for its grid in the simulator: the smallest


@record
class Timed:
    """A kernel, or a copy, of one size.

    Parameters
    ----------
    kernel : name of the record.
    call : of this size.
    seconds : of one: the median over visits.
    repeat : relative standard deviation between visits.
    """

    kernel: str
    call: Call
    seconds: float
    repeat: float


def grid_of(kernel: KernelRecord, device: Device) -> list[Size]:
    """The sizes of a kernel that are timed."""
    if kernel.name in (ACCUMULATE, INPUT_COPY):
        sizes = BUFFERS if device.can_capture else BUFFERS[:3]
        return [Size(types=(f32(n),) * (1 if kernel.name == INPUT_COPY else 2), attrs={}) for n in sizes]
    plain: dict[str, Any] = {"epilogue": ""} if kernel.epilogue else {}
    if device.can_capture:
        return [Size(types=s.types, attrs={**plain, **s.attrs}) for s in kernel.sizes()]
    found = []
    for s in OPS[kernel.op].samples():
        types = tuple(type_of(np.asarray(a)) for a in s.inputs)
        if all(t.size for t in types):
            found.append(Size(types=types, attrs={**plain, **s.attrs}))
    return sorted(found, key=lambda s: sum(t.size for t in s.types))[:TINY]


def known() -> tuple[str, ...]:
    """Records with a CUDA kernel, and the copy of a batch."""
    load_families()
    return tuple(dict.fromkeys((*CUDA_KERNELS, INPUT_COPY)))


class _Item:
    """A kernel of one size, bound to memory of its own."""

    def __init__(self, kernel: str, call: Call, outputs: Sequence[TensorType], device: Device, rng: np.random.Generator) -> None:
        self.kernel, self.call, self.device = kernel, call, device
        self._stream, self._events = device.stream(), (device.event(), device.event())
        self._graph: tuple[int, Callable[[], None]] | None = None
        op = KERNELS[kernel].op
        in_place = OPS[op].aliases if op in OPS else {0: 0}
        kinds = [*call.types, *(t for k, t in enumerate(outputs) if k not in in_place)] if call.reads else list(outputs)
        at = np.cumsum([0, *(t.nbytes + -t.nbytes % ALIGN for t in kinds)])
        self._memory = device.allocate(int(at[-1]) + call.workspace)
        arrays = [self._memory[a : a + t.nbytes].view(t.dtype.numpy) for a, t in zip(at, kinds, strict=False)]
        if kernel == INPUT_COPY:
            host = device.pinned(kinds[0].nbytes)
            self._gos: tuple[Go, ...] = (lambda stream: device.upload(self._memory[: len(host)], host, stream),)
            return
        for a, t in zip(arrays, call.types, strict=False):
            device.upload(a, _drawn(t, rng))
        reads, rest = arrays[: len(call.types)], iter(arrays[len(call.types) :])
        writes = [reads[in_place[k]] if k in in_place else next(rest) for k in range(len(outputs))]
        work = self._memory[int(at[-1]) : int(at[-1]) + call.workspace]
        places = [*reads, *writes, work]
        self._gos = tuple(bound(launch, places) for launch in launches_of(call, places_of(places)))

    def _put(self, times: int) -> None:
        for _ in range(times):
            for go in self._gos:
                go(self._stream)

    def seconds(self, times: int) -> float:
        """Of one of so many, right behind each other."""
        put: Callable[[], None] = lambda: self._put(times)  # noqa: E731 - one of two ways
        if self.device.can_capture:
            if self._graph is None or self._graph[0] != times:
                self._graph = times, self.device.captured(self._stream, lambda: self._put(times))
                self._graph[1]()  # the first time it is brought to the device
            put = self._graph[1]
        first, last = self._events
        self.device.mark(first, self._stream)
        put()
        self.device.mark(last, self._stream)
        self.device.await_event(last)
        return max(self.device.nanoseconds(first, last), 1) * 1e-9 / times

    def warm(self) -> None:
        """Load its code."""
        self._put(1)
        self.device.synchronize()


def _drawn(t: TensorType, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Small positive numbers, which are valid variances; of whole numbers zeros, which are valid labels and indices."""
    if t.dtype is DType.F32:
        return rng.random(t.size, np.float32) * np.float32(0.1) + np.float32(0.05)
    return np.zeros(t.size, t.dtype.numpy)


def measure(device: Device, names: Sequence[str], *, seconds: float, seed: int) -> Iterator[Timed]:
    """Time these kernels over their grids, for about so many seconds; one result a kernel and size.

    Parameters
    ----------
    device : where.
    names : records, of `known`.
    seed : of orders and of numbers.
    """
    rng = np.random.default_rng(seed)
    sizes = [(name, s) for name in names for s in grid_of(KERNELS[name], device)]
    calls = [(name, *call_of(KERNELS[name], s)) for name, s in sizes]
    visits = VISITS if device.can_capture else 1
    share = min(seconds / max(len(calls), 1) / visits, TARGET_SECONDS)
    found: list[list[float]] = [[] for _ in calls]
    times = [0] * len(calls)
    for _ in range(visits):
        for k in map(int, rng.permutation(len(calls))):
            item = _Item(calls[k][0], calls[k][1], calls[k][2], device, rng)
            item.warm()
            if not times[k]:
                times[k] = min(max(int(share / item.seconds(1)), 1), MOST) if device.can_capture else 1
            found[k].append(item.seconds(times[k]))
    for (name, call, _), each in zip(calls, found, strict=True):
        middle = float(np.median(each))
        yield Timed(kernel=name, call=call, seconds=middle, repeat=float(np.std(each)) / middle)


def memory_bytes_per_second(device: Device) -> float:
    """Bytes that a copy on the device reads and writes in a second: the median of some."""
    nbytes = (256 << 20) if device.can_capture else 1 << 16
    memory, stream, first, last = device.allocate(2 * nbytes), device.stream(), device.event(), device.event()
    source, to, found = memory[:nbytes], memory[nbytes : 2 * nbytes], []
    for _ in range(VISITS):
        device.mark(first, stream)
        device.copy(to, source, stream)
        device.mark(last, stream)
        device.await_event(last)
        found.append(max(device.nanoseconds(first, last), 1))
    return 2e9 * nbytes / float(np.median(found[1:]))


def launch_seconds(device: Device) -> float:
    """Seconds of the host to put a small kernel on the device, which is not waited for."""
    call, outputs = call_of(KERNELS[ACCUMULATE], Size(types=(f32(64), f32(64)), attrs={}))
    item = _Item(ACCUMULATE, call, outputs, device, np.random.default_rng(0))
    item.warm()
    times, found = 200 if device.can_capture else 2, []
    for _ in range(VISITS):
        began = time.perf_counter()
        item._put(times)
        found.append((time.perf_counter() - began) / times)
        device.synchronize()
    return float(np.median(found))
