"""Ring all-reduce: a reduce-scatter and an all-gather over the same ring, 2 n (n - 1) transfers of one part.

Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", J. Parallel and Distributed
Computing 69 (2009), section 3: it moves 2 (n - 1) / n of the buffer through every port, which no algorithm can undercut.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group
from graph.parallel.collectives.all_gather import hops as gather
from graph.parallel.collectives.all_gather import seconds as half
from graph.parallel.collectives.reduce_scatter import hops as reduce
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """Hops 0 ... n - 2 reduce, hops n - 1 ... 2 n - 3 gather."""
    yield from reduce(g)
    yield from gather(g, first=g.n - 1)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """2 (n - 1) hops of one part each: alpha-beta model, every rank sending and receiving at the same time."""
    return 2 * half(ranks, nbytes, latency, bytes_per_second)


RING = Algorithm(program=hops, seconds=seconds, transfers=lambda ranks: 2 * ranks * (ranks - 1), is_cut=True)
