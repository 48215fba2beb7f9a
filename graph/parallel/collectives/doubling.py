"""Recursive doubling: partners at distance 1, 2, 4 ... swap whole buffers and add; n log2(n) transfers in log2(n) hops.

Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", Int. J. High Performance
Computing Applications 19 (2005), section 4.5 (recursive doubling; only for groups of a power of two here).
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """In hop s the partner's index differs in bit s. Both add the same two numbers, so replicas agree to the bit."""
    for s in range(g.n.bit_length() - 1):
        by = (g.i ^ (1 << s)) - g.i
        yield g.send(by, s)
        yield g.recv(by, s, add=True)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """log2(n) hops of the whole buffer: alpha-beta model, partners sending to each other at the same time."""
    return (ranks.bit_length() - 1) * (latency + nbytes / bytes_per_second)


DOUBLING = Algorithm(
    program=hops,
    seconds=seconds,
    transfers=lambda ranks: ranks * (ranks.bit_length() - 1),
    symmetric=False,
    accepts=lambda ranks: ranks >= 1 and not ranks & (ranks - 1),
)
