"""How the time of a run is shared out."""

import time
from collections.abc import Sequence

from benchmarks.gpu.sections import Section
from graph.record import record

STOPS = 0.9
"""Of its time a section begins nothing new after this part."""
GRACE, SIMULATED_GRACE = 3.0, 300.0
"""Seconds beyond its time until a section is ended. Of a simulation, whose times mean nothing, none is ended for being slow."""


@record
class Slot:
    """When a section has to be through, in seconds of `time.monotonic`.

    Parameters
    ----------
    stops : from then on it begins nothing new.
    ends : then it is ended.
    """

    stops: float
    ends: float


class Budget:
    """The time of a run. What a section leaves is shared among those that follow.

    Parameters
    ----------
    seconds : of all sections.
    simulated : in the simulator.
    began : when, of `time.monotonic`; by default now.
    """

    def __init__(self, seconds: float, *, simulated: bool = False, began: float | None = None) -> None:
        self.simulated = simulated
        self.began = time.monotonic() if began is None else began
        self.ends = self.began + seconds

    def slot(self, sections: Sequence[Section], now: float | None = None) -> Slot:
        """Of the first of these sections, which are all that are left."""
        now = time.monotonic() if now is None else now
        mine = max(self.ends - now, 0.0) * sections[0].share / sum(s.share for s in sections)
        last = now + mine + SIMULATED_GRACE if self.simulated else min(now + mine + GRACE, self.ends)
        return Slot(stops=now + STOPS * mine, ends=last)
