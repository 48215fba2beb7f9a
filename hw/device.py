"""Devices: what computes. A record of what a data sheet and published microbenchmarks say; `hw.cost` turns it into seconds."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction

from graph.errors import nearest
from graph.record import record
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.nfu.config import Nfu


class Engines(StrEnum):
    """Whether copies take the engine that computes."""

    SEPARATE = "separate"  # copy engines beside compute: a GPU
    SHARED = "shared"  # one engine does everything: a CPU core


@record
class Efficiency:
    """How much of a device's peaks its kernels reach; see `hw.cost.roofline` for the formulas.

    Parameters
    ----------
    matrix : fraction of the arithmetic peak that large matrix products reach.
    memory : fraction of the memory bandwidth that large streaming kernels reach.
    memory_seconds : latency of main memory; with the bandwidth it says how many bytes must be in flight (Little's law).
    depth_half : length of the inner sum of a matrix product at which a tile reaches half its speed (prologue and epilogue).
    """

    matrix: float = 1.0
    memory: float = 1.0
    memory_seconds: float = 0.0
    depth_half: float = 0.0

    def __post_init__(self) -> None:
        for what, x in (("matrix", self.matrix), ("memory", self.memory)):
            if not 0 < x <= 1:
                raise HwError(f"efficiency {what} is a fraction above 0 and up to 1, got {x}")
        if self.memory_seconds < 0 or self.depth_half < 0:
            raise HwError("memory latency and depth_half of an efficiency are not negative")


@record
class ConvolutionLibrary:
    """How fast a device's convolution library is, found from benchmarks of single layers; see `hw.cost.convolution`.

    The defaults are those of a library that computes every convolution as a large matrix product, at full speed.

    Parameters
    ----------
    forward : rate of implicit GEMM relative to large matrix products.
    grad_input, grad_weight : of the gradients, relative to `forward`.
    strided : how many times longer the gradient of the input takes for its multiply-adds with a stride than without.
    winograd, winograd_grad_weight : rate of Winograd's products relative to `forward`; 0: the library has none.
    fft : rate of products of complex matrices relative to large matrix products; 0: the library has none.
    call_seconds : least time of a call, its small auxiliary kernels included.
    """

    forward: float = 1.0
    grad_input: float = 1.0
    grad_weight: float = 1.0
    strided: float = 1.0
    winograd: float = 0.0
    winograd_grad_weight: float = 0.0
    fft: float = 0.0
    call_seconds: float = 0.0

    def __post_init__(self) -> None:
        positive = {
            "forward": self.forward,
            "grad_input": self.grad_input,
            "grad_weight": self.grad_weight,
            "strided": self.strided,
        }
        for what, x in positive.items():
            if not x > 0:
                raise HwError(f"convolution {what} is above 0, got {x}")
        for what, x in (("winograd", self.winograd), ("winograd_grad_weight", self.winograd_grad_weight), ("fft", self.fft)):
            if not 0 <= x < 2:
                raise HwError(f"convolution {what} is a rate from 0 to 2, got {x}")
        if not self.call_seconds >= 0:
            raise HwError(f"the least time of a convolution is not negative, got {self.call_seconds}")


@record
class Device:
    """A device.

    Parameters
    ----------
    name : catalogue name, e.g. ``"v100-sxm2-16gb"``.
    title : for people.
    platform : which kernels it runs.
    engines : whether copies share the compute engine.
    peak : element type (``"f32"``, also ``"tf32"``, ``"bf16"`` ...) -> flop per second; dense. Empty: known by calibration only.
    memory_nbytes : capacity.
    memory_bytes_per_second : peak of main memory, reads and writes together.
    cores : streaming multiprocessors of a GPU, cores of a processor; 1 for a CPU core alone.
    launch_seconds : least time of any kernel, from its start to the start of the next one behind it.
    issue_seconds : time of the host to issue a kernel; the host is the bottleneck where this is longer than the kernel.
    launch_depth : kernels that the host may be ahead; 0: it waits for each.
    efficiency : reached fractions of the peaks.
    convolution : what its convolution library reaches.
    watts : thermal design power.
    idle_fraction : of `watts`, while waiting.
    usd_per_hour : of this device alone, where it is sold so.
    nfu : what it is, of an NFU; it has no peaks then, for its cost is that of its instructions.
    processor : of an NFU, what computes beside it all that it cannot.
    """

    name: str
    title: str = ""
    platform: Platform
    engines: Engines = Engines.SEPARATE
    peak: Mapping[str, float]
    memory_nbytes: int
    memory_bytes_per_second: float
    cores: int = 1
    launch_seconds: float = 0.0
    issue_seconds: float = 0.0
    launch_depth: int = 0
    efficiency: Efficiency = Efficiency()
    convolution: ConvolutionLibrary = ConvolutionLibrary()
    watts: float = 0.0
    idle_fraction: float = 0.0
    usd_per_hour: float | None = None
    nfu: Nfu | None = None
    processor: "Device | None" = None

    def __post_init__(self) -> None:
        positive = {f"peak {k}": v for k, v in self.peak.items()} | {"cores": self.cores, "memory_nbytes": self.memory_nbytes}
        positive |= {"memory_bytes_per_second": self.memory_bytes_per_second}
        for what, x in positive.items():
            if not x > 0:
                raise HwError(f"device {self.name!r}: {what} must be above 0, got {x}")
        least = {"launch_seconds": self.launch_seconds, "issue_seconds": self.issue_seconds, "launch_depth": self.launch_depth}
        least |= {"watts": self.watts, "idle_fraction": self.idle_fraction, "usd_per_hour": self.usd_per_hour or 0.0}
        for what, x in least.items():
            if not x >= 0:
                raise HwError(f"device {self.name!r}: {what} must not be negative, got {x}")
        self._check_nfu()

    def _check_nfu(self) -> None:
        if (self.platform is Platform.NFU) != (self.nfu is not None):
            raise HwError(f"device {self.name!r}: a device of platform {Platform.NFU.value!r}, and no other, says what NFU it is")
        if self.nfu is None and self.processor is not None:
            raise HwError(f"device {self.name!r}: a processor beside it is for an NFU; it computes everything by itself")
        if self.processor is not None and self.processor.platform is not Platform.CPU:
            raise HwError(f"device {self.name!r}: its processor is {self.processor.name!r}, which is none")
        if self.nfu is not None and self.nfu.dram_bytes_per_second != self.memory_bytes_per_second:
            rates = f"{self.nfu.dram_bytes_per_second:g} and {self.memory_bytes_per_second:g} bytes per second"
            raise HwError(f"device {self.name!r}: an NFU's memory is the device's, but they have {rates}")

    def flop_per_second(self, dtype: str) -> float:
        """Peak for an element type; raises `HwError` when the device has none."""
        if dtype not in self.peak:
            raise HwError(f"device {self.name!r} has no peak for {dtype!r}; {nearest(dtype, self.peak)}")
        return self.peak[dtype]

    def scaled(self, by: Fraction | int) -> "Device":
        """So many of it that work as one (the sockets of a computer), or a share of it: rates, memory, cores, power and price."""
        return replace(
            self,
            peak={dtype: rate * float(by) for dtype, rate in self.peak.items()},
            memory_nbytes=int(self.memory_nbytes * by),
            memory_bytes_per_second=self.memory_bytes_per_second * float(by),
            cores=max(int(self.cores * by), 1),
            watts=self.watts * float(by),
            usd_per_hour=None if self.usd_per_hour is None else self.usd_per_hour * float(by),
        )
