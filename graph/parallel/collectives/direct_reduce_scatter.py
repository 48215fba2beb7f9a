"""Direct reduce-scatter: everybody sends its part j straight to rank j, which adds up what it gets.

It takes n (n - 1) transfers of one part, and one latency where a ring has n - 1 of them; but every rank talks to every other, so
the network must have room for that. Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
in MPICH", Int. J. High Performance Computing Applications 19 (2005), section 4.4 (pairwise exchange).
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """In hop s a rank sends to the one s + 1 places before it and adds what comes from the one s + 1 places behind it.

    So in each hop every port is used once, and part i is added up in the order of ranks i, i + 1 ... n - 1, 0 ... i - 1: the
    order of ranks, begun at its owner. Begun at rank 0 everywhere it would need room for what comes early, and ranks that differ.
    """
    for s in range(1, g.n):
        yield g.send(-s, s - 1, part=-s, parts=g.n, turn=True)
        yield g.recv(+s, s - 1, parts=g.n, turn=True, add=True)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """n - 1 parts through every port, one right behind the other, and the latency of the last."""
    return latency + (ranks - 1) * nbytes / ranks / bytes_per_second if ranks > 1 else 0.0


DIRECT_REDUCE_SCATTER = Algorithm(
    program=hops,
    seconds=seconds,
    transfers=lambda ranks: ranks * (ranks - 1),
    operation=Operation.REDUCE_SCATTER,
    is_cut=True,
    is_direct=True,
)
