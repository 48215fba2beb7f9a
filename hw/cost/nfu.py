"""Time and energy of calls on an NFU: the closed form of the best schedule (`hw.nfu.schedule`), and the calls of its processor.

    nfu.*   total cycles / clock; joules of the chip and of its memory (`hw.nfu.energy`)
    cpu.*   roofline of the device's processor, which works on the same memory while the NFU waits; joules of all three

The processor has other things to do while the NFU works, so its power counts as long as it computes for it. Devices that share a
memory have an even share of its bandwidth each; the energy of a call is that of a device alone.

The NFU exists on paper, so there is no measurement to be off by. `COMMON_SPREAD` says how far a built one may be from its own
model: the closed form equals playing the instructions, but a main memory is taken to deliver its full rate at any time.
"""

from dataclasses import replace
from functools import lru_cache

from graph.record import record
from hw.cost.roofline import RooflineModel
from hw.device import Device
from hw.errors import HwError
from hw.gpu_profile import AnyProfile
from hw.kernels.record import KERNELS, Call, Platform
from hw.nfu.config import Nfu
from hw.nfu.energy import energy
from hw.nfu.layer import Layer
from hw.nfu.of_call import layer_of
from hw.nfu.schedule import Cost, best, cost

COMMON_SPREAD = 0.05
"""Relative standard deviation that all kernels share: a judgement. Refresh and opening of rows take some percent of a rate."""


@record
class Scheduled:
    """A layer on an NFU.

    Parameters
    ----------
    nfu : with the share of the memory that it has.
    cost : of the best schedule.
    """

    nfu: Nfu
    cost: Cost

    @property
    def seconds(self) -> float:
        """From the first request until the last word is stored."""
        return self.cost.total_cycles / self.nfu.clock_hz

    @property
    def nfu_seconds(self) -> float:
        """In which the multipliers, of pooling the adders, work."""
        return self.cost.timing.busy_cycles / self.nfu.clock_hz

    @property
    def dram_seconds(self) -> float:
        """Of moving all words that are moved, alone."""
        return self.cost.dram_bytes / self.nfu.dram_bytes_per_second

    @property
    def bound(self) -> str:
        """What it waits for: ``nfu | dram``."""
        return "nfu" if self.nfu_seconds >= self.dram_seconds else "dram"


@lru_cache(maxsize=4096)
def _under(layer: Layer, nfu: Nfu, busy: int) -> Scheduled:
    alone = best(layer, nfu)
    if busy == 1:
        return Scheduled(nfu=nfu, cost=alone)
    mine = replace(nfu, dram_bytes_per_second=nfu.dram_bytes_per_second / busy)
    return Scheduled(nfu=mine, cost=cost(layer, mine, alone.schedule))


def scheduled(call: Call, nfu: Nfu, *, busy: int = 1) -> Scheduled:
    """What an NFU makes of a call while `busy` of them work on one memory; its program is the same whoever works beside it.

    Raises `HwError` when the call is no layer of an NFU, or fits no buffer.
    """
    return _under(layer_of(call), nfu, busy)


class NfuModel:
    """Cost model of a device that is an NFU with a control processor.

    Parameters
    ----------
    device : the device; raises `HwError` when it is none, or has no processor.
    """

    name = "nfu"

    def __init__(self, device: Device) -> None:
        if device.nfu is None or device.processor is None:
            lacks = "no NFU" if device.nfu is None else "no processor for what its NFU lacks"
            raise HwError(f"device {device.name!r} has {lacks}, so the cost model 'nfu' cannot price it")
        self.device, self.nfu, self.processor = device, device.nfu, device.processor
        self._on_processor = RooflineModel(device.processor)

    def seconds(self, call: Call, *, busy: int = 1, touched: int | None = None) -> float:
        """Seconds of a call."""
        if is_on_processor(call):
            return self._on_processor.seconds(call, busy=busy)
        return scheduled(call, self.nfu, busy=busy).seconds

    def joules(self, call: Call) -> float | None:
        """Energy of a call, main memory included; None where it is the processor's, and its power is not known."""
        if not is_on_processor(call):
            return energy(self.nfu, scheduled(call, self.nfu).cost.activity)["total"]
        if not self.processor.watts:
            return None
        waiting = self.device.idle_fraction * self.device.watts
        return (self.processor.watts + waiting) * self.seconds(call) + self.nfu.dram_joules_per_byte * call.work.nbytes

    def spread(self, call: Call) -> float:
        """Relative standard deviation to expect of `seconds`, of this kernel alone; a layer's instructions are known."""
        return self._on_processor.spread(call) if is_on_processor(call) else 0.0

    def shared_spread(self, call: Call) -> float:
        """What all kernels share."""
        return self._on_processor.shared_spread(call) if is_on_processor(call) else COMMON_SPREAD


def is_on_processor(call: Call) -> bool:
    """Whether an NFU's processor computes it."""
    return KERNELS[call.kernel].platform is not Platform.NFU


def nfu_model(device: Device, profile: AnyProfile | None) -> NfuModel:
    """The model of an NFU of the catalogue; it needs no profile."""
    return NfuModel(device)
