"""Virtual time: SimPy's environment, driven by plain callbacks (cheaper than processes, and no hidden order).

Calls of one instant run in the order in which they were asked for; what must see the whole instant (solving rates, choosing the
next action of an engine) is called at its end. SimPy is told of the next instant only: plans change often before they come true.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from simpy import Environment, Event


class Call:
    """What is to be called at some time, unless it is cancelled before."""

    __slots__ = ("args", "call")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.call: Callable[..., object] | None = call
        self.args = args

    def cancel(self) -> None:
        """It is not called any more."""
        self.call = None


class Clock:
    """The clock of one simulation.

    Attributes
    ----------
    now : seconds from its start.
    """

    def __init__(self) -> None:
        self.env = Environment()
        self.now = 0.0
        self._calls: list[Call] = []  # of this instant
        self._last: list[Call] = []  # at its end
        self._later: list[tuple[float, int, Call]] = []  # a heap: time, number
        self._number = count()

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> Call:
        """Call a function `delay` seconds from now; 0.0 is later in this instant."""
        return self.at(self.now + delay, call, *args)

    def at(self, time: float, call: Callable[..., object], *args: Any) -> Call:
        """Call a function at a time; at the latest in this instant."""
        made = Call(call, args)
        if time > self.now:
            heappush(self._later, (time, next(self._number), made))
        else:
            self._calls.append(made)
        return made

    def at_end_of_instant(self, call: Callable[..., object], *args: Any) -> None:
        """Call a function when nothing else is left to happen now."""
        self._last.append(Call(call, args))

    def run(self) -> None:
        """Until nothing is left to happen."""
        self.env.timeout(0.0).callbacks.append(self._happen)
        self.env.run()

    def _happen(self, _: Event) -> None:
        """All that happens in an instant, what it brings about in the same instant included; then SimPy is told of the next."""
        calls, last, later = self._calls, self._last, self._later
        while calls or last:
            for c in calls:  # which may grow meanwhile
                if c.call is not None:
                    c.call(*c.args)
            calls.clear()
            if last:
                first = last.pop(0)
                if first.call is not None:
                    first.call(*first.args)
        while later and later[0][2].call is None:
            heappop(later)
        if later:
            self.env.timeout(max(later[0][0] - self.env.now, 0.0)).callbacks.append(self._begin)

    def _begin(self, event: Event) -> None:
        """The next instant."""
        later = self._later
        self.now = later[0][0]
        while later and later[0][0] == self.now:
            self._calls.append(heappop(later)[2])
        self._happen(event)
