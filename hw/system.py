"""Systems: devices and how they hang together: nodes that are all alike, joined by a network. `hw.topology` finds routes.

A node has devices of one kind, and it may have further kinds beside them (accelerators next to a GPU). Devices of a kind are
named by its prefix and a number, ``gpu0`` or ``nfu3``; what is placed on a kind names the prefix (`hw.place`).
"""

from dataclasses import replace

from graph.errors import nearest
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
    """What joins nodes: a switch, and `count` links to it from each of these parts of every node.

    Parameters
    ----------
    link : of one port.
    at : parts of a node that are plugged into it.
    count : links of each of them, side by side.
    oversubscription : how many times more bytes per second all nodes together can send than the network can pass on; 1: it
        never blocks.
    """

    link: Link
    at: tuple[str, ...]
    count: int = 1
    oversubscription: float = 1.0

    def __post_init__(self) -> None:
        if not self.at or self.count < 1:
            raise HwError("a network needs at least one part of a node that it is plugged into, and one link")
        if not self.oversubscription >= 1:
            raise HwError(f"a network is oversubscribed by a factor of 1 (not at all) or more, got {self.oversubscription:g}")

    @property
    def capacity(self) -> float:
        """Bytes per second that a node can send."""
        return self.link.capacity * self.count * len(self.at)


HOST_PART = "host"
"""Name of the part of a node that is its computer: the memory and cores around the devices."""
DEVICE = "device"
"""What stands for a device of a node's first kind, whichever that is."""
PREFIXES = {Platform.CPU: "core", Platform.CUDA: "gpu"}
"""Platform -> what names of its devices begin with; of others the platform's own name."""


def prefix_of(platform: Platform) -> str:
    """What names of a platform's devices begin with, unless a system says otherwise."""
    return PREFIXES.get(platform, platform.value)


@record
class Group:
    """The devices of a node that are of one kind.

    Parameters
    ----------
    device : each of them.
    count : in a node.
    prefix : what their names begin with; ``""``: as their platform has it.
    shares_memory : they work on one memory, which has the size and the rate of the device's: each has an even share of both.
    """

    device: Device
    count: int
    prefix: str = ""
    shares_memory: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise HwError(f"a node has at least one device of a kind, got {self.count} x {self.device.name!r}")
        if not self.kind.isidentifier() or self.kind[-1].isdigit() or self.kind in (DEVICE, HOST_PART):
            raise HwError(
                f"names of {self.device.name!r} cannot begin with {self.kind!r}: use letters, no digit at the end, and "
                f"neither {DEVICE!r} nor {HOST_PART!r}"
            )

    @property
    def kind(self) -> str:
        """What their names begin with."""
        return self.prefix or prefix_of(self.device.platform)

    @property
    def names(self) -> tuple[str, ...]:
        """Inside the node."""
        return tuple(f"{self.kind}{i}" for i in range(self.count))


@record
class Host:
    """The computer around the devices of a node.

    Parameters
    ----------
    cores : that programs may use.
    memory_nbytes : main memory.
    title : for people.
    device : its processors as one device, `sockets` of them together; None: nothing can be placed on it.
    sockets : how many of `device`.
    at : parts of the node that are its sockets: here its memory hangs, an even share at each.
    """

    cores: int
    memory_nbytes: int
    title: str = ""
    device: Device | None = None
    sockets: int = 1
    at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.sockets < 1 or (self.device is None) != (not self.at):
            raise HwError("a host has at least one socket; its device and the parts that it is plugged into are given together")

    @property
    def whole(self) -> Device | None:
        """Its processors as one device, which has the host's memory."""
        return None if self.device is None else replace(self.device.scaled(self.sockets), memory_nbytes=self.memory_nbytes)

    @property
    def memory(self) -> Link | None:
        """From a socket to its share of the memory. A transfer's latency is on the links by which the bytes come there."""
        if self.device is None:
            return None
        rate = self.device.memory_bytes_per_second * self.sockets / len(self.at)
        return Link(
            name="memory", kind="memory", bytes_per_second=rate, efficiency=self.device.efficiency.memory, latency_seconds=0.0
        )


@record
class System:
    """A system.

    Parameters
    ----------
    name : catalogue name, e.g. ``"dgx1-v100"``.
    title : for people.
    device : every device of it, or of its first kind.
    count : such devices in a node.
    others : devices of further kinds in a node.
    shares_memory : of the devices of the first kind, as of `Group`.
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
    others: tuple[Group, ...] = ()
    shares_memory: bool = False
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
        if len({g.kind for g in self.groups}) < len(self.groups):
            raise HwError(f"system {self.name!r}: two kinds of devices have names alike; give one of them a prefix of its own")
        parts = {p for w in self.wires for p in (w.a, w.b)}
        for g in self.groups:
            for p in parts:
                number = p.removeprefix(g.kind)
                if number != p and number.isdigit() and int(number) >= g.count:
                    raise HwError(f"system {self.name!r}: a wire ends at {p!r}, but the last device is {g.names[-1]}")
        if HOST_PART in parts:
            raise HwError(f"system {self.name!r}: a wire ends at {HOST_PART!r}; say with `at` of the host where its memory hangs")
        plugged = {"the network": self.network.at if self.network else (), "the host": self.host.at if self.host else ()}
        for what, places in plugged.items():
            for p in places:
                if p not in parts and p not in self.local:
                    raise HwError(f"system {self.name!r}: {what} is plugged into {p!r}, which is no part of a node")

    @property
    def prefix(self) -> str:
        """What names of the devices of the first kind begin with."""
        return prefix_of(self.device.platform)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The devices of a node, kind by kind."""
        return Group(device=self.device, count=self.count, shares_memory=self.shares_memory), *self.others

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of devices: what their names begin with."""
        return tuple(g.kind for g in self.groups)

    def group(self, kind: str) -> Group:
        """The devices of a node that are of this kind; raises `HwError` where there are none."""
        found = next((g for g in self.groups if g.kind == kind), None)
        if found is None:
            raise HwError(f"system {self.name!r} has no devices of kind {kind!r}; {nearest(kind, self.kinds)}")
        return found

    @property
    def local(self) -> tuple[str, ...]:
        """Names of a node's devices, inside the node, kind by kind."""
        return tuple(name for g in self.groups for name in g.names)

    def at(self, node: int, part: str) -> str:
        """Name of a part of a node in the whole system: ``gpu0`` in a system of one node, else ``node3/gpu0``."""
        return part if self.nodes == 1 else f"node{node}/{part}"

    @property
    def places(self) -> tuple[str, ...]:
        """Names of all devices, node by node."""
        return tuple(self.at(k, p) for k in range(self.nodes) for p in self.local)

    def places_of(self, kind: str) -> tuple[str, ...]:
        """Names of all devices of a kind, node by node."""
        return tuple(self.at(k, p) for k in range(self.nodes) for p in self.group(kind).names)

    def kind_at(self, place: str) -> str:
        """What stands at a place: a kind of devices, or ``"host"``."""
        return place.split("/")[-1].rstrip("0123456789")

    @property
    def host_places(self) -> tuple[str, ...]:
        """Names of the nodes' hosts, where something can be placed on them."""
        is_known = self.host is not None and self.host.device is not None
        return tuple(self.at(k, HOST_PART) for k in range(self.nodes)) if is_known else ()

    def device_at(self, place: str) -> Device:
        """What stands at a place: a device, or a node's host as one."""
        if (kind := self.kind_at(place)) != HOST_PART:
            return self.group(kind).device
        whole = None if self.host is None else self.host.whole
        if whole is None:
            raise HwError(f"system {self.name!r} does not say what processors its hosts have; nothing can be placed on them")
        return whole

    def node_of(self, place: str) -> int:
        """Number of the node that a place is in."""
        return int(place.split("/")[0].removeprefix("node")) if "/" in place else 0
