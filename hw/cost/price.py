"""Money: list price by the hour, billed for the time used.

Nodes are rented whole: of a system with a price by the node, as many nodes as the devices need; else the devices themselves,
where they are sold singly.
"""

from hw.system import System


def usd_per_hour(system: System, devices: int | None = None) -> float | None:
    """Price of what `devices` of a system's devices take, by default all of them; None when it is not known."""
    used = system.count * system.nodes if devices is None else devices
    if system.usd_per_hour is not None:
        return system.usd_per_hour * -(-used // system.count)
    each = system.device.usd_per_hour
    return None if each is None else each * used


def usd(system: System, seconds: float, devices: int | None = None) -> float | None:
    """US dollars for `seconds` of it; None when its price is not known."""
    rate = usd_per_hour(system, devices)
    return None if rate is None else rate * seconds / 3600
