"""Direct all-reduce: part j straight to rank j, which adds up and sends the sum straight to everybody.

It takes 2 n (n - 1) transfers of one part: as many bytes as a ring, in two latencies; but every rank talks to every other. It is
what servers on the devices themselves do (MXNet's kvstore ``device`` with big arrays), less the optimizer's step in between: see
`graph.parallel.strategies.parameter_server`.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group
from graph.parallel.collectives.direct_all_gather import hops as gather
from graph.parallel.collectives.direct_reduce_scatter import hops as reduce
from graph.parallel.collectives.direct_reduce_scatter import seconds as half
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """Hops 0 ... n - 2 reduce, hops n - 1 ... 2 n - 3 gather."""
    yield from reduce(g)
    yield from gather(g, first=g.n - 1)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """Twice n - 1 parts through every port, and twice a latency: what is sent out again must have come."""
    return 2 * half(ranks, nbytes, latency, bytes_per_second)


DIRECT = Algorithm(program=hops, seconds=seconds, transfers=lambda ranks: 2 * ranks * (ranks - 1), is_cut=True, is_direct=True)
