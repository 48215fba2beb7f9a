"""A system as a graph of directed links: routes, capacities, latencies, and a good order for a ring.

Parts are vertices. Devices never forward for others, so a route runs through switches and sockets only. A route is the one
with the fewest hops, then the greatest bottleneck bandwidth, then the first by name: the same on every run.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from graph.errors import nearest
from graph.record import record
from hw.errors import HwError
from hw.link import DrivenBy
from hw.system import System, Wire

NETWORK = "network"


@record
class Hop:
    """A directed link (several wires side by side are one, with their summed capacity).

    Parameters
    ----------
    id : ``"<from>><to>"``.
    link : name of the catalogue link.
    capacity : bytes per second.
    latency_seconds : this hop's share. A link's latency is that of a whole transfer between two devices, so a hop that ends at a
        switch or socket carries half of it; each hop between two such parts carries it in full.
    driven_by : who moves the bytes.
    """

    id: str
    link: str
    capacity: float
    latency_seconds: float
    driven_by: DrivenBy


class Topology:
    """Routes in a system.

    Parameters
    ----------
    system : what is joined; its nodes are named ``node0/`` ... when there are several.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self._routes: dict[tuple[str, str], tuple[str, ...]] = {}

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the devices."""
        return self.system.places

    def _wires(self) -> Iterator[Wire]:
        s = self.system
        for k in range(s.nodes):
            at = "" if s.nodes == 1 else f"node{k}/"
            for w in s.wires:
                yield Wire(a=at + w.a, b=at + w.b, link=w.link, count=w.count)
            if s.network is not None and s.nodes > 1:
                for p in s.network.at:
                    yield Wire(a=at + p, b=NETWORK, link=s.network.link, count=s.network.count)

    @cached_property
    def hops(self) -> dict[str, Hop]:
        """Every directed link by id."""
        devices = set(self.places)
        found: dict[str, Hop] = {}
        for w in self._wires():
            share = 0.5 if (w.a in devices) != (w.b in devices) else 1.0
            for a, b in ((w.a, w.b), (w.b, w.a)):
                before = found.get(f"{a}>{b}")
                if before is not None and before.link != w.link.name:
                    kinds = f"{before.link!r} and {w.link.name!r}"
                    raise HwError(f"system {self.system.name!r}: {a!r} and {b!r} are joined by two kinds of link, {kinds}")
                capacity = w.capacity + (before.capacity if before else 0.0)
                found[f"{a}>{b}"] = Hop(
                    id=f"{a}>{b}",
                    link=w.link.name,
                    capacity=capacity,
                    latency_seconds=w.link.latency_seconds * share,
                    driven_by=w.link.driven_by,
                )
        return found

    @cached_property
    def graph(self) -> Any:
        """The `networkx.DiGraph` of parts, with the `Hop` of each edge as its attribute ``hop``."""
        import networkx as nx

        g = nx.DiGraph()
        g.add_nodes_from(self.places)
        for hop in self.hops.values():
            a, b = hop.id.split(">")
            g.add_edge(a, b, hop=hop)
        return g

    def route(self, a: str, b: str) -> tuple[str, ...]:
        """Ids of the links from device `a` to device `b`; empty when they are the same. Raises `HwError` where no way leads."""
        for place in (a, b):
            if place not in self._places:
                raise HwError(f"system {self.system.name!r} has no device {place!r}; {nearest(place, self._places)}")
        if (a, b) not in self._routes:
            self._routes[a, b] = self._find(a, b) if a != b else ()
        return self._routes[a, b]

    @cached_property
    def _places(self) -> frozenset[str]:
        return frozenset(self.places)

    def _find(self, a: str, b: str) -> tuple[str, ...]:
        import networkx as nx

        passable = nx.restricted_view(self.graph, self._places - {a, b}, ())
        try:
            paths = [tuple(f"{u}>{v}" for u, v in pairwise(p)) for p in nx.all_shortest_paths(passable, a, b)]
        except nx.NetworkXNoPath:
            raise HwError(f"system {self.system.name!r}: no way leads from {a!r} to {b!r}") from None
        return min(paths, key=lambda p: (-self.bandwidth_of(p), p))

    def bandwidth_of(self, route: Sequence[str]) -> float:
        """Bytes per second of a route that nobody shares; infinite for the empty one."""
        return min((self.capacity(i) for i in route), default=float("inf"))

    def capacity(self, link: str) -> float:
        """Bytes per second of a directed link."""
        if link not in self.hops:
            raise HwError(f"system {self.system.name!r} has no link {link!r}; {nearest(link, self.hops)}")
        return self.hops[link].capacity

    def latency(self, a: str, b: str) -> float:
        """Seconds of an empty message from device `a` to device `b`."""
        return sum(self.hops[i].latency_seconds for i in self.route(a, b))

    def bandwidth(self, a: str, b: str) -> float:
        """Bytes per second from device `a` to device `b` when nobody else sends."""
        return self.bandwidth_of(self.route(a, b))

    def ring_order(self, n: int | None = None) -> tuple[str, ...]:
        """`n` devices (default all) in an order that makes a good ring; see `ring_order`."""
        return ring_order(self.system, n, self)


def ring_order(system: System, n: int | None = None, topology: Topology | None = None) -> tuple[str, ...]:
    """`n` devices in the order of the ring whose weakest neighbours have the greatest bandwidth.

    Within a node all rings through its first device are tried, depth first and in the order of names, pruned by the best
    bottleneck so far; the first of the best is taken. Rings over several nodes pass through the nodes one after another. Routes
    are judged one by one, as if the others were idle. Raises `HwError` when the system has fewer than `n` devices.
    """
    t = topology or Topology(system)
    n = len(t.places) if n is None else n
    if not 1 <= n <= len(t.places):
        raise HwError(f"system {system.name!r} has {len(t.places)} devices; a ring of {n} does not fit")
    if n > system.count:
        whole = tuple(p.split("/")[-1] for p in _best_ring(t, t.places[: system.count], system.count))
        return tuple(f"node{k}/{p}" for k in range(system.nodes) for p in whole)[:n]
    return _best_ring(t, t.places[: system.count], n)


def _best_ring(t: Topology, places: Sequence[str], n: int) -> tuple[str, ...]:
    if n < 3:
        return tuple(sorted(places[:1])) + ((max(places[1:], key=lambda p: t.bandwidth(places[0], p)),) if n == 2 else ())
    bandwidth = {(a, b): t.bandwidth(a, b) for a in places for b in places if a != b}
    limit = max(bandwidth.values())
    best: tuple[float, tuple[str, ...]] = (0.0, ())
    stack: list[tuple[float, tuple[str, ...]]] = [(limit, (places[0],))]
    while stack and best[0] < limit:
        weakest, path = stack.pop()
        if len(path) == n:
            closed = min(weakest, bandwidth[path[-1], path[0]])
            best = max(best, (closed, path), key=lambda x: x[0])
            continue
        for p in reversed([p for p in places if p not in path]):
            if (reached := min(weakest, bandwidth[path[-1], p])) > best[0]:
                stack.append((reached, (*path, p)))
    return best[1]
