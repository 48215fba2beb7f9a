"""What every cost model can do, and the registry of them."""

from collections.abc import Callable
from typing import Protocol

from graph.registry import Registry
from hw.device import Device
from hw.kernels.record import Call
from hw.profile import Profile


class CostModel(Protocol):
    """Seconds of a kernel call on one device."""

    @property
    def name(self) -> str:
        """Its name in the registry; predictions say it."""
        ...

    def seconds(self, call: Call, *, busy: int = 1, touched: int | None = None) -> float:
        """Seconds of a call while `busy` devices share a memory, in a step that touches `touched` bytes (None: many)."""
        ...

    def spread(self, call: Call) -> float:
        """Relative standard deviation to expect of `seconds`, of this kernel alone."""
        ...

    def shared_spread(self, call: Call) -> float:
        """Relative standard deviation that it shares with all others: the device is slower or faster than the model says."""
        ...


COST_MODELS: Registry[Callable[[Device, Profile | None], CostModel]] = Registry("cost model")
