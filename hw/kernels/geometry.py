"""Shape of the register tile on which the CPU kernels of a host are built.

The kernels and the counts of what they do (`hw.kernels.cpu`) must agree on this, so it is decided in one place. It follows
from the vector extension of the host: lanes of a vector register, and how many rows of a tile fit the register file.
"""

import platform
from functools import cache
from typing import Any

from graph.record import record


@record
class Geometry:
    """Vector lanes and register tile.

    Parameters
    ----------
    lanes : float32 values in a vector register.
    heights : ``heights[v - 1]`` is the most rows of a tile that is `v` vectors wide.
    """

    lanes: int
    heights: tuple[int, ...]

    @property
    def width(self) -> int:
        """Columns of the widest tile."""
        return self.lanes * len(self.heights)


AVX512 = Geometry(lanes=16, heights=(12, 12, 8, 6))
AVX2 = Geometry(lanes=8, heights=(12, 6))
SSE = Geometry(lanes=4, heights=(12, 6))
NEON = Geometry(lanes=4, heights=(12, 12, 8, 6))


def _features() -> frozenset[str]:
    """Names of the vector extensions that NumPy was built for or found on this host."""
    import numpy as np

    simd: Any = np.show_config(mode="dicts")
    told = simd["SIMD Extensions"]
    return frozenset((*told["baseline"], *told["found"]))


@cache
def host_geometry() -> Geometry:
    """The tile of this host: the same on every run, so sums are added in the same order."""
    found = _features()
    if found & {"AVX512_SKX", "X86_V4"}:  # with the parts that came with Skylake: bytes, double words, short vectors
        return AVX512
    if found & {"AVX2", "X86_V3"}:
        return AVX2
    return SSE if platform.machine() in ("x86_64", "AMD64") else NEON
