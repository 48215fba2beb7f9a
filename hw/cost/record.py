"""What every cost model can do, and the registry of them."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from graph.registry import Registry
from hw.device import Device
from hw.gpu_profile import AnyProfile
from hw.kernels.record import Call


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


@runtime_checkable
class Metered(Protocol):
    """A cost model that knows what a kernel call takes in energy, not only in time."""

    def joules(self, call: Call) -> float | None:
        """Energy of a call, while its device works on it; None: it cannot say."""
        ...


COST_MODELS: Registry[Callable[[Device, AnyProfile | None], CostModel]] = Registry("cost model")
