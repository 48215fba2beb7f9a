"""Watching an engine at work: an instrument is any object with some of these methods. What it lacks is never called.

Simulator (`sim.play`) and real engine (`runtime.dist.launch`) call the same methods with the same arguments, so one instrument
can watch either; each calls those of which it knows something. Times are seconds on the engine's clock. An instrument must not
change what it is shown.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from graph.errors import GraphError, nearest
from graph.parallel.plan import Path, Rank
from graph.timeline import Record, Timeline


class Instrument:
    """Every method an instrument may have. Inheriting is optional, and inherited methods cost nothing."""

    # --- how far it is: told while it goes on ---

    def on_phase(self, what: str) -> None:
        """Another part of the work begins, in words: ``"compiling kernels"``, ``"starting workers"``, ``"training"``."""

    def on_part(self, done: int, total: int) -> None:
        """So many parts of the phase are done, where it has parts that can be counted."""

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """`step` of `steps` are completed, and the last of them had this loss; told some times a second, not at every step.

        A plan that computes no loss has NaN.
        """

    # --- actions: the simulator tells them while it plays, the real engine when it has gathered the clocks of its workers ---

    def on_action_ready(self, rank: Rank, id: Path, stream: str, time: float) -> None:
        """Operands and stream are free; it may still wait for a letter, for room or for its engine."""

    def on_action_start(self, rank: Rank, id: Path, stream: str, time: float) -> None:
        """It begins to work. Only leaves do: a collective works through its transfers."""

    def on_action_end(self, record: Record) -> None:
        """It has ended; the record is the timeline's."""

    # --- what only a simulator can see ---

    def on_message(self, source: Rank, to: Rank, id: Path, nbytes: int, time: float) -> None:
        """A letter leaves; `id` is that of the send."""

    def on_flow_rate(self, links: tuple[tuple[Hashable, int], ...], flows: int, rate: float, time: float) -> None:
        """The flows on a route (links, and how often like flows weigh on each) now get `rate` bytes per second each."""

    def on_link_busy(self, link: Hashable, start: float, end: float) -> None:
        """At message detail: a message occupied a link."""

    def on_batch_ready(self, rank: Rank, number: int, time: float) -> None:
        """The input stage has (or had, when asked) a batch ready at this time."""


METHODS = tuple(name for name in vars(Instrument) if name.startswith("on_"))


def hooks(instruments: Sequence[object], name: str) -> tuple[Callable[..., Any], ...]:
    """The bound methods of this name that really do something.

    Raises
    ------
    GraphError : an instrument has an ``on_...`` method that no engine calls: a misspelling.
    """
    for i in instruments:
        for other in dir(i):
            if other.startswith("on_") and other not in METHODS:
                raise GraphError(f"{type(i).__name__}.{other} is no method of an instrument; {nearest(other, METHODS)}")
    nothing = getattr(Instrument, name)
    found = [getattr(i, name) for i in instruments if hasattr(i, name)]
    return tuple(f for f in found if getattr(f, "__func__", None) is not nothing)


def show(timeline: Timeline, instruments: Sequence[object]) -> None:
    """Tell the actions of a finished timeline: ready, start and end, in order of time (of one action always in this order)."""
    on_ready, on_start, on_end = (hooks(instruments, f"on_action_{what}") for what in ("ready", "start", "end"))
    if not (on_ready or on_start or on_end):
        return
    moments = [(time, n, k) for n, r in enumerate(timeline) for k, time in enumerate((r.ready, r.start, r.end))]
    for time, n, k in sorted(moments):
        r = timeline.records[n]
        if k == 2:
            for call in on_end:
                call(r)
        elif k == 0 or r.is_leaf:
            for call in on_ready if k == 0 else on_start:
                call(r.rank, r.id, r.stream, time)
