"""Money: list price by the hour, billed for the time used.

Nodes are rented whole: of a system with a price by the node, as many nodes as the devices need; else the devices themselves,
where they are sold singly.
"""

from collections.abc import Mapping

from hw.system import System

Used = int | Mapping[str, int]
"""Devices that are used: so many of the first kind, or how many of each kind."""


def usd_per_hour(system: System, devices: Used | None = None) -> float | None:
    """Price of what `devices` of a system's devices take, by default all of them; None when it is not known."""
    if devices is None:
        used: Mapping[str, int] = {g.kind: g.count * system.nodes for g in system.groups}
    else:
        used = {system.prefix: devices} if isinstance(devices, int) else devices
    if system.usd_per_hour is not None:
        return system.usd_per_hour * max((-(-n // system.group(kind).count) for kind, n in used.items()), default=1)
    each = [(system.group(kind).device.usd_per_hour, n) for kind, n in used.items()]
    return None if any(price is None for price, _ in each) else sum((price or 0.0) * n for price, n in each)


def usd(system: System, seconds: float, devices: Used | None = None) -> float | None:
    """US dollars for `seconds` of it; None when its price is not known."""
    rate = usd_per_hour(system, devices)
    return None if rate is None else rate * seconds / 3600
