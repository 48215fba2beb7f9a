"""The network at message detail: a message has each link of its route for itself, in the order in which messages came to it.

Cut-through with room for a whole message at every link: the head goes on at once, and waits only where a link is taken;
a link is held until the message's tail has passed. There is no sharing, so two messages on one link take turns, where
flows (`sim.network`) would halve. On an idle route both take ``nbytes / slowest capacity``.
"""

from collections import deque
from collections.abc import Callable, Iterable

from sim.clock import Clock
from sim.errors import SimError
from sim.model import Link
from sim.network import Weighted, checked_capacity


class _Port:
    """A directed link: taken, or not; who waits for it."""

    __slots__ = ("capacity", "link", "taken", "waiting")

    def __init__(self, link: Link, capacity: float) -> None:
        self.link, self.capacity, self.taken = link, capacity, False
        self.waiting: deque[_Transfer] = deque()


class _Transfer:
    """A message on its way."""

    __slots__ = ("end", "hop", "nbytes", "ports", "then")

    def __init__(self, nbytes: int, ports: tuple[_Port, ...], then: Callable[[], object]) -> None:
        self.nbytes, self.ports, self.then = nbytes, ports, then
        self.hop, self.end = 0, 0.0


class MessageNetwork:
    """Messages on links.

    Parameters
    ----------
    clock : the clock.
    capacity : link -> bytes per second.
    on_busy : called with (link, start, end) when a message takes a link.
    """

    def __init__(
        self, clock: Clock, capacity: Callable[[Link], float], on_busy: Iterable[Callable[[Link, float, float], object]] = ()
    ) -> None:
        self.clock, self.capacity, self.on_busy = clock, capacity, tuple(on_busy)
        self._ports: dict[Link, _Port] = {}

    def start(self, nbytes: int, links: Weighted, then: Callable[[], object]) -> None:
        """Begin a transfer; `then` is called when its tail has passed the last link.

        Raises `SimError` where folded ranks share a link: taking turns, they would not be alike.
        """
        if not links:
            self.clock.later(0.0, then)
            return
        for link, times in links:
            if times != 1:
                raise SimError(
                    f"{times} folded ranks share link {link!r}: at message detail they take turns; unfold them, or use flows"
                )
            if link not in self._ports:
                self._ports[link] = _Port(link, checked_capacity(link, self.capacity))
        self._reach(_Transfer(nbytes, tuple(self._ports[link] for link, _ in links), then))

    def _reach(self, t: _Transfer) -> None:
        """The head of a message has come to its next link."""
        port = t.ports[t.hop]
        if port.taken:
            port.waiting.append(t)
        else:
            self._take(t, port)

    def _take(self, t: _Transfer, port: _Port) -> None:
        now = self.clock.now
        port.taken = True
        t.end = max(t.end, now + t.nbytes / port.capacity)
        for call in self.on_busy:
            call(port.link, now, t.end)
        self.clock.at(t.end, self._release, port)
        t.hop += 1
        if t.hop < len(t.ports):
            self._reach(t)
        else:
            self.clock.at(t.end, t.then)

    def _release(self, port: _Port) -> None:
        port.taken = False
        if port.waiting:
            self._take(port.waiting.popleft(), port)
