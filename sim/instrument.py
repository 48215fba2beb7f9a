"""Watching a player at work: an instrument is any object with some of these methods. What it lacks is never called.

The names and arguments are shared by simulator and engine, so one instrument can watch either. Times are seconds on the
player's clock. An instrument must not change what it is shown.
"""

from collections.abc import Callable, Sequence
from typing import Any

from graph.errors import nearest
from graph.parallel.plan import Path, Rank
from graph.timeline import Record
from sim.errors import SimError
from sim.model import Link


class Instrument:
    """Every method an instrument may have. Inheriting is optional, and inherited methods cost nothing."""

    def on_action_ready(self, rank: Rank, id: Path, stream: str, time: float) -> None:
        """Operands and stream are free; it may still wait for a letter, for room or for its engine."""

    def on_action_start(self, rank: Rank, id: Path, stream: str, time: float) -> None:
        """It begins to work."""

    def on_action_end(self, record: Record) -> None:
        """It has ended; the record is the timeline's."""

    def on_message(self, source: Rank, to: Rank, id: Path, nbytes: int, time: float) -> None:
        """A letter leaves; `id` is that of the send."""

    def on_flow_rate(self, links: tuple[tuple[Link, int], ...], flows: int, rate: float, time: float) -> None:
        """The flows on a route (links, and how often like flows weigh on each) now get `rate` bytes per second each."""

    def on_link_busy(self, link: Link, start: float, end: float) -> None:
        """At message detail: a message occupied a link."""

    def on_batch_ready(self, rank: Rank, number: int, time: float) -> None:
        """The input stage has (or had, when asked) a batch ready at this time."""


METHODS = tuple(name for name in vars(Instrument) if name.startswith("on_"))


def hooks(instruments: Sequence[object], name: str) -> tuple[Callable[..., Any], ...]:
    """The bound methods of this name that really do something.

    Raises `SimError` when an instrument has an ``on_...`` method that no player calls: a misspelling.
    """
    for i in instruments:
        for other in dir(i):
            if other.startswith("on_") and other not in METHODS:
                raise SimError(f"{type(i).__name__}.{other} is no method of an instrument; {nearest(other, METHODS)}")
    nothing = getattr(Instrument, name)
    found = [getattr(i, name) for i in instruments if hasattr(i, name)]
    return tuple(f for f in found if getattr(f, "__func__", None) is not nothing)
