"""Sums over the rows of a matrix, column by column, and over everything. Their order depends on the problem only.

A block adds up its part of the rows: every thread some of them, four at a time, then rows of threads are added in halves. The
parts are added up by a second launch in the same way.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, float32

from graph.tensor_type import DType
from hw.kernels.cuda_sums import THREADS, across
from hw.kernels.tiling import ceil_div
from runtime.kernels.cuda.kernel import F32, NUMBER, WHOLE, DeviceKernel, Launch, Operand, Place
from runtime.kernels.cuda.primitives import SCRATCH, block_sum
from runtime.kernels.cuda.vectors import FETCH, WIDTHS, standing

SECOND_WIDE = 8
"""Threads side by side in a second stage: 32 bytes, the least that memory is read in, so that few columns fill many blocks."""


@cache
def folding(count: int) -> Any:
    """A device function that adds up `count` sums of each thread over the block's rows, for the threads of the first row.

    Its arguments: the sums, shared memory for `count` of each thread, row in the block, rows of the block, threads of a row.
    """

    @cuda.jit(device=True, inline="always")
    def fold(sums, shared, row, tall, wide):
        me = cuda.threadIdx.x
        for j in range(count):
            shared[j * THREADS + me] = sums[j]
        cuda.syncthreads()
        n = tall
        while n > 1:
            half = (n + 1) // 2
            if row + half < n:
                for j in range(count):
                    shared[j * THREADS + me] += shared[j * THREADS + me + half * wide]
            cuda.syncthreads()
            n = half
        for j in range(count):
            sums[j] = shared[j * THREADS + me]

    return fold


def _column_sum(each: int) -> Callable[..., None]:
    fetch, fold, four, space = FETCH[each], folding(each), 4 * each, each * THREADS

    def column_sum(x, y, rows, columns, part, wide):
        row, tall, c = standing(wide, each)
        shared = cuda.shared.array(space, float32)
        v, sums = cuda.local.array(four, float32), cuda.local.array(each, float32)
        for j in range(each):
            sums[j] = 0
        r, last = cuda.blockIdx.y * part + row, min((cuda.blockIdx.y + 1) * part, rows)
        if row < tall and c < columns:
            while r + 3 * tall < last:
                for k in range(4):
                    fetch(x, (r + k * tall) * columns + c, v, k * each)
                for j in range(each):
                    sums[j] += (v[j] + v[each + j]) + (v[2 * each + j] + v[3 * each + j])
                r += 4 * tall
            while r < last:
                fetch(x, r * columns + c, v, 0)
                for j in range(each):
                    sums[j] += v[j]
                r += tall
        fold(sums, shared, row, tall, wide)
        if row == 0 and c < columns:
            for j in range(each):
                y[cuda.blockIdx.y * columns + c + j] = sums[j]

    return column_sum


COLUMN_SUMS = {
    each: DeviceKernel(
        f"column_sum_{each}",
        _column_sum(each),
        (F32, F32, WHOLE, WHOLE, WHOLE, WHOLE),
        threads=THREADS,
        is_hot=True,
        wants=("ld.global.v4",) if each == 4 else (),
    )
    for each in WIDTHS
}


def first_stage(columns: int, each: int, parts: int) -> tuple[tuple[int, int], int]:
    """(grid, threads side by side): a block for every part of the rows and up to 32 threads' columns."""
    blocks, wide = across(columns, each)
    return (blocks, parts), wide


def second_stage(columns: int) -> tuple[tuple[int, int], int]:
    """(grid, threads side by side): a block for every `SECOND_WIDE` columns adds up all parts."""
    return (ceil_div(columns, SECOND_WIDE), 1), SECOND_WIDE


def scratch(workspace: Place, size: int, first: int = 0) -> Operand:
    """Floats of the workspace."""
    return Operand(index=workspace.index, dtype=DType.F32, first=first, size=size)


def _total(parts, to, n, divisor):
    shared = cuda.shared.array(SCRATCH, float32)
    s, i = float32(0), cuda.threadIdx.x
    while i < n:
        s += parts[i]
        i += THREADS
    s = block_sum(s, shared)
    if cuda.threadIdx.x == 0:
        to[0] = s / divisor


TOTAL = DeviceKernel("total", _total, (F32, F32, WHOLE, NUMBER), threads=THREADS, wants=("shfl.sync",))
"""The sum of so many parts, divided by a number."""


def total(parts: Operand, to: Operand, divisor: float = 1.0) -> Launch:
    """The second stage of a sum over everything."""
    return TOTAL.launch(1, parts, to, parts.size, divisor)
