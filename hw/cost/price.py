"""Money: list price by the hour, billed for the time used."""

from hw.system import System


def usd_per_hour(system: System) -> float | None:
    """Price of all nodes; else of all devices, where they are sold singly; None when neither is known."""
    if system.usd_per_hour is not None:
        return system.usd_per_hour * system.nodes
    each = system.device.usd_per_hour
    return None if each is None else each * system.count * system.nodes


def usd(system: System, seconds: float) -> float | None:
    """US dollars for `seconds` of the whole system; None when its price is unknown."""
    rate = usd_per_hour(system)
    return None if rate is None else rate * seconds / 3600
