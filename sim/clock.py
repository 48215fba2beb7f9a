"""Virtual time: SimPy's environment, driven by plain callbacks (half the cost of processes, and no hidden order).

Events of one instant run in the order in which they were scheduled; what must see the whole instant (solving rates,
choosing the next action of an engine) is scheduled at its end.
"""

from collections.abc import Callable
from typing import Any

from simpy import Environment
from simpy.events import NORMAL, Event, EventPriority

END_OF_INSTANT = EventPriority(NORMAL + 1)


class _Call(Event):
    """An event that happens by itself and calls a function."""

    def __init__(
        self, env: Environment, delay: float, priority: EventPriority, call: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self.env = env
        self.callbacks = [self._run]
        self._ok, self._value = True, None
        self._call, self._args = call, args
        env.schedule(self, priority, delay)

    def _run(self, _: Event) -> None:
        self._call(*self._args)


class Clock:
    """The clock of one simulation. Seconds from its start."""

    def __init__(self) -> None:
        self.env = Environment()

    @property
    def now(self) -> float:
        return self.env.now

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        """Call a function `delay` seconds from now; 0.0 is later in this instant."""
        _Call(self.env, delay, NORMAL, call, args)

    def at_end_of_instant(self, call: Callable[..., object], *args: Any) -> None:
        """Call a function when nothing else is left to happen now."""
        _Call(self.env, 0.0, END_OF_INSTANT, call, args)

    def run(self) -> None:
        """Until nothing is left to happen."""
        self.env.run()
