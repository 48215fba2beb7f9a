"""A system as a graph of directed links: routes, capacities, latencies, and a good order for a ring.

Parts are vertices. Devices and hosts never forward for others, so a route runs through switches and sockets only. A route is the
one with the fewest hops, then the greatest bottleneck bandwidth, then the first by name: the same on every run. Nodes are alike,
so routes are found in one of them: a route between two nodes is one out of the first, and one into the second.

A network that never blocks is one vertex, which every node is joined to. An oversubscribed one has a core behind it, whose single
link carries everything: all nodes together reach their share of it, one pair of nodes alone its full rate.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from graph.errors import nearest
from graph.record import record
from hw.errors import HwError
from hw.link import DrivenBy, Link
from hw.system import HOST_PART, System

NETWORK, CORE = "network", "core"  # the vertices that belong to no node


@record
class Hop:
    """A directed link (several wires side by side are one, with their summed capacity).

    Parameters
    ----------
    id : ``"<from>><to>"``.
    link : name of the catalogue link.
    capacity : bytes per second.
    latency_seconds : this hop's share. A link's latency is that of a whole transfer between two devices, so a hop between a
        device and a switch or socket carries half of it, and so does a hop to or from the network; each hop between two switches
        or sockets carries it in full.
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
        self._ways: dict[tuple[str, str], tuple[str, ...]] = {}
        self._routes: dict[tuple[str, str], tuple[str, ...]] = {}

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the devices."""
        return self.system.places

    @cached_property
    def _ends(self) -> dict[str, tuple[int, str]]:
        """Every device and host: (node, name inside the node)."""
        s = self.system
        parts = (*s.local, HOST_PART) if s.host_places else s.local
        return {s.at(k, p): (k, p) for k in range(s.nodes) for p in parts}

    def _node_links(self) -> Iterator[tuple[str, str, Link, int, float]]:
        """(from, to, link, how many, share of its latency) of one node, both directions."""
        s, ends = self.system, {*self.system.local, HOST_PART}
        pairs = [(w.a, w.b, w.link, w.count, 0.5 if (w.a in ends) != (w.b in ends) else 1.0) for w in s.wires]
        if s.host is not None and (memory := s.host.memory) is not None:
            pairs += [(p, HOST_PART, memory, 1, 1.0) for p in s.host.at]
        for a, b, link, count, share in pairs:
            yield a, b, link, count, share
            yield b, a, link, count, share
        if s.network is not None and s.nodes > 1:
            n = s.network
            for p in n.at:
                yield p, NETWORK, n.link, n.count, 0.5
                yield self._exit, p, n.link, n.count, 0.5

    @property
    def _exit(self) -> str:
        """The vertex from which the network reaches nodes."""
        n = self.system.network
        return CORE if n is not None and n.oversubscription > 1 else NETWORK

    @cached_property
    def hops(self) -> dict[str, Hop]:
        """Every directed link by id."""
        s, found = self.system, dict[str, Hop]()
        inside = list(self._node_links())
        for k in range(s.nodes):
            for a, b, link, count, share in inside:
                id = f"{self._name(k, a)}>{self._name(k, b)}"
                before = found.get(id)
                if before is not None and before.link != link.name:
                    kinds = f"{before.link!r} and {link.name!r}"
                    raise HwError(f"system {s.name!r}: {a!r} and {b!r} are joined by two kinds of link, {kinds}")
                capacity, latency = link.capacity * count + (before.capacity if before else 0.0), link.latency_seconds * share
                found[id] = Hop(id=id, link=link.name, capacity=capacity, latency_seconds=latency, driven_by=link.driven_by)
        if s.network is not None and s.nodes > 1 and self._exit == CORE:
            id, link, capacity = f"{NETWORK}>{CORE}", s.network.link, s.network.capacity * s.nodes / s.network.oversubscription
            found[id] = Hop(id=id, link=link.name, capacity=capacity, latency_seconds=0.0, driven_by=link.driven_by)
        return found

    def _name(self, node: int, part: str) -> str:
        return part if part in (NETWORK, CORE) else self.system.at(node, part)

    @cached_property
    def graph(self) -> Any:
        """The `networkx.DiGraph` of the parts of one node, and of the network."""
        import networkx as nx

        g = nx.DiGraph()
        g.add_nodes_from((*self.system.local, HOST_PART, NETWORK, CORE))
        g.add_edges_from((a, b) for a, b, *_ in self._node_links())
        return g

    def route(self, a: str, b: str) -> tuple[str, ...]:
        """Ids of the links between two places, devices or hosts; empty when they are the same.

        Raises `HwError` where no way leads.
        """
        for place in (a, b):
            if place not in self._ends:
                raise HwError(f"system {self.system.name!r} has no device {place!r}; {nearest(place, self._ends)}")
        if (a, b) not in self._routes:
            self._routes[a, b] = self._find(a, b) if a != b else ()
        return self._routes[a, b]

    def _find(self, a: str, b: str) -> tuple[str, ...]:
        (i, u), (j, v) = self._ends[a], self._ends[b]
        if i == j:
            return self._of_node(i, self._way(u, v))
        across = (f"{NETWORK}>{CORE}",) if self._exit == CORE else ()
        return self._of_node(i, self._way(u, NETWORK)) + across + self._of_node(j, self._way(self._exit, v))

    def _of_node(self, node: int, way: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{self._name(node, u)}>{self._name(node, v)}" for u, v in pairwise(way))

    def _way(self, u: str, v: str) -> tuple[str, ...]:
        """The parts from one to another, in one node (the first, when it comes to looking up capacities)."""
        if (u, v) not in self._ways:
            self._ways[u, v] = self._search(u, v)
        return self._ways[u, v]

    def _search(self, u: str, v: str) -> tuple[str, ...]:
        import networkx as nx

        passable = nx.restricted_view(self.graph, {*self.system.local, HOST_PART} - {u, v}, ())
        try:
            paths = [tuple(p) for p in nx.all_shortest_paths(passable, u, v)]
        except nx.NetworkXNoPath:
            raise HwError(f"system {self.system.name!r}: no way leads from {u!r} to {v!r}") from None
        return min(paths, key=lambda p: (-self.bandwidth_of(self._of_node(0, p)), p))

    def bandwidth_of(self, route: Sequence[str]) -> float:
        """Bytes per second of a route that nobody shares; infinite for the empty one."""
        return min((self.capacity(i) for i in route), default=float("inf"))

    def capacity(self, link: str) -> float:
        """Bytes per second of a directed link."""
        if link not in self.hops:
            raise HwError(f"system {self.system.name!r} has no link {link!r}; {nearest(link, self.hops)}")
        return self.hops[link].capacity

    def latency(self, a: str, b: str) -> float:
        """Seconds of an empty message from one place to another."""
        return sum(self.hops[i].latency_seconds for i in self.route(a, b))

    def bandwidth(self, a: str, b: str) -> float:
        """Bytes per second from one place to another when nobody else sends."""
        return self.bandwidth_of(self.route(a, b))

    def ring_order(self, n: int | None = None, kind: str | None = None) -> tuple[str, ...]:
        """`n` devices (default all) of a kind (default the first) in an order that makes a good ring; see `ring_order`."""
        return ring_order(self.system, n, self, kind)


def ring_order(
    system: System, n: int | None = None, topology: Topology | None = None, kind: str | None = None
) -> tuple[str, ...]:
    """`n` devices of one kind in the order of the ring whose weakest neighbours have the greatest bandwidth.

    Within a node it is the first such ring through its first device, in the order of names. Rings over several nodes pass through
    the nodes one after another. Routes are judged one by one, as if the others were idle. Raises `HwError` when the system has
    fewer than `n` devices.
    """
    t, group = topology or Topology(system), system.group(kind or system.prefix)
    places = system.places_of(group.kind)
    n = len(places) if n is None else n
    if not 1 <= n <= len(places):
        raise HwError(f"system {system.name!r} has {len(places)} devices; a ring of {n} does not fit")
    if n > group.count:
        whole = tuple(p.split("/")[-1] for p in _best_ring(t, places[: group.count], group.count))
        return tuple(system.at(k, p) for k in range(system.nodes) for p in whole)[:n]
    return _best_ring(t, places[: group.count], n)


def _best_ring(t: Topology, places: Sequence[str], n: int) -> tuple[str, ...]:
    """The first ring of `n` of these places whose neighbours all reach the greatest bandwidth for which there is one."""
    if n == 1:
        return (places[0],)
    bandwidth = {(a, b): t.bandwidth(a, b) for a in places for b in places if a != b}
    for least in sorted(set(bandwidth.values()), reverse=True):
        joined = {a: [b for b in places if b != a and bandwidth[a, b] >= least] for a in places}
        if (ring := _ring(joined, places[0], n)) is not None:
            return ring
    raise HwError(f"system {t.system.name!r}: {n} devices cannot be joined to a ring")


def _ring(joined: dict[str, list[str]], first: str, n: int) -> tuple[str, ...] | None:
    """A ring of `n` vertices through `first`, depth first; None when there is none."""
    if len(_reached(joined, first)) < n:
        return None
    stack: list[tuple[str, ...]] = [(first,)]
    while stack:
        path = stack.pop()
        if len(path) == n:
            if first in joined[path[-1]]:
                return path
            continue
        stack += [(*path, p) for p in reversed(joined[path[-1]]) if p not in path]
    return None


def _reached(joined: dict[str, list[str]], first: str) -> set[str]:
    """What can be come to from `first`."""
    found, new = {first}, [first]
    while new:
        a = new.pop()
        fresh = [b for b in joined[a] if b not in found]
        found.update(fresh)
        new += fresh
    return found
