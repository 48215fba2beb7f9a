"""Systems: devices and how they hang together: nodes that are all alike, joined by a network. `hw.topology` finds routes."""

from graph.record import record
from hw.device import Device
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.link import Link


@record
class Wire:
    """`count` links side by side between two parts of a node, both directions."""

    a: str
    b: str
    link: Link
    count: int = 1

    def __post_init__(self) -> None:
        if self.a == self.b or self.count < 1:
            raise HwError(f"a wire joins two different parts by at least one link, got {self.a!r}, {self.b!r}, {self.count}")

    @property
    def capacity(self) -> float:
        """Bytes per second in one direction."""
        return self.link.capacity * self.count


@record
class Network:
    """What joins nodes: a switch that never blocks, and `count` links to it from each of these parts of every node."""

    link: Link
    at: tuple[str, ...]
    count: int = 1

    def __post_init__(self) -> None:
        if not self.at or self.count < 1:
            raise HwError("a network needs at least one part of a node that it is plugged into, and one link")


@record
class Host:
    """The computer around the devices of a node."""

    cores: int
    memory_nbytes: int
    title: str = ""


@record
class System:
    """A system.

    Parameters
    ----------
    name : catalogue name, e.g. ``"dgx1-v100"``.
    title : for people.
    device : every device of it.
    count : devices in a node.
    wires : inside a node. Parts are devices (``gpu0`` or ``core0`` ...) and anything else that is named (a switch, a socket).
    nodes : how many alike.
    network : between nodes.
    host : of a node.
    watts : a node's power with everything in it, where known.
    usd_per_hour : of a node.
    """

    name: str
    title: str = ""
    device: Device
    count: int
    wires: tuple[Wire, ...] = ()
    nodes: int = 1
    network: Network | None = None
    host: Host | None = None
    watts: float | None = None
    usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.nodes < 1:
            raise HwError(f"system {self.name!r}: at least one device and one node are needed")
        if self.nodes > 1 and self.network is None:
            raise HwError(f"system {self.name!r} has {self.nodes} nodes but no network")
        parts = {p for w in self.wires for p in (w.a, w.b)}
        prefix = self.prefix
        for p in parts:
            if p.startswith(prefix) and p[len(prefix) :].isdigit() and int(p[len(prefix) :]) >= self.count:
                raise HwError(f"system {self.name!r}: a wire ends at {p!r}, but the last device is {prefix}{self.count - 1}")
        for p in self.network.at if self.network else ():
            if p not in parts and p not in self.local:
                raise HwError(f"system {self.name!r}: the network is plugged into {p!r}, which is no part of a node")

    @property
    def prefix(self) -> str:
        """What names of devices begin with."""
        return "core" if self.device.platform is Platform.CPU else "gpu"

    @property
    def local(self) -> tuple[str, ...]:
        """Names of a node's devices, inside the node."""
        return tuple(f"{self.prefix}{i}" for i in range(self.count))

    @property
    def places(self) -> tuple[str, ...]:
        """Names of all devices, node by node: ``gpu0`` in a system of one node, else ``node0/gpu0``."""
        if self.nodes == 1:
            return self.local
        return tuple(f"node{k}/{p}" for k in range(self.nodes) for p in self.local)
