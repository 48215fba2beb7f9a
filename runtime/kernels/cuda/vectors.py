"""What a thread has of an array: one element, or four neighbours with 128-bit accesses. Kernels for both are written once.

They keep elements in local arrays, whose loops have constant bounds, so that all of it ends in registers.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Iterable

from numba import cuda, uint64

from hw.kernels.cuda_sums import THREADS, across, width
from hw.kernels.tiling import ceil_div
from runtime.kernels.cuda.kernel import Place
from runtime.kernels.cuda.primitives import load4, quotient, store4

WIDTHS = (1, 4)


@cuda.jit(device=True, inline="always")
def _fetch1(array, at, to, k):
    to[k] = array[uint64(at)]


@cuda.jit(device=True, inline="always")
def _fetch4(array, at, to, k):
    to[k], to[k + 1], to[k + 2], to[k + 3] = load4(array, at)


@cuda.jit(device=True, inline="always")
def _put1(array, at, of, k):
    array[uint64(at)] = of[k]


@cuda.jit(device=True, inline="always")
def _put4(array, at, of, k):
    store4(array, at, of[k], of[k + 1], of[k + 2], of[k + 3])


FETCH = {1: _fetch1, 4: _fetch4}
"""Width -> (array, its element, local array, its element): a thread's elements are read."""
PUT = {1: _put1, 4: _put4}
"""Width -> (array, its element, local array, its element): they are written."""


@cuda.jit(device=True, inline="always")
def standing(wide, each):
    """(row in the block, rows of the block, first column) of a thread, where `wide` threads with `each` columns make a row.

    A thread takes part if its row is less than the block's rows and its column is one of the matrix.
    """
    row = quotient(cuda.threadIdx.x, wide)
    return row, quotient(cuda.blockDim.x, wide), (cuda.blockIdx.x * wide + cuda.threadIdx.x - row * wide) * each


def wide_access(columns: int, places: Iterable[Place]) -> int:
    """Elements of a thread: four when these operands, and all their rows of so many columns, are aligned."""
    return width(columns) if all(p.is_aligned for p in places) else 1


def sweep(rows: int, columns: int, each: int, most: int = 4096, turns: int = 4) -> tuple[tuple[int, int], int]:
    """(grid, threads side by side) for threads that stand in rows and walk down a matrix, so many rows each or more."""
    blocks, wide = across(columns, each)
    down = ceil_div(rows, THREADS // wide * turns)
    return (blocks, max(min(down, most // blocks), 1)), wide
