"""All-gather over a ring: n - 1 hops, after which everybody holds part i of rank i.

Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", J. Parallel and Distributed
Computing 69 (2009), section 3.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.plan import Instruction


def hops(g: Group, first: int = 0) -> Iterator[Instruction]:
    """In hop s a rank passes on the part s places behind its own; hops are numbered from `first`."""
    for s in range(g.n - 1):
        yield g.send(+1, first + s, part=-s, parts=g.n, turn=True)
        yield g.recv(-1, first + s, part=-s - 1, parts=g.n, turn=True)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """(n - 1) hops of one part each: alpha-beta model, every rank sending and receiving at the same time."""
    return (ranks - 1) * (latency + nbytes / ranks / bytes_per_second)


ALL_GATHER = Algorithm(
    program=hops,
    seconds=seconds,
    transfers=lambda ranks: ranks * (ranks - 1),
    operation=Operation.ALL_GATHER,
    is_cut=True,
)
