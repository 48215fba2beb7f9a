"""Times kernels and copies on a GPU one by one, as a captured step has them: one right behind the other, on one stream.

A kernel of a size is put on the device many times in one go, as a graph where that can be, between two events; nothing is left of
the host. Launches take turns on several sets of operands, together larger than any cache, as those of a large net find little
there; and once more all on one set, as those of a small net find everything there. Sizes are visited several times, far apart and
in a new order each time, so that a slow moment does not fall on one of them alone. What is timed is only kernels over
`KernelRecord.sizes()`, a committed grid that shares no shape with the zoo, and sums and copies of some sizes. Never a model.

In the simulator small samples of the operators stand for the grid, once: that shows that all of it runs, and nothing of time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.op import OPS, Size
from graph.ops.common import type_of
from graph.record import record
from graph.tensor_type import DType, TensorType, f32, i64
from hw.kernels.record import KERNELS, Call, KernelRecord
from runtime.calibration import call_of
from runtime.cuda.ahead import of_call, places_at
from runtime.cuda.bound import ACCUMULATE
from runtime.cuda.device import Device
from runtime.kernels.cuda.kernel import CUDA_KERNELS, DeviceKernel, Machine, load_families, machine
from runtime.kernels.cuda.library import Library
from runtime.kernels.cuda.run import Go, bound, launches_of, places_of

INPUT_COPY = "cuda.input"
"""Record of the copy of a batch: no kernel here, but a copy from pinned memory."""
ALIGN = 256
VISITS, TARGET_SECONDS, MOST = 3, 0.002, 64
"""Visits of a size; seconds of one, about; launches in one at most."""
COLD_NBYTES, SETS = 160 << 20, 24
"""Sets of operands have so many bytes together, three times the second-level cache of an H200; sets at most."""
HOT_NBYTES = 1 << 20, 16 << 20
"""Operands of so many bytes at least, and at most, show what a cache brings."""
BUFFERS = tuple(3 * 4**k for k in range(3, 13))  # elements of sums and copies: 768 B to 201 MB
POOL, TINY_POOL = 1 << 22, 1 << 10
"""Numbers that are drawn, on a device and in the simulator."""
TINY = 2  # samples of an operator that stand for its grid in the simulator: the smallest


@record
class Timed:
    """A kernel, or a copy, of one size.

    Parameters
    ----------
    kernel : name of the record.
    call : of this size.
    seconds : of one: the median over visits.
    repeat : relative standard deviation between visits.
    hot : of one whose operands are in the cache, where that was looked at.
    """

    kernel: str
    call: Call
    seconds: float
    repeat: float
    hot: float | None = None


def grid_of(kernel: KernelRecord, device: Device) -> list[Size]:
    """The sizes of a kernel that are timed."""
    if kernel.name in (ACCUMULATE, INPUT_COPY):
        sizes = BUFFERS if device.can_capture else BUFFERS[:3]
        if kernel.name == ACCUMULATE:
            return [Size(types=(f32(n),) * 2, attrs={}) for n in sizes]
        return [Size(types=(f32(n), i64(n // 100))[: 1 + k % 2], attrs={}) for k, n in enumerate(sizes)]
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
    """Records with a CUDA kernel, and the copy of a batch; of libraries where they are, for a double's times say nothing."""
    load_families()
    return tuple(dict.fromkeys((*(name for name, k in CUDA_KERNELS.items() if _is_here(k.library)), INPUT_COPY)))


def _is_here(library: Library | None) -> bool:
    return library is None or (machine() is Machine.DEVICE and not library.absent())


def launched(device: Device, names: Iterable[str], capability: tuple[int, int]) -> list[DeviceKernel]:
    """What timing these records launches on an architecture, once each: all operands are aligned."""
    found: dict[DeviceKernel, None] = {}
    for name in names:
        for s in grid_of(KERNELS[name], device) if name != INPUT_COPY else ():
            call, outputs = call_of(KERNELS[name], s)
            kinds = [*((0, t.dtype, t.size) for t in (*call.types, *outputs)), (0, DType.U8, call.workspace)]
            found.update(dict.fromkeys(of_call(call, places_at(kinds))))
    return list(dict.fromkeys(k.on(capability) for k in found))


class _Item:
    """A kernel of one size, bound to memory of its own: some sets of operands."""

    def __init__(
        self, kernel: str, call: Call, outputs: Sequence[TensorType], device: Device, pool: "_Pool", stream: Any, sets: int = SETS
    ) -> None:
        self.device, self._stream, self._events = device, stream, (device.event(), device.event())
        op = KERNELS[kernel].op
        in_place = OPS[op].aliases if op in OPS else {0: 0}
        kinds = [*call.types, *(t for k, t in enumerate(outputs) if k not in in_place)] if call.reads else list(outputs)
        at = [int(n) for n in np.cumsum([0, *(t.nbytes + -t.nbytes % ALIGN for t in kinds), call.workspace])]
        self.nbytes = at[-1] + -at[-1] % ALIGN
        self.sets = min(max(COLD_NBYTES // max(self.nbytes, 1), 1), sets) if device.can_capture else 1
        self._memory = device.allocate(self.sets * self.nbytes)
        self._gos: list[tuple[Go, ...]] = []
        for first in range(0, self.sets * self.nbytes, max(self.nbytes, 1)) if self.nbytes else (0,):
            own = self._memory[first : first + self.nbytes]
            arrays = [own[a : a + t.nbytes].view(t.dtype.numpy) for a, t in zip(at, kinds, strict=False)]
            if kernel == INPUT_COPY:
                self._gos.append(tuple(_upload(device, to, device.pinned(t.nbytes)) for to, t in zip(arrays, kinds, strict=True)))
                continue
            for a, t in zip(arrays, call.types, strict=False):
                pool.fill(a, t)
            reads, rest = arrays[: len(call.types)], iter(arrays[len(call.types) :])
            writes = [reads[in_place[k]] if k in in_place else next(rest) for k in range(len(outputs))]
            places = [*reads, *writes, own[at[-2] : at[-1]]]
            self._gos.append(tuple(bound(launch, places) for launch in launches_of(call, places_of(places))))

    @property
    def is_cached(self) -> bool:
        """What a cache brings is to be seen of it."""
        return self.sets > 1 and HOT_NBYTES[0] <= self.nbytes <= HOT_NBYTES[1]

    def put(self, times: int, sets: int = 1) -> None:
        """Put it on its stream so many times, on so many sets in turn."""
        for k in range(times):
            for go in self._gos[k % sets]:
                go(self._stream)

    def seconds(self, times: int, sets: int = 1) -> float:
        """Of one of so many, right behind each other."""
        put: Callable[[], None] = lambda: self.put(times, sets)  # noqa: E731 - one of two ways
        if self.device.can_capture:
            put = self.device.captured(self._stream, put)
            put()  # the first time it is brought to the device
        first, last = self._events
        self.device.mark(first, self._stream)
        put()
        self.device.mark(last, self._stream)
        self.device.await_event(last)
        return max(self.device.nanoseconds(first, last), 1) * 1e-9 / times

    def warm(self) -> None:
        """Load its code."""
        self.put(1)
        self.device.synchronize()


def _upload(device: Device, to: Any, host: npt.NDArray[np.uint8]) -> Go:
    source = host[: to.size * to.dtype.itemsize].view(to.dtype)
    return lambda stream: device.upload(to, source, stream)


class _Pool:
    """Small numbers on the device, of which operands are filled.

    Parameters
    ----------
    device : where.
    rng : draws them.
    size : numbers.
    """

    def __init__(self, device: Device, rng: np.random.Generator, size: int) -> None:
        self._device, self._size = device, size
        self._numbers = device.allocate(4 * size).view(np.float32)
        device.upload(self._numbers, _drawn(f32(size), rng))

    def fill(self, to: Any, t: TensorType) -> None:
        """Give an operand values."""
        if t.dtype is not DType.F32:
            self._device.upload(to, np.zeros(t.size, t.dtype.numpy))
            return
        for first in range(0, t.size, self._size):
            some = min(self._size, t.size - first)
            self._device.copy(to[first : first + some], self._numbers[:some])


def _drawn(t: TensorType, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Small positive numbers, which are valid variances; of whole numbers zeros, which are valid labels and indices."""
    if t.dtype is DType.F32:
        return rng.random(t.size, np.float32) * np.float32(0.1) + np.float32(0.05)
    return np.zeros(t.size, t.dtype.numpy)


def measure(device: Device, names: Sequence[str], *, seconds: float, seed: int, visits: int = VISITS) -> Iterator[Timed]:
    """Time these kernels over their grids, for about so many seconds; one result a kernel and size.

    Parameters
    ----------
    device : where.
    names : records, of `known`.
    seed : of orders and of numbers.
    visits : of each size.
    """
    rng = np.random.default_rng(seed)
    pool, stream = _Pool(device, rng, POOL if device.can_capture else TINY_POOL), device.stream()
    calls = [(name, *call_of(KERNELS[name], s)) for name in names for s in grid_of(KERNELS[name], device)]
    visits = visits if device.can_capture else 1
    share = min(seconds / max(len(calls), 1) / visits / 2, TARGET_SECONDS)
    found, hot = ([list[float]() for _ in calls] for _ in range(2))
    times = [0] * len(calls)
    for _ in range(visits):
        for k in map(int, rng.permutation(len(calls))):
            item = _Item(*calls[k], device, pool, stream)
            item.warm()
            if not times[k]:
                times[k] = min(max(int(share / item.seconds(1)), 1), MOST) if device.can_capture else 1
            found[k].append(item.seconds(times[k], item.sets))
            if item.is_cached:
                hot[k].append(item.seconds(times[k]))
    for (name, call, _), each, cached in zip(calls, found, hot, strict=True):
        middle = float(np.median(each))
        repeat = float(np.std(each)) / middle
        yield Timed(kernel=name, call=call, seconds=middle, repeat=repeat, hot=float(np.median(cached)) if cached else None)


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
    item = _Item(ACCUMULATE, call, outputs, device, _Pool(device, np.random.default_rng(0), TINY_POOL), device.stream(), sets=1)
    item.warm()
    times, found = 200 if device.can_capture else 2, []
    for _ in range(VISITS):
        began = time.perf_counter()
        item.put(times)
        found.append((time.perf_counter() - began) / times)
        device.synchronize()
    return float(np.median(found))
