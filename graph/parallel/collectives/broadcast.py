"""Broadcast: the root sends the whole buffer to one rank after another; n - 1 transfers, all through the root's port out.

That is how one worker sends its activations in scheme (b) of Krizhevsky, "One weird trick for parallelizing convolutional neural
networks" (arXiv 1404.5997, 2014), section 3, whose bottleneck is this port.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group, Operation
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """Hop s reaches the rank s + 1 places beyond the root."""
    if g.beyond == 0:
        yield from (g.send(s + 1, s) for s in range(g.n - 1))
    else:
        yield g.recv(-g.beyond, g.beyond - 1)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float:
    """n - 1 letters leave through one port, one after the other; the last one takes its latency."""
    return (ranks - 1) * nbytes / bytes_per_second + latency * (ranks > 1)


BROADCAST = Algorithm(
    program=hops, seconds=seconds, transfers=lambda ranks: ranks - 1, symmetric=False, operation=Operation.BROADCAST
)
