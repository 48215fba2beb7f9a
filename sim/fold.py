"""Which ranks are alike: the coarsest partition in which alike ranks have alike devices, peers, groups and links.

Colour refinement (Weisfeiler & Leman, 1968): ranks start with the colour of their role and device (and of what a run does
to them: a straggler has its own); ranks whose peers, groups or links differ in colour are split until nothing splits. One rank
of each class plays; its letters go to the class of the receiver, its flows weigh on a link as often as its class uses it. A
letter that the whole class sends to one rank (workers to a server) comes to it from each of them.

Who is served first is not like who is served last: a stream that sends to several peers in turn tells them apart. Peers that have
a stream each are served alike when the same letters go to them. In which order a rank takes letters in is not looked at: where
those of unlike ranks come at unlike times, folded is unfolded only nearly.

Parts of a buffer that is not a multiple of the ranks differ by one element; ranks that differ only in that are taken as alike.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np

from graph.parallel.plan import Collective, Do, Peer, Plan, Rank
from sim.input import INPUT
from sim.model import Link, SystemModel
from sim.network import Weighted
from sim.relations import EVERYWHERE, Relations
from sim.routes import Colours, Indices, Numbers, OwnLink, Routes, Way, mix, total


class Unfolded:
    """Every rank plays itself."""

    def __init__(self, plan: Plan, model: SystemModel) -> None:
        self.reps: tuple[Rank, ...] = plan.ranks
        self.sizes: Mapping[Rank, int] = dict.fromkeys(plan.ranks, 1)
        self._model = model
        self._routes: dict[tuple[Rank, Rank], Weighted] = {}
        self.wide: Mapping[Link, int] = {}

    def capacity(self, link: Link) -> float:
        """Bytes per second of a link of a route."""
        return self._model.capacity(link)

    def rep(self, rank: Rank) -> Rank:
        """The rank that plays for this one."""
        return rank

    def sources(self, source: Rank, to: Peer | Rank) -> tuple[Rank, ...]:
        """The ranks for which a letter stands that `source` sends to the one it calls `to`: itself."""
        return (source,)

    def route(self, source: Rank, peer: Rank, to: Peer | Rank) -> Weighted:
        """The links of a transfer to `peer`, which the program calls `to`, and how often like transfers use them."""
        known = self._routes.get((source, peer))
        if known is None:
            known = self._routes[source, peer] = tuple((link, 1) for link in self._model.route(source, peer))
        return known


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
    wide : link -> how many of its kind it stands for at once, where transfers are spread over them.
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
        self._ways: dict[tuple[str, Peer | Rank], Way] = {}
        self._groups: list[tuple[Indices, Indices]] = []
        self._numbers = Numbers()
        self._crowd = Counter(map(model.place, plan.ranks))
        colour = self._first_colours(is_priced, marked or {})
        self._capacity = np.array([self._numbers.of(("capacity", model.capacity(x))) for x in self._links] + [0], np.uint64)
        colour, link_colours = self._refine(colour)
        _, first, self.classes = np.unique(colour, return_index=True, return_inverse=True)
        self.reps: tuple[Rank, ...] = tuple(plan.ranks[k] for k in np.sort(first))
        self._rep = [plan.ranks[int(k)] for k in first]
        self._player: Mapping[Rank, Rank] = {r: self._rep[k] for r, k in zip(plan.ranks, self.classes.tolist(), strict=True)}
        self.sizes: Mapping[Rank, int] = dict(zip(self._rep, np.bincount(self.classes).tolist(), strict=True))
        self._routes = Routes(
            ranks=plan.ranks,
            classes=self.classes,
            players=first,
            ways=self._ways,
            links=list(self._links),
            link_colours=link_colours,
        )
        self.wide: Mapping[Link, int] = self._routes.wide

    def rep(self, rank: Rank) -> Rank:
        """The rank that plays for this one."""
        return self._player[rank]

    def capacity(self, link: Link) -> float:
        """Bytes per second of a link of a route; of one that stands for several, of all of them."""
        if isinstance(link, OwnLink):
            return self.model.capacity(link.link)
        return self.model.capacity(link) * self.wide.get(link, 1)

    def sources(self, source: Rank, to: Peer | Rank) -> tuple[Rank, ...]:
        """The ranks like `source` for whose letters its own stands: those that send to the rank that plays for `to`."""
        return self._routes.sources[source, to]

    def route(self, source: Rank, peer: Rank, to: Peer | Rank) -> Weighted:
        """The links of a transfer of a playing rank, and how often transfers of its class use them."""
        return self._routes.routes[source, to]

    def _first_colours(self, is_priced: Callable[[Rank, Collective], bool], marked: Mapping[Rank, Hashable]) -> Colours:
        """Role, device (what the model says of a rank), marks, and the index where an algorithm looks at it.

        Notes who is related to whom on the way.
        """
        plan, ranks = self.plan, self.plan.ranks
        colour = np.zeros(len(ranks), np.uint64)
        for role in plan.roles:
            found = Relations(plan, role, is_priced)
            alone = found.alone
            mine = np.array([k for k, r in enumerate(ranks) if r.role == role.name])
            own = (self._answers(ranks[m], found.kernels.values()) for m in mine)
            colour[mine] = [self._numbers.of((role.name, marked.get(ranks[m]), a)) for m, a in zip(mine, own, strict=True)]
            for peer, places in found.users.items():
                users = mine
                if EVERYWHERE not in places:
                    users = np.array([m for m in mine if any(plan.index(ranks[m], along)[0] == k for along, k in places)])
                is_sent, letters = peer in found.sent, (tuple(found.sent.get(peer, ())), tuple(found.heard.get(peer, ())))
                kind = "way", role.name, *letters, peer if is_sent and peer not in alone else None
                self._ways[role.name, peer] = self._way(users, peer, is_sent, kind)
            for along, is_direct in found.groups:
                starts = (Peer(None, along, -plan.index(ranks[m], along)[0]) for m in mine)
                first = np.array([self._number[plan.peer(ranks[m], p)] for m, p in zip(mine, starts, strict=True)])
                self._groups.append((mine, first))
                traits = {int(f): self.model.group(plan.group(ranks[f], along), is_direct) for f in dict.fromkeys(first)}
                colour[mine] = mix(colour[mine], [self._numbers.of(("group", traits[int(f)])) for f in first])
            for along in found.indexed:
                colour[mine] = mix(colour[mine], [plan.index(ranks[m], along)[0] for m in mine])
        widest = max((w.links.shape[1] for w in self._ways.values() if w.links is not None), default=0)
        for w in self._ways.values():
            if w.links is not None:
                w.links = np.pad(w.links, ((0, 0), (0, widest - w.links.shape[1])), constant_values=-1)
        return colour

    def _answers(self, rank: Rank, kernels: Iterable[Do]) -> tuple[object, ...]:
        """What the model says of a rank alone."""
        m, depth = self.model, self.model.input_depth(rank)
        alone = None if self._crowd[m.place(rank)] == 1 else rank  # who shares engines is like nobody else
        host = m.launch_depth(rank), m.memory_bytes(rank), m.memory_capacity_bytes(rank), depth, m.contention(rank), alone
        kernels = list(kernels)
        batches = [m.input_seconds(rank, do) for do in kernels if depth and do.kernel == INPUT]
        each = ((m.compute_seconds(rank, do), m.launch_seconds(rank, do), m.engine(rank, do.on)) for do in kernels)
        return *host, *batches, *each

    def _way(self, mine: Indices, peer: Peer | Rank, is_sent: bool, kind: Hashable) -> Way:
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
        if any(by_core for _, by_core, _ in seconds):  # a core serves one stream after another
            kind = "way of a core", kind, peer
        return Way(mine, np.array([self._number[t] for t in to]), np.array(traits), links, self._numbers.of(kind))

    def _refine(self, colour: Colours) -> tuple[Colours, Colours]:
        """Split until nothing splits: (colours of ranks, of links)."""
        classes = 0
        while True:
            link = self._colour_links(colour)
            found = len(np.unique(colour))
            if found == classes:
                return colour, link
            classes, columns = found, [colour]
            to, served = (np.zeros(len(colour), np.uint64) for _ in range(2))
            for way in self._ways.values():
                path = [] if way.links is None else list(link[way.links].T)
                to += self._spread(way.mine, mix(way.kind, way.traits, colour[way.to], *path))
                if way.links is not None:
                    served += total(mix(colour[way.mine], way.kind), way.to, len(colour))
            for mine, at in self._groups:
                columns.append(self._spread(mine, total(colour[mine], at, len(colour))[at]))
            colour = mix(*columns, to, served)

    def _spread(self, mine: Indices, values: Colours) -> Colours:
        """A column for all ranks that is 0 outside one role."""
        column = np.zeros(len(self.plan.ranks), np.uint64)
        column[mine] = values
        return column

    def _colour_links(self, colour: Colours) -> Colours:
        """A link's colour is its capacity, and the multiset of the transfers that use it; the last entry is no link."""
        link = mix(self._capacity)
        for way in self._ways.values():
            for hop, used in enumerate([] if way.links is None else way.links.T):
                link += total(mix(colour[way.mine], way.kind, hop), used, len(link))
        link[-1] = 0
        return link
