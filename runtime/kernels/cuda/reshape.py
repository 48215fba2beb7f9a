"""Transposition: where the last axis stays, runs of it are copied; else matrices of it and the new last one are turned, tile by
tile through shared memory, so that reads and writes both go along rows.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from numba import cuda, float32

from hw.kernels.record import Call
from hw.kernels.tiling import transpose_cut
from runtime.kernels.cuda.flat import MOST_BLOCKS, WIDE, inlined
from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, quotient, store4

TILE, LINES, PITCH = 32, 8, 33
"""Rows and columns of a tile; rows that a block copies at once; floats from row to row, one more: columns use all banks."""
SHARED = TILE * PITCH


@inlined
def _offset(k, n1, n2, n3, s0, s1, s2, s3):
    """Of the k-th place on four axes, the last three with such extents, with such strides."""
    u = quotient(k, n3)
    v = quotient(u, n2)
    w = quotient(v, n1)
    return w * s0 + (v - w * n1) * s1 + (u - v * n2) * s2 + (k - u * n3) * s3


def _runs(x, y, run, n1, n2, n3, s0, s1, s2, s3, n):
    i = cuda.grid(1)
    if i < n:
        k = quotient(i, run)
        y[i] = x[_offset(k, n1, n2, n3, s0, s1, s2, s3) + i - k * run]


def _runs4(x, y, run, n1, n2, n3, s0, s1, s2, s3, n):
    i = cuda.grid(1)
    if i < n:
        k = quotient(i, run)
        a, b, c, d = load4(x, 4 * (_offset(k, n1, n2, n3, s0, s1, s2, s3) + i - k * run))
        store4(y, 4 * i, a, b, c, d)


def _turn(x, y, rows, row_step, columns, column_step, tiles, across, n1, n2, n3, s0, s1, s2, s3, d0, d1, d2, d3):
    tile = cuda.shared.array(SHARED, float32)
    k = quotient(cuda.blockIdx.x, tiles)
    at = cuda.blockIdx.x - k * tiles
    down = quotient(at, across)
    row, column = TILE * down, TILE * (at - down * across)
    source, to = _offset(k, n1, n2, n3, s0, s1, s2, s3), _offset(k, n1, n2, n3, d0, d1, d2, d3)
    lane, line = cuda.threadIdx.x % TILE, cuda.threadIdx.x // TILE
    for i in range(line, TILE, LINES):
        if row + i < rows and column + lane < columns:
            tile[PITCH * i + lane] = x[source + (row + i) * row_step + column + lane]
    cuda.syncthreads()
    for i in range(line, TILE, LINES):
        if column + i < columns and row + lane < rows:
            y[to + (column + i) * column_step + row + lane] = tile[PITCH * lane + i]


_RUNS = (F32, F32, *(WHOLE,) * 9)
RUNS = DeviceKernel("transpose_runs", _runs, _RUNS)
RUNS4 = DeviceKernel("transpose_runs_4", _runs4, _RUNS, is_hot=True, wants=WIDE)
TURN = DeviceKernel("transpose_turn", _turn, (F32, F32, *(WHOLE,) * 17), threads=TILE * LINES, is_hot=True)


@cuda_kernel("cuda.transpose", kernels=(RUNS, RUNS4, TURN))
def transpose(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The other axes, up to four that do not stay together, are numbered through."""
    x, y = places[:2]
    if not x.size:
        return []
    cut = transpose_cut(call.types, call.attrs)
    extents, strides, steps = zip(*cut.outer, strict=True)
    if not cut.run:
        across = -(-cut.columns // TILE)
        tiles = across * -(-cut.rows // TILE)
        shape = (cut.rows, cut.row_step, cut.columns, cut.column_step, tiles, across)
        return [TURN.launch(tiles * cut.times, x.operand, y.operand, *shape, *extents[1:], *strides, *steps)]
    if x.is_aligned and y.is_aligned and not any(n % 4 for n in (cut.run, *strides)):
        numbers = (cut.run // 4, *extents[1:], *(s // 4 for s in strides), x.size // 4)
        return [RUNS4.over(x.size, x.operand, y.operand, *numbers, each=4, most=MOST_BLOCKS)]
    return [RUNS.over(x.size, x.operand, y.operand, cut.run, *extents[1:], *strides, x.size, most=MOST_BLOCKS)]
