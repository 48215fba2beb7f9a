"""Kernel times of devices known by data sheet: a roofline with a launch floor and an efficiency that depends on the shape.

    seconds = launch floor + max(flop / (peak x efficiency(shape)), bytes / (bandwidth x efficiency(bytes)))

after Williams, Waterman and Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009.

The arithmetic of a matrix product is `hw.cost.gemm`'s, that of a convolution `hw.cost.convolution`'s: its library has algorithms
with fewer multiply-adds than the definition, so a convolution may exceed the device's peak. A convolution's floor is that of a
call of its library.

An algorithm that rounds its operands for tensor cores multiplies at the peak of that format (`KernelRecord.arithmetic`); what
else it does is done in its operands' own. A device whose data sheet has no such peak has no such algorithm.

Every other kernel streams its operands. By Little's law bandwidth needs bandwidth x latency bytes in flight, so n bytes take
n / (reached bandwidth) + latency.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from graph.op import Attrs
from graph.record import record
from graph.tensor_type import TensorType
from hw.cost.convolution import convolution_seconds
from hw.cost.gemm import bytes_seconds, gemm_seconds
from hw.cost.gemm_shape import convolution, gemm_shape
from hw.device import Device
from hw.errors import HwError
from hw.gpu_profile import AnyProfile
from hw.kernels.record import KERNELS, Call, Platform

SPREAD = 0.25
"""Relative standard deviation to expect of one kernel: the 90th percentile of V100's errors over the shapes that `hw.cost.gemm`
names, 0.27, is 1.28 times 0.21; widened for devices without such a table. The mean error of convolutions is 0.17 to 0.20."""
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


def memory_seconds(nbytes: int, device: Device) -> float:
    """Seconds of moving `nbytes` between main memory and the cores: reached bandwidth, and one latency to fill the pipe."""
    return bytes_seconds(nbytes, device) + device.efficiency.memory_seconds if nbytes else 0.0


def roof(call: Call, device: Device) -> Roof:
    """The parts of a call's time; raises `HwError` when the device lacks the kernel's platform or element type."""
    kernel = KERNELS[call.kernel]
    if kernel.platform is not device.platform:
        raise HwError(f"kernel {call.kernel!r} runs on {kernel.platform}, but device {device.name!r} is {device.platform}")
    terms = kernel.terms(call.types, call.attrs)
    nbytes = int(terms.get("bytes", 0)) if kernel.platform is Platform.CUDA else 0  # what its loops move, if more than it must
    nbytes = max(nbytes, call.work.nbytes)
    return roof_of(kernel.op, call.types, call.attrs, terms, call.work.flop, nbytes, device, kernel.arithmetic)


def roof_of(
    op: str,
    types: Sequence[TensorType],
    attrs: Attrs,
    terms: Mapping[str, float],
    flop: int,
    nbytes: int,
    device: Device,
    arithmetic: str = "",
) -> Roof:
    """Like `roof`, for an operator by name.

    Parameters
    ----------
    op : operator; a matrix product if `gemm_shape` knows it so, or if `terms` has ``gemm_m``, ``gemm_n`` and ``gemm_k``.
    types, attrs : its operands.
    terms : of its kernel record.
    flop, nbytes : exact work.
    device : where.
    arithmetic : as of a kernel record: format of what is multiplied, where it is not that of the operands.
    """
    dtype = next((t.dtype.value for t in types if t.dtype.is_float), "f32")
    peak = device.flop_per_second(dtype) if flop else math.inf
    products = arithmetic or dtype
    shape, conv = gemm_shape(op, types, attrs, terms), convolution(op, types, attrs)
    launch, compute = device.launch_seconds, flop / peak
    if conv is not None and flop:
        launch = max(launch, device.convolution.call_seconds)
        compute = convolution_seconds(conv, device, products, is_rounded=products != dtype)
    elif shape is not None and shape.flop:
        compute = gemm_seconds(shape, device, products) + max(0, flop - shape.flop) / peak
    return Roof(launch_seconds=launch, compute_seconds=compute, memory_seconds=memory_seconds(nbytes, device))


def share_of(device: Device, busy: int) -> Device:
    """A device while `busy` like it work on one memory: it has an even share of the bandwidth."""
    return device if busy == 1 else replace(device, memory_bytes_per_second=device.memory_bytes_per_second / busy)


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
        """Seconds of a call; devices that share a memory have an even share of its bandwidth."""
        key = (call.kernel, call.types, tuple(sorted(call.attrs.items())), call.work, busy)
        if key not in self._seen:
            self._seen[key] = seconds(call, share_of(self.device, busy))
        return self._seen[key]

    def spread(self, call: Call) -> float:
        """Relative standard deviation to expect of `seconds`, of this kernel alone."""
        return SPREAD

    def shared_spread(self, call: Call) -> float:
        """What all kernels share: clock, power limit, and how good the libraries are that a data sheet says nothing of."""
        return COMMON_SPREAD


def roofline_model(device: Device, profile: AnyProfile | None) -> RooflineModel:
    """The model of a catalogue device; it needs no profile."""
    if not device.peak:
        raise HwError(f"device {device.name!r} has no peaks, so no roofline; it is priced by calibration")
    return RooflineModel(device)
