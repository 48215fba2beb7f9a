"""What the transfers of ranks that play for others stand for: whose letters they are, and how much of which links they take.

Transfers are alike when the same letters go from ranks of one class to ranks of one class over links of one class. When like
transfers cross the n links of a class f times, and the rank that plays makes r of them, each of these weighs f / (r n) on the one
link that plays for all. Where that is no whole number (a server has a way to each of its workers, one of these plays) the link is
made wider, so that all weights are whole; then what a single link can do is a limit of its own.
"""

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import numpy as np

from graph.parallel.plan import Peer, Rank
from sim.model import Link
from sim.network import Weighted

Colours = np.ndarray[Any, np.dtype[np.uint64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]
Key = tuple[Rank, Peer | Rank]  # a rank that plays, and whom it sends to


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


class Way:
    """What the ranks of a role mean by a peer.

    Parameters
    ----------
    mine, to : numbers of the ranks, and of who is meant.
    traits : what else is to be said of each pair.
    links : over which they send, in order (-1: none; padded); None: they only receive.
    kind : a number that ways share when the same letters come and go over them, and go on a stream of their own.
    """

    def __init__(self, mine: Indices, to: Indices, traits: Indices, links: Indices | None, kind: int) -> None:
        self.mine, self.to, self.traits, self.links, self.kind = mine, to, traits, links, kind


class OwnLink(NamedTuple):
    """A link as like transfers of one rank use it, without all others."""

    link: Link
    rank: Rank
    to: Peer | Rank


class Routes:
    """Sources and routes of the transfers of ranks that play.

    Parameters
    ----------
    ranks : of the plan.
    classes : the class of each.
    players : of each class the number of the rank that plays for it.
    ways : (role, peer) -> way.
    links : the links, in the order of their numbers.
    link_colours : of each, and one more for none.

    Attributes
    ----------
    sources : (rank that plays, peer) -> the ranks like it whose letters come to whoever plays for the peer, when it sends one.
    routes : the same -> links, by the first of their class, and weights.
    wide : link -> how many of its kind it stands for at once, where that is not 1.
    """

    def __init__(
        self,
        *,
        ranks: Sequence[Rank],
        classes: Indices,
        players: Indices,
        ways: Mapping[tuple[str, Peer | Rank], Way],
        links: Sequence[Link],
        link_colours: Colours,
    ) -> None:
        self.sources: dict[Key, tuple[Rank, ...]] = {}
        self.routes: dict[Key, Weighted] = {}
        self.wide: dict[Link, int] = {}
        self._ranks, self._classes, self._players = ranks, classes, players
        _, one, self._alike, self._many = np.unique(link_colours, return_index=True, return_inverse=True, return_counts=True)
        self._weights: dict[Key, list[tuple[int, Fraction, int]]] = {}  # (class of links, weight, like transfers on one link)
        for role in dict.fromkeys(role for role, _ in ways):
            self._of_role([(peer, w) for (r, peer), w in ways.items() if r == role])
        wide: dict[int, int] = {}
        for weights in self._weights.values():
            for c, weight, _ in weights:
                wide[c] = lcm(wide.get(c, 1), weight.denominator)
        names = [links[k] if k < len(links) else None for k in one]
        self.wide = {names[c]: n for c, n in wide.items() if n > 1}
        for key, weights in self._weights.items():
            shared = [(names[c], int(weight * wide[c])) for c, weight, _ in weights]
            own = [(OwnLink(names[c], *key), n) for c, _, n in weights if wide[c] > 1]
            self.routes[key] = (*shared, *own)

    def _of_role(self, ways: Sequence[tuple[Peer | Rank, Way]]) -> None:
        """All transfers of a role, a row each, in groups of like ones."""
        sent = [(peer, w, w.links) for peer, w in ways if w.links is not None]
        if not sent:
            return
        mine, to, traits = (np.concatenate([getattr(w, name) for _, w, _ in sent]) for name in ("mine", "to", "traits"))
        links = np.vstack([found for _, _, found in sent])
        number = np.repeat(np.arange(len(sent)), [len(w.mine) for _, w, _ in sent])
        kinds = np.array([w.kind for _, w, _ in sent])[number]
        colour = mix(self._classes[mine], kinds, traits, self._classes[to], *self._alike[links].T)
        _, group = np.unique(colour, return_inverse=True)
        order = np.argsort(group, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            played = members[mine[members] == self._players[self._classes[mine[members[0]]]]]
            dst = self._players[self._classes[to[members[0]]]]
            copies = tuple(self._ranks[k] for k in mine[members[to[members] == dst]])
            weights = self._of_group(links[members], links[played[0]], len(played))
            for k, row in enumerate(played):
                key = self._ranks[mine[row]], sent[number[row]][0]
                self.sources[key], self._weights[key] = () if k else copies, weights

    def _of_group(self, links: Indices, path: Indices, played: int) -> list[tuple[int, Fraction, int]]:
        """What one of the played transfers weighs on each class of links of its path."""
        among, found = np.where(links >= 0, self._alike[links], -1), dict[int, tuple[int, Fraction, int]]()
        for x in path[path >= 0]:
            c = int(self._alike[x])
            weight = Fraction(int(np.sum(among == c)), played * int(self._many[c]))
            found.setdefault(c, (c, weight, int(np.sum(links == x))))
        return list(found.values())


class Numbers:
    """Small numbers for things that are equal or not, in the order in which they came."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, thing: Hashable) -> int:
        """Its number."""
        return self._known.setdefault(thing, len(self._known))
