"""Reduce: every rank sends the whole buffer to the root, which adds them up in turn; n - 1 transfers, all through its port in.

The transpose of `broadcast`. The order of the sum is that of the ranks beyond the root.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.collectives.broadcast import seconds
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """Hop s comes from the rank s + 1 places beyond the root."""
    if g.beyond == 0:
        yield from (g.recv(s + 1, s, add=True) for s in range(g.n - 1))
    else:
        yield g.send(-g.beyond, g.beyond - 1)


REDUCE = Algorithm(program=hops, seconds=seconds, transfers=lambda ranks: ranks - 1, symmetric=False, operation=Operation.REDUCE)
