"""Reduce-scatter over a ring: n - 1 hops, after which rank i holds part i of the sum.

Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", J. Parallel and Distributed
Computing 69 (2009), section 3.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.collectives.all_gather import seconds
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """In hop s a rank sends the part s + 1 places behind its own, and adds to the one before that.

    So the part that a rank owns comes last, with everybody's contribution in it; the order of the sum is the order of the ring.
    """
    for s in range(g.n - 1):
        yield g.send(+1, s, part=-s - 1, parts=g.n, turn=True)
        yield g.recv(-1, s, part=-s - 2, parts=g.n, turn=True, add=True)


REDUCE_SCATTER = Algorithm(
    program=hops,
    seconds=seconds,
    transfers=lambda ranks: ranks * (ranks - 1),
    operation=Operation.REDUCE_SCATTER,
    is_cut=True,
)
