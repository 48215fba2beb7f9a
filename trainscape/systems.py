"""The system of a scenario: what the catalogue says of it, and how many devices it offers."""

from typing import TYPE_CHECKING

from trainscape.scenario import Scenario, SystemPart
from trainscape.strategies import standing

if TYPE_CHECKING:
    from hw.system import System

HOST = "host"


def catalogue_system(part: SystemPart) -> "System":
    """The catalogue's system, as many nodes of it as are asked for, joined by the network that is asked for.

    Raises `hw.errors.HwError` when it has no network and needs one.
    """
    from hw.catalogue import system

    return system(part.name, nodes=part.nodes, network=part.network)


def offered(s: Scenario, place: str) -> int | None:
    """Ranks that find room at a place of the scenario's system; None: there is no such place.

    On this computer without a number each rank has a core; on a host stand as many as there are samples.
    """
    from hw.system import DEVICE, HOST_PART

    if s.system.name == HOST:
        all_ranks = sum(n for _, _, n in standing(s.parallel))
        return (s.system.devices or all_ranks) if place in (DEVICE, HOST_PART) else None
    found = catalogue_system(s.system)
    if place == HOST_PART:
        return s.model.batch
    if place in (DEVICE, found.prefix):
        return s.system.devices or found.count * found.nodes
    return len(found.places_of(place)) if place in found.kinds else None


def devices(s: Scenario) -> int:
    """Devices that the scenario's system offers to its ranks; on the host without a number, one a rank."""
    (_, mine, _), *others = standing(s.parallel)
    return (offered(s, mine) or 0) - sum(n for _, place, n in others if place == mine)


def nodes_used(s: Scenario) -> int:
    """Nodes over which the scenario's ranks are spread, node after node."""
    return 1 if s.system.name == HOST else -(-s.parallel.ranks // catalogue_system(s.system).count)
