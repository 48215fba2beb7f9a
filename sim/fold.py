"""Which ranks are alike: the coarsest partition in which alike ranks have alike devices, peers, groups and links.

Colour refinement (Weisfeiler & Leman, 1968): ranks start with the colour of their role and device (and of what a run does
to them: a straggler has its own); ranks whose peers, groups or links differ in colour are split until nothing splits. One rank
of each class plays; its letters go to the class of the receiver, its flows weigh on a link as often as its class uses it.

Parts of a buffer that is not a multiple of the ranks differ by one element; ranks that differ only in that are taken as alike.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from graph.parallel.collectives import COLLECTIVES
from graph.parallel.plan import Collective, Do, Instruction, Peer, Plan, Rank, Recv, Role, Send
from sim.errors import SimError
from sim.model import Link, SystemModel
from sim.network import Weighted

Colours = np.ndarray[Any, np.dtype[np.uint64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]
Place = tuple[tuple[str, ...], int]  # axes, and an index along them
EVERYWHERE: Place = ((), 0)


class Unfolded:
    """Every rank plays itself."""

    def __init__(self, plan: Plan, model: SystemModel) -> None:
        self.reps: tuple[Rank, ...] = plan.ranks
        self.sizes: Mapping[Rank, int] = dict.fromkeys(plan.ranks, 1)
        self._model = model
        self._routes: dict[tuple[Rank, Rank], Weighted] = {}

    def rep(self, rank: Rank) -> Rank:
        """The rank that plays for this one."""
        return rank

    def route(self, source: Rank, peer: Rank, to: Peer | Rank) -> Weighted:
        """The links of a transfer to `peer`, which the program calls `to`, and how often like transfers use them."""
        known = self._routes.get((source, peer))
        if known is None:
            known = self._routes[source, peer] = tuple((link, 1) for link in self._model.route(source, peer))
        return known


class Relations:
    """The distinct peers, groups and kernels that a role's program names, found by running it once, unplayed.

    Raises `SimError` when the program waits for answers: then what it does next depends on the rank.
    """

    def __init__(self, plan: Plan, role: Role, is_priced: Callable[[Rank, Collective], bool]) -> None:
        self.sent: set[Peer | Rank] = set()
        self.users: dict[Peer | Rank, dict[Place, None]] = {}  # which ranks of the role send to a peer or receive from it
        self.groups: dict[tuple[str, ...], None] = {}  # along which collectives are one event
        self.kernels: dict[tuple[str, str], Do] = {}  # the first of each kernel on each stream
        self.indexed: dict[tuple[str, ...], None] = {}  # along which no two ranks are alike
        self._plan, self._me, self._is_priced = plan, plan.first_rank(role.name), is_priced
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        for i in plan.start(self._me):
            self._visit(i)

    def _visit(self, i: Instruction) -> None:
        if i.wait or (isinstance(i, Recv) and isinstance(i.source, str)):
            id = "/".join(map(str, i.id))
            raise SimError(f"role {self._me.role!r} waits for answers ({id}), so its ranks cannot be folded")
        if isinstance(i, Do):
            self.kernels.setdefault((i.kernel, i.on), i)
        elif isinstance(i, Collective):
            if (i.algorithm, i.along) not in self._seen:
                self._seen.add((i.algorithm, i.along))
                self._visit_collective(i)
        else:
            self._note(i, EVERYWHERE)

    def _visit_collective(self, c: Collective) -> None:
        algorithm = COLLECTIVES[c.algorithm]
        if self._is_priced(self._me, c):
            self.groups[c.along] = None
        elif algorithm.symmetric:
            for i in self._plan.transfers(self._me, c):
                self._note(i, EVERYWHERE)
        else:
            self.indexed[c.along] = None
            for k, rank in enumerate(self._plan.group(self._me, c.along)):
                for i in self._plan.transfers(rank, c):
                    self._note(i, (c.along, k))

    def _note(self, i: Instruction, place: Place) -> None:
        """An instruction of the ranks with this index along these axes (all ranks: along none)."""
        if isinstance(i, Send):
            self.sent.add(i.to)
            self.users.setdefault(i.to, {})[place] = None
        elif isinstance(i, Recv) and not isinstance(i.source, str):
            self.users.setdefault(i.source, {})[place] = None


def mix(*columns: Any) -> Colours:
    """One colour of several (splitmix64; Steele, Lea & Flood, OOPSLA 2014)."""
    h = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for c in columns:
            h = (h ^ np.asarray(c).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = h ^ (h >> np.uint64(31))
    return h


def total(colours: Colours, keys: Indices, n: int) -> Colours:
    """A colour for the multiset of colours under each key."""
    out = np.zeros(n, np.uint64)
    np.add.at(out, keys, mix(colours))
    return out


class _Numbers:
    """Small numbers for things that are equal or not, in the order in which they came."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, thing: Hashable) -> int:
        return self._known.setdefault(thing, len(self._known))


class _Way:
    """What the ranks of a role mean by a peer: who it is, and over which links (-1: none; padded)."""

    def __init__(self, mine: Indices, to: Indices, traits: Indices, links: Indices | None) -> None:
        self.mine, self.to, self.traits, self.links = mine, to, traits, links


class Fold:
    """Classes of like ranks.

    Parameters
    ----------
    plan, model : what is played, and on what.
    is_priced : (rank, collective) -> whether it is one event.
    marked : rank -> what sets it apart.

    Attributes
    ----------
    reps : the first rank of each class, in the plan's order.
    sizes : rank that plays -> ranks in its class.
    """

    def __init__(
        self,
        plan: Plan,
        model: SystemModel,
        *,
        is_priced: Callable[[Rank, Collective], bool] = lambda rank, c: False,
        marked: Mapping[Rank, Hashable] | None = None,
    ) -> None:
        self.plan, self.model = plan, model
        self._rep: list[Rank] = []
        self._number = {r: k for k, r in enumerate(plan.ranks)}
        self._links: dict[Link, int] = {}
        self._ways: dict[tuple[str, Peer | Rank], _Way] = {}
        self._groups: list[tuple[Indices, Indices]] = []
        self._numbers = _Numbers()
        self._routes: dict[tuple[Rank, Peer | Rank], Weighted] = {}
        colour = self._first_colours(is_priced, marked or {})
        self._capacity = np.array([self._numbers.of(("capacity", model.capacity(x))) for x in self._links] + [0], np.uint64)
        colour, self._link_colour = self._refine(colour)
        _, first, self.classes = np.unique(colour, return_index=True, return_inverse=True)
        self.reps: tuple[Rank, ...] = tuple(plan.ranks[k] for k in np.sort(first))
        self._rep = [plan.ranks[int(k)] for k in first]
        self.sizes: Mapping[Rank, int] = dict(zip(self._rep, np.bincount(self.classes).tolist(), strict=True))
        self._find_routes()

    def rep(self, rank: Rank) -> Rank:
        """The rank that plays for this one."""
        return self._rep[int(self.classes[self._number[rank]])]

    def route(self, source: Rank, peer: Rank, to: Peer | Rank) -> Weighted:
        """The links of a transfer of a playing rank, and how often transfers of its class use them."""
        return self._routes[source, to]

    def _first_colours(self, is_priced: Callable[[Rank, Collective], bool], marked: Mapping[Rank, Hashable]) -> Colours:
        """Role, device (what the model says of a rank), marks, and the index where an algorithm looks at it.

        Notes who is related to whom on the way.
        """
        plan, ranks = self.plan, self.plan.ranks
        colour = np.zeros(len(ranks), np.uint64)
        for role in plan.roles:
            found = Relations(plan, role, is_priced)
            mine = np.array([k for k, r in enumerate(ranks) if r.role == role.name])
            own = (self._answers(ranks[m], found.kernels.values()) for m in mine)
            colour[mine] = [self._numbers.of((role.name, marked.get(ranks[m]), a)) for m, a in zip(mine, own, strict=True)]
            for peer, places in found.users.items():
                users = mine
                if EVERYWHERE not in places:
                    users = np.array([m for m in mine if any(plan.index(ranks[m], along)[0] == k for along, k in places)])
                self._ways[role.name, peer] = self._way(users, peer, peer in found.sent)
            for along in found.groups:
                starts = (Peer(None, along, -plan.index(ranks[m], along)[0]) for m in mine)
                first = np.array([self._number[plan.peer(ranks[m], p)] for m, p in zip(mine, starts, strict=True)])
                self._groups.append((mine, first))
                traits = [self._numbers.of(("group", self.model.group(plan.group(ranks[f], along)))) for f in first]
                colour[mine] = mix(colour[mine], traits)
            for along in found.indexed:
                colour[mine] = mix(colour[mine], [plan.index(ranks[m], along)[0] for m in mine])
        return colour

    def _answers(self, rank: Rank, kernels: Iterable[Do]) -> tuple[object, ...]:
        """What the model says of a rank alone."""
        m = self.model
        host = m.launch_depth(rank), m.memory_bytes(rank), m.memory_capacity_bytes(rank), m.input_depth(rank), m.contention(rank)
        return *host, *((m.compute_seconds(rank, do), m.launch_seconds(rank, do), m.engine(rank, do.on)) for do in kernels)

    def _way(self, mine: Indices, peer: Peer | Rank, is_sent: bool) -> _Way:
        """Where the transfers of a role to a peer go; of what is only received, only from whom."""
        ranks, model = self.plan.ranks, self.model
        to = [self.plan.peer(ranks[m], peer) for m in mine]
        pairs = [(ranks[m], t) for m, t in zip(mine, to, strict=True)]
        probe = 1 << 20  # bytes
        seconds = [(model.latency(*p), model.send_seconds(*p, probe), model.recv_seconds(*p, probe, add=True)) for p in pairs]
        traits = [self._numbers.of(s) for s in seconds]
        links = None
        if is_sent:
            paths = [[self._links.setdefault(x, len(self._links)) for x in model.route(*p)] for p in pairs]
            wide = max(map(len, paths))
            links = np.array([p + [-1] * (wide - len(p)) for p in paths], np.int64).reshape(len(paths), wide)
        return _Way(mine, np.array([self._number[t] for t in to]), np.array(traits), links)

    def _refine(self, colour: Colours) -> tuple[Colours, Colours]:
        """Split until nothing splits: (colours of ranks, of links)."""
        classes = 0
        while True:
            link = self._colour_links(colour)
            found = len(np.unique(colour))
            if found == classes:
                return colour, link
            classes, columns = found, [colour]
            for salt, way in enumerate(self._ways.values()):
                path = [] if way.links is None else list(link[way.links].T)
                columns.append(self._spread(way.mine, mix(salt, way.traits, colour[way.to], *path)))
            for mine, at in self._groups:
                columns.append(self._spread(mine, total(colour[mine], at, len(colour))[at]))
            colour = mix(*columns)

    def _spread(self, mine: Indices, values: Colours) -> Colours:
        """A column for all ranks that is 0 outside one role."""
        column = np.zeros(len(self.plan.ranks), np.uint64)
        column[mine] = values
        return column

    def _colour_links(self, colour: Colours) -> Colours:
        """A link's colour is its capacity, and the multiset of the transfers that use it; the last entry is no link."""
        link = mix(self._capacity)
        for salt, way in enumerate(self._ways.values()):
            for hop, used in enumerate([] if way.links is None else way.links.T):
                link += total(mix(colour[way.mine], salt, hop), used, len(link))
        link[-1] = 0
        return link

    def _find_routes(self) -> None:
        """For each rank that plays and each peer: its links, by their first like link, with their weights."""
        names: list[Link] = [*self._links, None]
        _, one, alike = np.unique(self._link_colour, return_index=True, return_inverse=True)
        for (role, peer), way in self._ways.items():
            if way.links is None:
                continue
            for rep in (r for r in self.reps if r.role == role):
                me = self._number[rep]
                like = way.links[self.classes[way.mine] == self.classes[me]]
                if not len(like):
                    continue
                path = way.links[np.searchsorted(way.mine, me)]
                self._routes[rep, peer] = tuple((names[one[alike[x]]], int(np.sum(like == x))) for x in path if x >= 0)
