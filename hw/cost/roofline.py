"""Kernel times of devices known by data sheet: a roofline with a launch floor and an efficiency that depends on the shape.

    seconds = launch floor + max(flop / (peak x efficiency(shape)), bytes / (bandwidth x efficiency(bytes)))

after Williams, Waterman and Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009.

A matrix product of m x n x k is cut into tiles of the result, one tile on one core (streaming multiprocessor) at a time, so it
takes whole waves of tiles: a result that fills its last wave badly, or is smaller than one wave, leaves cores idle. The library
is taken to choose the best of the `TILES`, and to split the inner sum over several cores where there are few tiles, at the price
of writing and adding partial results. A tile is the slower the smaller it is, for it reads more for each multiply-add, and has a
prologue worth `depth_half` steps of the inner sum. A convolution is the matrix product that implicit GEMM makes of it.

Every other kernel streams its operands. By Little's law bandwidth needs bandwidth x latency bytes in flight, so n bytes take
n / (reached bandwidth) + latency.

The tiles' relative speeds were found, together with `Efficiency.depth_half` and the launch floor, as those for which this model
agrees best with the dense matrix multiplications of Baidu DeepBench (commit da81ba782073, results/train, columns P100 and V100,
fp32, 160 shapes). Over those the error |log(model / measured)| has median 0.04 and 90th percentile 0.60 on P100, 0.06 and 0.27
on V100; products of more than 1e10 multiply-adds with no extent below 128 come within 0.11. Skinny ones took up to three times
as long on P100 as the model says. No whole model was looked at.
"""

import math
from collections.abc import Mapping, Sequence

from graph.op import Attrs
from graph.record import record
from graph.tensor_type import TensorType
from hw.cost.gemm_shape import Gemm, gemm_shape
from hw.device import Device
from hw.errors import HwError
from hw.kernels.record import KERNELS, Call
from hw.profile import Profile

TILES = (
    (128, 128, 1.0),
    (128, 64, 0.92),
    (64, 128, 0.92),
    (64, 64, 0.8),
    (128, 32, 0.7),
    (32, 128, 0.7),
    (64, 32, 0.65),
    (32, 64, 0.65),
    (32, 32, 0.45),
)
"""(rows, columns, speed relative to the largest) of the tiles that a library chooses among."""

MAX_SPLIT = 32
"""Cores that one inner sum is split over at most."""

SPREAD = 0.25
"""Relative standard deviation to expect of one kernel: the 90th percentile of V100's errors over the shapes named above, 0.27,
is 1.28 times 0.21; widened, since for other devices no such table is published."""
COMMON_SPREAD = 0.2
"""Relative standard deviation that all kernels of a device share: a judgement, since boost clocks alone differ by 10 to 20 %."""


@record
class Roof:
    """A kernel's time in parts.

    Parameters
    ----------
    launch_seconds : the floor.
    compute_seconds : arithmetic alone.
    memory_seconds : compulsory traffic alone.
    """

    launch_seconds: float
    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.launch_seconds + max(self.compute_seconds, self.memory_seconds)

    @property
    def bound(self) -> str:
        """What it waits for: ``launch | compute | memory``."""
        work = max(self.compute_seconds, self.memory_seconds)
        if self.launch_seconds >= work:
            return "launch"
        return "compute" if self.compute_seconds >= self.memory_seconds else "memory"


def gemm_seconds(g: Gemm, device: Device, dtype: str = "f32") -> float:
    """Seconds of the arithmetic of a matrix product, launch and compulsory traffic not counted.

    Never below flop / peak, and never less for a larger m, n or k: a larger one has the same choices or fewer, each slower.

    Parameters
    ----------
    g : its shape.
    device : whose cores share the peak evenly.
    dtype : element type of the peak.
    """
    peak, cores = device.flop_per_second(dtype) * device.efficiency.matrix, device.cores
    best = math.inf
    for rows, columns, speed in TILES:
        tiles = math.ceil(g.m / rows) * math.ceil(g.n / columns) * g.batch
        tile_rate = peak / cores * speed
        split = 1
        while split == 1 or (split <= MAX_SPLIT and tiles * split <= 4 * cores):
            depth = math.ceil(g.k / split)
            waves = math.ceil(tiles * split / cores)
            seconds = waves * 2 * rows * columns * (depth + device.efficiency.depth_half) / tile_rate
            if split > 1:
                seconds += _bytes_seconds((split + 1) * 4 * g.m * g.n * g.batch, device)
            best = min(best, seconds)
            split *= 2
    return best


def _bytes_seconds(nbytes: float, device: Device) -> float:
    return nbytes / (device.memory_bytes_per_second * device.efficiency.memory)


def memory_seconds(nbytes: int, device: Device) -> float:
    """Seconds of moving `nbytes` between main memory and the cores: reached bandwidth, and one latency to fill the pipe."""
    return _bytes_seconds(nbytes, device) + device.efficiency.memory_seconds if nbytes else 0.0


def roof(call: Call, device: Device) -> Roof:
    """The parts of a call's time; raises `HwError` when the device lacks the kernel's platform or element type."""
    kernel = KERNELS[call.kernel]
    if kernel.platform is not device.platform:
        raise HwError(f"kernel {call.kernel!r} runs on {kernel.platform}, but device {device.name!r} is {device.platform}")
    terms = kernel.terms(call.types, call.attrs)
    return roof_of(kernel.op, call.types, call.attrs, terms, call.work.flop, call.work.nbytes, device)


def roof_of(
    op: str,
    types: Sequence[TensorType],
    attrs: Attrs,
    terms: Mapping[str, float],
    flop: int,
    nbytes: int,
    device: Device,
) -> Roof:
    """Like `roof`, for an operator by name.

    Parameters
    ----------
    op : operator; a matrix product if `gemm_shape` knows it so, or if `terms` has ``gemm_m``, ``gemm_n`` and ``gemm_k``.
    types, attrs : its operands.
    terms : of its kernel record.
    flop, nbytes : exact work.
    device : where.
    """
    dtype = next((t.dtype.value for t in types if t.dtype.is_float), "f32")
    peak = device.flop_per_second(dtype) if flop else math.inf
    shape = gemm_shape(op, types, attrs, terms)
    compute = flop / peak
    if shape is not None and shape.flop:
        rest = max(0, flop - shape.flop)
        compute = gemm_seconds(shape, device, dtype) + rest / peak
    return Roof(
        launch_seconds=device.launch_seconds,
        compute_seconds=max(compute, flop / peak),
        memory_seconds=memory_seconds(nbytes, device),
    )


def seconds(call: Call, device: Device) -> float:
    """Seconds of a call on a device."""
    return roof(call, device).seconds


class RooflineModel:
    """Cost model of a device known by data sheet.

    Parameters
    ----------
    device : the device.
    """

    name = "roofline"

    def __init__(self, device: Device) -> None:
        self.device = device
        self._seen: dict[tuple[object, ...], float] = {}

    def seconds(self, call: Call, *, busy: int = 1, touched: int | None = None) -> float:
        """Seconds of a call. Devices have memory of their own, so it does not matter how many are busy."""
        key = (call.kernel, call.types, tuple(sorted(call.attrs.items())), call.work)
        if key not in self._seen:
            self._seen[key] = seconds(call, self.device)
        return self._seen[key]

    def spread(self, call: Call) -> float:
        """Relative standard deviation to expect of `seconds`, of this kernel alone."""
        return SPREAD

    def shared_spread(self, call: Call) -> float:
        """What all kernels share: clock, power limit, and how good the libraries are that a data sheet says nothing of."""
        return COMMON_SPREAD


def roofline_model(device: Device, profile: Profile | None) -> RooflineModel:
    """The model of a catalogue device; it needs no profile."""
    if not device.peak:
        raise HwError(f"device {device.name!r} has no peaks, so no roofline; it is priced by calibration")
    return RooflineModel(device)
