"""Algorithms of collectives: the record, the registry, and what an algorithm's program may use of its group.

An algorithm sees relative peers and relative parts only, so one program serves every rank, and like ranks can be folded. The
algorithms themselves are in `graph.parallel.collectives`, one a file.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum

from graph.errors import InvalidPlan
from graph.parallel.instruction import Collective, Instruction, Peer, Recv, Ref, Send
from graph.record import record
from graph.registry import Registry


class Operation(StrEnum):
    """What a collective leaves behind, in place; part i is what rank i of the group owns."""

    ALL_REDUCE = "all_reduce"  # the sum, everywhere
    REDUCE_SCATTER = "reduce_scatter"  # part i of the sum, at rank i
    ALL_GATHER = "all_gather"  # part i of rank i, everywhere
    BROADCAST = "broadcast"  # what the root has, everywhere
    REDUCE = "reduce"  # the sum, at the root


@record
class Algorithm:
    """A collective: its program over a `Group`, beside it its closed form.

    Parameters
    ----------
    program : group -> its sends and receives, in order.
    seconds : (ranks, nbytes, latency seconds, bytes per second) -> seconds on an idle, uniform network, where every rank has one
        port out and one port in; None: no closed form. `nbytes` is a multiple of the ranks when the buffer `is_cut`.
    transfers : ranks -> transfers in the whole group.
    symmetric : the same for every index: it may not look at `Group.i`, and like ranks can be folded.
    operation : what it leaves behind.
    is_cut : it cuts the buffer into one part a rank and moves parts; else it moves whole buffers.
    is_direct : every rank sends to every other, so its bandwidth is what a rank has while all send to all; else what it has while
        all send to the next.
    accepts : ranks -> whether a group of that size can play it.
    """

    program: Callable[["Group"], Iterator[Instruction]]
    seconds: Callable[[int, int, float, float], float | None]
    transfers: Callable[[int], int]
    symmetric: bool = True
    operation: Operation = Operation.ALL_REDUCE
    is_cut: bool = False
    is_direct: bool = False
    accepts: Callable[[int], bool] = lambda ranks: ranks >= 1


COLLECTIVES: Registry[Algorithm] = Registry("collective")


class Group:
    """What a collective's program may use: the number of ranks, relative peers and relative parts.

    Parameters
    ----------
    c : the collective.
    i, n : my index, and how many ranks there are.
    """

    def __init__(self, c: Collective, i: int, n: int) -> None:
        algorithm = COLLECTIVES[c.algorithm]
        self._c, self._i, self.n = c, i, n
        self._symmetric = algorithm.symmetric
        if not algorithm.accepts(self.n):
            able = [name for name, a in COLLECTIVES.items() if a.operation is algorithm.operation and a.accepts(self.n)]
            raise InvalidPlan(
                f"collective {c.algorithm!r} cannot be played by {self.n} ranks; these can: {', '.join(able) or 'none'}"
            )

    @property
    def beyond(self) -> int:
        """How many places beyond the root I am; refused as `i` is."""
        return (self.i - self._c.root) % self.n

    @property
    def i(self) -> int:
        """My index; refused to algorithms that are declared symmetric, since those are folded."""
        if self._symmetric:
            raise InvalidPlan(f"collective {self._c.algorithm!r} is declared symmetric: it may not look at its index")
        return self._i

    def _ref(self, part: int, parts: int, turn: bool) -> Ref:
        w = self._c.what
        return Ref(w.buffer, w.index, part, parts, self._c.along if turn else ())

    def send(self, by: int, hop: int, part: int = 0, parts: int = 1, turn: bool = False) -> Send:
        """Send a part to the rank `by` places further; with `turn`, parts are counted from my index."""
        to = Peer(None, self._c.along, by)
        return Send(tag=(*self._c.id, hop), what=self._ref(part, parts, turn), to=to, lane=self._c.on)

    def recv(self, by: int, hop: int, part: int = 0, parts: int = 1, turn: bool = False, add: bool = False) -> Recv:
        """Receive a part from the rank `by` places further."""
        source = Peer(None, self._c.along, by)
        return Recv(tag=(*self._c.id, hop), into=self._ref(part, parts, turn), source=source, lane=self._c.on, add=add)
