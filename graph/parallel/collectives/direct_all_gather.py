"""Direct all-gather: everybody sends its own part straight to every other rank; n (n - 1) transfers of a part.

The other half of `graph.parallel.collectives.direct`; see `graph.parallel.collectives.direct_reduce_scatter`.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.collectives.direct_reduce_scatter import seconds
from graph.parallel.plan import Instruction


def hops(g: Group, first: int = 0) -> Iterator[Instruction]:
    """In hop s a rank sends its part to the one s + 1 places before it; hops are numbered from `first`."""
    for s in range(1, g.n):
        yield g.send(-s, first + s - 1, parts=g.n, turn=True)
        yield g.recv(+s, first + s - 1, part=s, parts=g.n, turn=True)


DIRECT_ALL_GATHER = Algorithm(
    program=hops,
    seconds=seconds,
    transfers=lambda ranks: ranks * (ranks - 1),
    operation=Operation.ALL_GATHER,
    is_cut=True,
    is_direct=True,
)
