"""The system of a scenario: what the catalogue says of it, and how many devices it offers."""

from typing import TYPE_CHECKING

from trainscape.scenario import Scenario, SystemPart

if TYPE_CHECKING:
    from hw.system import System

HOST = "host"


def catalogue_system(part: SystemPart) -> "System":
    """The catalogue's system, as many nodes of it as are asked for, joined by the network that is asked for.

    Raises `hw.errors.HwError` when it has no network and needs one.
    """
    from hw.catalogue import system

    return system(part.name, nodes=part.nodes, network=part.network)


def devices(s: Scenario) -> int:
    """Devices that the scenario's system offers; on the host without a number, one a rank."""
    if s.system.name == HOST:
        return s.system.devices or s.parallel.ranks
    if s.system.devices:
        return s.system.devices
    found = catalogue_system(s.system)
    return found.count * found.nodes


def nodes_used(s: Scenario) -> int:
    """Nodes over which the scenario's ranks are spread, node after node."""
    return 1 if s.system.name == HOST else -(-s.parallel.ranks // catalogue_system(s.system).count)
