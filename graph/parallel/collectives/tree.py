"""Binary-tree all-reduce: whole buffers up to rank 0, added on the way, then down again; 2 (n - 1) transfers.

Few hops, so it suits small buffers; rank i has the children 2i + 1 and 2i + 2.
"""

from collections.abc import Iterator

from graph.parallel.algorithm import Algorithm, Group
from graph.parallel.plan import Instruction


def hops(g: Group) -> Iterator[Instruction]:
    """Hops 0 and 1 go up, from the left and from the right child, hops 2 and 3 down: a rank does each at most once."""
    children = [(side, c - g.i) for side, c in enumerate((2 * g.i + 1, 2 * g.i + 2)) if c < g.n]
    for side, c in children:
        yield g.recv(c, side, add=True)
    if g.i:
        side, parent = (g.i - 1) % 2, (g.i - 1) // 2 - g.i
        yield g.send(parent, side)
        yield g.recv(parent, 2 + side)
    for side, c in children:
        yield g.send(c, 2 + side)


def seconds(ranks: int, nbytes: int, latency: float, bytes_per_second: float) -> float | None:
    """Closed form for full trees (1, 3, 7, 15 ... ranks) and for two ranks; None for others, where ports are shared unevenly.

    Up, two children share their parent's port in; down, a parent sends to one child after the other: 2 (latency + 2 b / B) a
    level, and there are log2(n + 1) - 1 levels.
    """
    if ranks == 2:
        return 2 * (latency + nbytes / bytes_per_second)
    if ranks & (ranks + 1):
        return None
    levels = (ranks + 1).bit_length() - 2
    return 2 * levels * (latency + 2 * nbytes / bytes_per_second)


TREE = Algorithm(program=hops, seconds=seconds, transfers=lambda ranks: 2 * (ranks - 1), symmetric=False)
