"""Counting what the CPU kernels' loops do: the terms of their records.

======== =====================================================================================================
term     counts
======== =====================================================================================================
call     calls
panel    calls of the register tile's entry
tile     tiles
block    reduction blocks of all tiles
begun    rows of the tiles that are one vector wide, for each of their blocks: there the first loads of a block are waited for,
         while wider tiles have enough to multiply meanwhile
slot     issue slots of the tiles' inner loop: a step of h rows and v vectors takes ``max(h * v, h + v, 8)``, since loads and
         the latency of multiply-adds bound small tiles
step     turns of that loop
vector   vectors of C that tiles start from and store; in other kernels, vectors treated
row      rows of floats copied one by one (padding, packing); in other kernels, rows treated
copied   vectors copied
turned   blocks of vectors transposed in registers
zeroed   bytes set to zero
folded   vectors that gradients of joined weights add up
tap      (pixel, place in a window) pairs looked at
part     values put side by side
bytes    bytes of operands and results, each once; in batch normalization, once for each sweep over it
near     of those bytes, the first `NEAR`: streams begin with misses that no prefetcher has foreseen
far      of those bytes, the ones beyond `FAR`: what the second-level cache does not hold
======== =====================================================================================================
"""

from collections import Counter
from collections.abc import Iterable

from graph.tensor_type import TensorType
from hw.kernels.geometry import Geometry
from hw.kernels.tiling import blocks, ceil_div, heights

LATENCY_SLOTS = 8
"""Issue slots that pass before a multiply-add's result can be used: 4 cycles, two a cycle."""
NEAR = 1 << 14
"""Bytes of a call's operands and results until the prefetchers run at full speed."""
FAR = 1 << 20
"""Bytes of a call's operands and results that are taken to be in the second-level cache."""


class Terms(Counter[str]):
    """Counts by term; one call to begin with."""

    def __init__(self) -> None:
        super().__init__(call=1)

    def traffic(self, types: Iterable[TensorType]) -> "Terms":
        """Count operands and results, each once."""
        return self.moved(sum(t.nbytes for t in types))

    def moved(self, nbytes: int) -> "Terms":
        """Count so many bytes of operands and results."""
        self["bytes"] += nbytes
        self["near"] += min(nbytes, NEAR)
        self["far"] += max(0, nbytes - FAR)
        return self

    def panel(self, m: int, w: int, k: int, nb: int, g: Geometry, times: int = 1) -> None:
        """`times` calls of the tile's entry for m rows and w columns, with `nb` blocks of `k` steps."""
        v = ceil_div(w, g.lanes)
        self["panel"] += times
        for tiles, h in heights(m, w, g):
            steps = times * tiles * nb * k
            self["tile"] += times * tiles
            self["block"] += times * tiles * nb
            self["begun"] += times * tiles * nb * h * (v == 1)
            self["step"] += steps
            self["slot"] += steps * max(h * v, h + v, LATENCY_SLOTS)
            self["vector"] += times * tiles * h * v

    def panels(self, m: int, n: int, pw: int, k: int, nb: int, g: Geometry, times: int = 1) -> None:
        """All panels of `n` columns."""
        for w in blocks(n, pw):
            self.panel(m, w, k, nb, g, times)

    def copy_rows(self, rows: int, floats: int, g: Geometry) -> None:
        """Rows of so many floats are copied."""
        self["row"] += rows
        self["copied"] += rows * ceil_div(floats, g.lanes)

    def turn(self, rows: int, columns: int, g: Geometry, times: int = 1) -> None:
        """A matrix is transposed."""
        self["turned"] += times * ceil_div(rows, g.lanes) * ceil_div(columns, g.lanes)
