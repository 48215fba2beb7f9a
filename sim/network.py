"""The network at flow detail: transfers are flows that share directed links max-min fairly.

Rates change only when a flow starts or ends; then, once at the end of the instant, the rates of the flows connected to
it through shared links are solved again, and nobody else's. Flows on the same route always have the same rate, so a
route is one `_Pipe` that serves all of them; a flow ends when its pipe has served its bytes beyond what it had served at
the start. Rates come from progressive filling: Bertsekas & Gallager, Data Networks, 2nd ed., section 6.5.2, with one
demand per route. The other details: `sim.message`, and closed forms in `sim.collective`.
"""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from math import inf

from sim.clock import Call, Clock
from sim.errors import SimError
from sim.model import Link

Weighted = tuple[tuple[Link, int], ...]  # links of a route, and how many like flows of folded ranks go over each
SAME = 1e-12  # shares closer than this (relative) are one bottleneck


def checked_capacity(link: Link, capacity: Callable[[Link], float]) -> float:
    """The capacity of a link; raises `SimError` unless it is finite and above 0."""
    value = capacity(link)
    if not 0.0 < value < inf:
        raise SimError(f"link {link!r} has a capacity of {value} bytes/s; it must be finite and above 0")
    return value


class _Edge:
    """A directed link, the pipes with flows over it, and how many flows these are; then notes of one solution."""

    __slots__ = ("capacity", "free", "load", "pipes", "seen", "todo")

    def __init__(self, capacity: float) -> None:
        self.capacity, self.load = capacity, 0
        self.pipes: dict[_Pipe, int] = {}
        self.free, self.todo = 0.0, 0  # what is left of its capacity, for so many flows
        self.seen = 0


class _Pipe:
    """All flows on one route."""

    __slots__ = ("edges", "end", "flows", "links", "old", "rate", "seen", "served", "since")

    def __init__(self, links: Weighted, edges: tuple[tuple[_Edge, int], ...]) -> None:
        self.links, self.edges = links, edges
        self.flows: list[tuple[float, int, Callable[[], object]]] = []  # heap of (served bytes at its end, number, then)
        self.rate = self.old = self.served = self.since = 0.0
        self.end: Call | None = None  # of the next flow that ends
        self.seen = 0

    @property
    def is_alone(self) -> bool:
        """Nobody else is on its links."""
        own = 1 if self.flows else 0
        for edge, _ in self.edges:
            if len(edge.pipes) > own:
                return False
        return True

    def advance(self, now: float) -> None:
        """Count what was served until now. A lone flow counts from zero, which keeps the sum exact."""
        self.served += self.rate * (now - self.since)
        self.since = now
        if len(self.flows) == 1:
            target, number, then = self.flows[0]
            self.flows[0] = target - self.served, number, then
            self.served = 0.0


class FlowNetwork:
    """Flows on links.

    Parameters
    ----------
    clock : the clock.
    capacity : link -> bytes per second.
    on_rate : called with (links, flows, rate, time) when the rate of a route changes.
    """

    def __init__(
        self,
        clock: Clock,
        capacity: Callable[[Link], float],
        on_rate: Iterable[Callable[[Weighted, int, float, float], object]] = (),
    ) -> None:
        self.clock, self.capacity, self.on_rate = clock, capacity, tuple(on_rate)
        self._edges: dict[Link, _Edge] = {}
        self._pipes: dict[Weighted, _Pipe] = {}
        self._dirty: dict[_Pipe, None] = {}
        self._number = self._mark = 0
        self.solved = 0  # how often rates were solved, for the curious

    def start(self, nbytes: int, links: Weighted, then: Callable[[], object]) -> None:
        """Begin a flow; `then` is called when its last byte has left."""
        if not links:
            self.clock.later(0.0, then)
            return
        pipe = self._pipes.get(links)
        if pipe is None:
            pipe = self._pipes[links] = self._pipe(links)
        if pipe.flows:
            pipe.advance(self.clock.now)
        else:
            pipe.served, pipe.since, pipe.rate, pipe.old = 0.0, self.clock.now, 0.0, 0.0
            for edge, times in pipe.edges:
                edge.pipes[pipe] = times
        for edge, times in pipe.edges:
            edge.load += times
        self._number += 1
        heappush(pipe.flows, (pipe.served + nbytes, self._number, then))
        self._touch(pipe)

    def _pipe(self, links: Weighted) -> _Pipe:
        """A pipe for a route; a link that the route names twice weighs twice."""
        weights: dict[_Edge, int] = {}
        for link, times in links:
            if link not in self._edges:
                self._edges[link] = _Edge(checked_capacity(link, self.capacity))
            edge = self._edges[link]
            weights[edge] = weights.get(edge, 0) + times
        return _Pipe(links, tuple(weights.items()))

    def _touch(self, pipe: _Pipe) -> None:
        if not self._dirty:
            self.clock.at_end_of_instant(self._solve)
        self._dirty[pipe] = None

    def _solve(self) -> None:
        """New rates for every component with something new in it."""
        dirty, self._dirty = self._dirty, {}
        self._mark += 1
        for first in dirty:
            if first.seen == self._mark:
                continue
            if first.is_alone:
                pipes, edges = [first] if first.flows else [], list[_Edge]()
            else:
                pipes, edges = _component(first, self._mark)
            if pipes:
                self.solved += 1
                _fill(pipes, edges)
            for pipe in pipes:
                if pipe.rate != pipe.old or pipe in dirty:
                    self._schedule(pipe)

    def _schedule(self, pipe: _Pipe) -> None:
        """Count with the old rate up to now, go on with the new one, and set the time of the next end."""
        now, rate = self.clock.now, pipe.rate
        pipe.rate = pipe.old
        pipe.advance(now)
        pipe.rate = pipe.old = rate
        if pipe.end is not None:
            pipe.end.cancel()
            pipe.end = None
        if pipe.flows:
            pipe.end = self.clock.later(max(pipe.flows[0][0] - pipe.served, 0.0) / rate, self._due, pipe)
        for call in self.on_rate:
            call(pipe.links, len(pipe.flows), rate, now)

    def _due(self, pipe: _Pipe) -> None:
        """The next flow of a pipe has ended, and those that end with it."""
        now = self.clock.now
        pipe.since, pipe.served = now, pipe.flows[0][0]
        near = pipe.served + pipe.rate * now * 2.0**-52  # what is left would not move the clock
        ended = []
        while pipe.flows and pipe.flows[0][0] <= near:
            ended.append(heappop(pipe.flows)[2])
        for edge, times in pipe.edges:
            edge.load -= times * len(ended)
        if not pipe.flows:
            for edge, _ in pipe.edges:
                del edge.pipes[pipe]
            for call in self.on_rate:
                call(pipe.links, 0, 0.0, now)
        self._touch(pipe)
        for then in ended:
            then()


def _component(first: _Pipe, mark: int) -> tuple[list[_Pipe], list[_Edge]]:
    """The pipes with flows that are connected to `first` through links, and those links; they are marked as seen."""
    pipes: list[_Pipe] = []
    edges: list[_Edge] = []
    stack = [first]
    first.seen = mark
    while stack:
        pipe = stack.pop()
        if pipe.flows:
            pipes.append(pipe)
        for edge, _ in pipe.edges:
            if edge.seen != mark:
                edge.seen = mark
                edges.append(edge)
                for other in edge.pipes:
                    if other.seen != mark:
                        other.seen = mark
                        stack.append(other)
    return pipes, edges


def _fill(pipes: list[_Pipe], edges: list[_Edge]) -> None:
    """Progressive filling: give every pipe the share of its tightest link, the tightest links first."""
    if len(pipes) == 1:
        (pipe,) = pipes
        flows = len(pipe.flows)
        pipe.rate = min([edge.capacity / (times * flows) for edge, times in pipe.edges])
        return
    shares = []
    for k, edge in enumerate(edges):
        edge.free, edge.todo = edge.capacity, edge.load
        if edge.load:
            shares.append((edge.free / edge.load, k))
    heapify(shares)
    for pipe in pipes:
        pipe.rate = 0.0  # not known yet
    left, level = len(pipes), 0.0
    while left:
        share, k = heappop(shares)
        edge = edges[k]
        if not edge.todo:
            continue
        level = max(level, share)
        now = edge.free / edge.todo
        if now > level * (1.0 + SAME):  # it was asked before others took less than their part
            heappush(shares, (now, k))
            continue
        for pipe in edge.pipes:
            if not pipe.rate:
                pipe.rate = level
                left -= 1
                flows = len(pipe.flows)
                for other, times in pipe.edges:
                    taken = times * flows
                    other.todo -= taken
                    other.free -= taken * level
