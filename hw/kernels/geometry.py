"""Shape of the register tile on which the CPU kernels of a host are built.

The kernels and the counts of what they do (`hw.kernels.cpu`) must agree on this, so it is decided in one place. It follows
from the vector extension of the host: lanes of a vector register, and how many rows of a tile fit the register file.
"""

import platform
from functools import cache

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
NARROW = Geometry(lanes=4, heights=(12, 6))


def _features() -> frozenset[str]:
    """Names of the vector extensions that NumPy found on this host; empty where NumPy does not tell."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__
    except ImportError:
        return frozenset()
    return frozenset(k for k, v in __cpu_features__.items() if v)


@cache
def host_geometry() -> Geometry:
    """The tile of this host: the same on every run, so sums are added in the same order."""
    found = _features()
    if {"AVX512F", "AVX512BW", "AVX512DQ", "AVX512VL"} <= found:
        return AVX512
    if {"AVX2", "FMA3"} <= found:
        return AVX2
    return NARROW if platform.machine() in ("x86_64", "AMD64") else Geometry(lanes=4, heights=(12, 12, 8, 6))
