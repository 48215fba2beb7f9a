"""Where ranks run: on which device, or on which node's host.

A role says it with the place of its compute stream: ``"device"``, the next free device of the system's first kind; a kind by
name (``"nfu"``), the next free device of that; or ``"host"``, the computer around the devices. Devices of a kind are taken in the
order of the best ring (`hw.topology.ring_order`). A role with an axis ``"node"`` keeps to it:
its ranks with coordinate k there stand in node k, and those of a role that `is_turned` begin k / nodes of the way around. On this
computer there is nothing around the cores, so a rank on its host takes a core of its own; so it does beside a GPU.
"""

from collections.abc import Sequence
from itertools import count

from graph.errors import nearest
from graph.parallel.plan import Plan, Rank, Role
from hw.device import Device
from hw.errors import DoesNotFit, HwError
from hw.kernels.record import Platform
from hw.system import DEVICE, HOST_PART, System
from hw.topology import Topology

NODE = "node"
"""Name of the axis whose coordinate is a node's number."""


def kind_of(system: System, role: Role) -> str:
    """What a role's ranks stand on: a kind of the system's devices, or ``"host"``; raises `HwError` for any other place."""
    place = role.places.get("compute", DEVICE)
    known = DEVICE, HOST_PART, *system.kinds
    if place not in known:
        raise HwError(f"role {role.name!r} is placed on {place!r}; {nearest(place, known)}")
    is_alone = system.device.platform is Platform.CPU and not system.host_places
    return system.prefix if place == DEVICE or (place == HOST_PART and is_alone) else place


def role_device(system: System, role: Role) -> Device:
    """What a rank of a role runs on: its platform says how the role is lowered, and its peaks price it.

    Raises `DoesNotFit` when the role is placed on hosts, and the system does not say what processors they have.
    """
    kind = kind_of(system, role)
    if kind != HOST_PART:
        return system.group(kind).device
    if not system.host_places:
        raise DoesNotFit(
            f"role {role.name!r} runs on a host, but system {system.name!r} does not say what processors its hosts have; place "
            f"it on devices, or use a system whose hosts are known"
        )
    return system.device_at(system.host_places[0])


def platform_here(role: Role, platform: Platform) -> Platform:
    """The platform of a role on this computer: what it places on a host runs on cores, also beside a GPU."""
    return Platform.CPU if role.places.get("compute", DEVICE) == HOST_PART else platform


def placed(plan: Plan, topology: Topology, *, oversubscribed: bool = False, is_numbered: bool = False) -> dict[Rank, str]:
    """Every rank's place.

    Parameters
    ----------
    plan : its ranks and their axes.
    topology : of the system.
    oversubscribed : where there are more ranks than devices, begin again with the first device.
    is_numbered : take devices in the order of their numbers, not along the best ring.

    Raises
    ------
    DoesNotFit : more ranks than devices, more coordinates along the axis ``"node"`` than nodes, a host that is not known.
    """
    system = topology.system
    found: dict[Rank, str] = {}
    free: dict[str, dict[int | None, list[Rank]]] = {}  # kind -> node (None: wherever the ring comes to) -> its ranks
    for role in plan.roles:
        role_device(system, role)
        kind = kind_of(system, role)
        mine: dict[int | None, list[Rank]] = {}
        for rank in (r for r in plan.ranks if r.role == role.name):
            mine.setdefault(_node(system, role, rank), []).append(rank)
        for node, ranks in mine.items():
            if kind == HOST_PART:
                found.update(dict.fromkeys(ranks, system.host_places[node or 0]))
            else:
                first = (node or 0) * len(ranks) // len(mine) if role.is_turned else 0
                free.setdefault(kind, {}).setdefault(node, []).extend(ranks[first:] + ranks[:first])
    for kind, by_node in free.items():
        if set(by_node) <= {None}:
            found.update(_along_ring(topology, kind, by_node[None], oversubscribed, is_numbered))
        else:
            for node, ranks in by_node.items():
                found.update(_in_node(topology, kind, node or 0, ranks, is_numbered))
    return {rank: found[rank] for rank in plan.ranks}


def _node(system: System, role: Role, rank: Rank) -> int | None:
    """The node that a rank's coordinates ask for."""
    size = role.axes.get(NODE, 1)
    if size > system.nodes:
        raise DoesNotFit(
            f"role {role.name!r} spans {size} nodes, but {system.name} has {system.nodes}; use at most {system.nodes}"
        )
    return rank.at[list(role.axes).index(NODE)] if size > 1 else None


def _along_ring(topology: Topology, kind: str, ranks: Sequence[Rank], oversubscribed: bool, is_numbered: bool) -> dict[Rank, str]:
    system = topology.system
    places = system.places_of(kind)
    if len(ranks) > len(places) and not oversubscribed:
        raise DoesNotFit(
            f"the plan has {len(ranks)} ranks{_on(system, kind)}, but {system.name} has {len(places)} "
            f"{_devices(system, kind)}; use at most {len(places)} ranks"
        )
    devices = min(len(ranks), len(places))
    ring = places[:devices] if is_numbered else topology.ring_order(devices, kind)
    return {rank: ring[k % len(ring)] for k, rank in zip(count(), ranks, strict=False)}


def _in_node(topology: Topology, kind: str, node: int, ranks: Sequence[Rank], is_numbered: bool) -> dict[Rank, str]:
    system, group = topology.system, topology.system.group(kind)
    if len(ranks) > group.count:
        raise DoesNotFit(
            f"the plan has {len(ranks)} ranks in one node{_on(system, kind)}, but a node of {system.name} has {group.count} "
            f"{_devices(system, kind)}; use at most {group.count} ranks a node"
        )
    ring = group.names if is_numbered else tuple(p.split("/")[-1] for p in topology.ring_order(len(ranks), kind))
    return {rank: system.at(node, p) for rank, p in zip(ranks, ring, strict=False)}


def _on(system: System, kind: str) -> str:
    """Where, in words; nothing where there is one kind of devices."""
    return f" on {kind}" if system.others else ""


def _devices(system: System, kind: str) -> str:
    return f"devices of this kind ({system.group(kind).device.name})" if system.others else "devices"
