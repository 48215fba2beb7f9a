"""Links: what carries bytes between devices. One direction is described; the other is alike and independent."""

from enum import StrEnum

from graph.record import record
from hw.errors import HwError


class DrivenBy(StrEnum):
    """Who moves the bytes."""

    ENGINE = "engine"  # DMA: the link carries them and the devices' engines are free
    CORE = "core"  # the sender's and the receiver's core copy through shared memory


@record
class Rate:
    """Seconds of an operation on some bytes: overhead + bytes / rate."""

    overhead_seconds: float
    bytes_per_second: float

    def __post_init__(self) -> None:
        if self.overhead_seconds < 0 or not self.bytes_per_second > 0:
            got = f"{self.overhead_seconds} s and {self.bytes_per_second} B/s"
            raise HwError(f"an overhead is not negative and a rate is above 0, got {got}")

    def seconds(self, nbytes: int) -> float:
        """Seconds for `nbytes`."""
        return self.overhead_seconds + nbytes / self.bytes_per_second


@record
class CoreCopies:
    """What a core-driven link costs its cores."""

    send: Rate
    receive: Rate
    receive_add: Rate


@record
class Link:
    """A link.

    Parameters
    ----------
    name : catalogue name, e.g. ``"nvlink3"``.
    title : for people.
    kind : ``nvlink | pcie | socket | network | memory``.
    bytes_per_second : line rate of one link in one direction.
    efficiency : fraction of the line rate that large transfers reach.
    latency_seconds : time of an empty message from device to device, software included.
    driven_by : who moves the bytes.
    copies : of a core-driven link.
    """

    name: str
    title: str = ""
    kind: str
    bytes_per_second: float
    efficiency: float = 1.0
    latency_seconds: float
    driven_by: DrivenBy = DrivenBy.ENGINE
    copies: CoreCopies | None = None

    def __post_init__(self) -> None:
        if not self.bytes_per_second > 0 or not 0 < self.efficiency <= 1 or self.latency_seconds < 0:
            raise HwError(f"link {self.name!r}: bandwidth above 0, efficiency in (0, 1] and latency >= 0 are needed")
        if (self.driven_by is DrivenBy.CORE) != (self.copies is not None):
            raise HwError(f"link {self.name!r}: copies are given exactly when cores drive the link")

    @property
    def capacity(self) -> float:
        """Bytes per second that large transfers reach in one direction."""
        return self.bytes_per_second * self.efficiency
