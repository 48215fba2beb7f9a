"""Collectives at closed-form detail: one event for a whole group, at the time its last rank has come.

The record of such a collective is a parent with one leaf, ``(..., "send")``, which carries the bytes that the rank sends in all,
so that bytes and communication are counted the same way at every detail. Collectives of one group that are under way at the same
time (on several streams) share its ports, where each keeps all of them busy: the later one ends as if it had waited for the
earlier.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable

from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.closed_form import collective_seconds
from graph.parallel.machine import Action
from graph.parallel.plan import Collective, Path, Peer, Plan, Rank, Send
from sim.model import SystemModel


class ClosedForms:
    """Prices collectives, and gathers the ranks of a group.

    Parameters
    ----------
    plan, model : what is played, and on what.
    every : price every collective that has a closed form.
    algorithms : else the names of those that are priced.
    """

    def __init__(self, plan: Plan, model: SystemModel, *, every: bool, algorithms: frozenset[str]) -> None:
        self.plan, self.model, self.every, self.algorithms = plan, model, every, algorithms
        self._terms: dict[tuple[Rank, tuple[str, ...], bool], tuple[float, float]] = {}
        self._players: dict[tuple[Rank, tuple[str, ...]], frozenset[Rank]] = {}
        self._sent: dict[Hashable, int] = {}
        self._here: dict[tuple[frozenset[Rank], Path], list[Action]] = defaultdict(list)
        self._free: dict[tuple[frozenset[Rank], tuple[str, ...]], float] = {}

    def seconds(self, rank: Rank, c: Collective) -> float | None:
        """Seconds by closed form; None: it is to be played."""
        if not self.every and c.algorithm not in self.algorithms:
            return None
        return collective_seconds(self.plan, rank, c, *self._link(rank, c))

    def _link(self, rank: Rank, c: Collective) -> tuple[float, float]:
        """(latency, bytes per second) that the closed form counts on."""
        first = self.plan.peer(rank, Peer(None, c.along, -self.plan.index(rank, c.along)[0]))
        key = first, c.along, COLLECTIVES[c.algorithm].is_direct
        if key not in self._terms:
            self._terms[key] = self.model.group(self.plan.group(*key[:2]), key[2])
        return self._terms[key]

    def is_priced(self, rank: Rank, c: Collective) -> bool:
        """Whether it is one event."""
        return self.seconds(rank, c) is not None

    def arrive(self, a: Action, c: Collective, rep: Callable[[Rank], Rank]) -> list[Action] | None:
        """A rank has come; when it is the last of its group, everyone's actions. `rep`: rank -> the rank that plays for it."""
        key = a.machine.rank, c.along
        if key not in self._players:
            self._players[key] = frozenset(map(rep, self.plan.group(*key)))
        players = self._players[key]
        here = self._here[players, a.id]
        here.append(a)
        return self._here.pop((players, a.id)) if len(here) == len(players) else None

    def queued(self, rank: Rank, c: Collective, seconds: float, now: float) -> float:
        """Seconds until a collective ends that all its ranks begin now: the bytes of a group's collectives go in turn."""
        if not COLLECTIVES[c.algorithm].symmetric:  # from a root or to it: most ports are idle
            return seconds
        key = self._players[rank, c.along], c.along
        wait = max(self._free.get(key, 0.0) - now, 0.0)
        busy = collective_seconds(self.plan, rank, c, 0.0, self._link(rank, c)[1]) or 0.0
        self._free[key] = now + wait + busy
        return wait + seconds

    def nbytes_sent(self, rank: Rank, c: Collective) -> int:
        """Bytes that a rank sends in a collective, counted from its program once for all buffers of a size."""
        size, is_symmetric = self.plan.extent(rank, c.what)[1], COLLECTIVES[c.algorithm].symmetric
        is_even = is_symmetric and not size % self.plan.index(rank, c.along)[1]
        who, root = rank.role if is_even else rank, None if is_symmetric else c.root
        key = who, c.algorithm, c.along, root, size, self.plan.buffer(rank, c.what.buffer).itemsize
        if key not in self._sent:
            instructions = self.plan.transfers(rank, c)
            self._sent[key] = sum(self.plan.nbytes(rank, i.what) for i in instructions if isinstance(i, Send))
        return self._sent[key]
