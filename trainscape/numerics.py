"""In which numbers a scenario computes: in floats, as its section ``numerics`` says, or, on an NFU, in words of that NFU."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graph.parallel.strategies import STRATEGIES
from trainscape.scenario import NumericsPart, Scenario
from trainscape.strategies import standing
from trainscape.systems import HOST

if TYPE_CHECKING:
    from hw.device import Device
    from hw.system import System


def nfus(s: Scenario, system: "System") -> "Iterator[tuple[str, Device]]":
    """(key of the section ``parallel``, device) of each place that is an NFU and where ranks stand."""
    from hw.system import DEVICE

    for key, place, _ in standing(s.parallel):
        kind = system.prefix if place == DEVICE else place
        device = system.group(kind).device if kind in system.kinds else None
        if device is not None and device.nfu is not None:
            yield key, device


def numerics(s: Scenario, system: "System | None") -> NumericsPart | None:
    """The fixed-point format of a scenario; None: floats. On an NFU, where the scenario says none, the format of its neurons.

    Parameters
    ----------
    s : the scenario.
    system : on which it runs; None: this computer.
    """
    if s.numerics is not None or system is None or s.system.name == HOST or STRATEGIES[s.parallel.strategy].trains:
        return s.numerics
    found = next((d.nfu.neuron for _, d in nfus(s, system) if d.nfu is not None), None)
    return None if found is None else NumericsPart(word=found.bits, fraction=found.fraction)
