"""Where ranks run: on which device, or on which node's host.

A role says it with the place of its compute stream: ``"device"``, the next free device, or ``"host"``, the computer around the
devices. Devices are taken in the order of the best ring (`hw.topology.ring_order`). A role with an axis ``"node"`` keeps to it:
its ranks with coordinate k there stand in node k, and those of a role that `is_turned` begin k / nodes of the way around. On this
computer there is nothing around the cores, so a rank on its host takes a core of its own.
"""

from collections.abc import Sequence
from itertools import count

from graph.errors import nearest
from graph.parallel.plan import Plan, Rank, Role
from hw.device import Device
from hw.errors import DoesNotFit, HwError
from hw.kernels.record import Platform
from hw.system import HOST_PART, System
from hw.topology import Topology

DEVICE = "device"
NODE = "node"
"""Name of the axis whose coordinate is a node's number."""


def is_on_host(system: System, role: Role) -> bool:
    """Whether a role's ranks run on a host of the system, not on its devices; raises `HwError` for a place that is neither."""
    place = role.places.get("compute", DEVICE)
    if place not in (DEVICE, HOST_PART):
        raise HwError(f"role {role.name!r} is placed on {place!r}; {nearest(place, (DEVICE, HOST_PART))}")
    return place == HOST_PART and not (system.device.platform is Platform.CPU and not system.host_places)


def role_device(system: System, role: Role) -> Device:
    """What a rank of a role runs on: its platform says how the role is lowered, and its peaks price it.

    Raises `DoesNotFit` when the role is placed on hosts, and the system does not say what processors they have.
    """
    if not is_on_host(system, role):
        return system.device
    if not system.host_places:
        raise DoesNotFit(
            f"role {role.name!r} runs on a host, but system {system.name!r} does not say what processors its hosts have; place "
            f"it on devices, or use a system whose hosts are known"
        )
    return system.device_at(system.host_places[0])


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
    by_node: dict[int | None, list[Rank]] = {}  # None: wherever the ring comes to
    for role in plan.roles:
        role_device(system, role)
        on_host = is_on_host(system, role)
        mine: dict[int | None, list[Rank]] = {}
        for rank in (r for r in plan.ranks if r.role == role.name):
            mine.setdefault(_node(system, role, rank), []).append(rank)
        for node, ranks in mine.items():
            if on_host:
                found.update(dict.fromkeys(ranks, system.host_places[node or 0]))
            else:
                first = (node or 0) * len(ranks) // len(mine) if role.is_turned else 0
                by_node.setdefault(node, []).extend(ranks[first:] + ranks[:first])
    if set(by_node) <= {None}:
        found.update(_along_ring(topology, by_node.get(None, []), oversubscribed, is_numbered))
    else:
        for node, ranks in by_node.items():
            found.update(_in_node(topology, node or 0, ranks, is_numbered))
    return {rank: found[rank] for rank in plan.ranks}


def _node(system: System, role: Role, rank: Rank) -> int | None:
    """The node that a rank's coordinates ask for."""
    size = role.axes.get(NODE, 1)
    if size > system.nodes:
        raise DoesNotFit(
            f"role {role.name!r} spans {size} nodes, but {system.name} has {system.nodes}; use at most {system.nodes}"
        )
    return rank.at[list(role.axes).index(NODE)] if size > 1 else None


def _along_ring(topology: Topology, ranks: Sequence[Rank], oversubscribed: bool, is_numbered: bool) -> dict[Rank, str]:
    system = topology.system
    if not ranks:
        return {}
    if len(ranks) > len(system.places) and not oversubscribed:
        raise DoesNotFit(
            f"the plan has {len(ranks)} ranks, but {system.name} has {len(system.places)} devices; "
            f"use at most {len(system.places)} ranks"
        )
    devices = min(len(ranks), len(system.places))
    ring = system.places[:devices] if is_numbered else topology.ring_order(devices)
    return {rank: ring[k % len(ring)] for k, rank in zip(count(), ranks, strict=False)}


def _in_node(topology: Topology, node: int, ranks: Sequence[Rank], is_numbered: bool) -> dict[Rank, str]:
    system = topology.system
    if len(ranks) > system.count:
        raise DoesNotFit(
            f"the plan has {len(ranks)} ranks in one node, but a node of {system.name} has {system.count} devices; "
            f"use at most {system.count} ranks a node"
        )
    ring = system.local if is_numbered else tuple(p.split("/")[-1] for p in topology.ring_order(len(ranks)))
    return {rank: system.at(node, p) for rank, p in zip(ranks, ring, strict=False)}
