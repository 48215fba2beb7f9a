"""Sums of products of a tile: how a thread multiplies two slabs into sums of its own, and where these sums belong in C.

f32: a warp's lanes stand 4 x 8; a lane has rows in runs of 4 that lie 16 apart, and columns in runs of 4 that lie 32 apart.
Neighbouring lanes read the same rows, those after them the same columns: then shared memory answers half a warp's 128-bit reads
at once. Tensor cores: as `runtime.kernels.cuda.fragments` says.
"""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, float32, int32, int64, uint32

from graph.record import record
from runtime.kernels.cuda.device import device_function, in_turn
from runtime.kernels.cuda.fragments import in_pairs, tensor
from runtime.kernels.cuda.operands import ACCUMULATE, BIAS, RELU, WARP, WIDE, Precision, Tile
from runtime.kernels.cuda.primitives import load4, store2, store4
from runtime.kernels.cuda.slab import Slab


@record
class Sums:
    """How a thread sums.

    Parameters
    ----------
    count : sums of a thread.
    multiply : (sums, shared, where the slab of A begins, where that of B): adds the products of a step.
    finish : (sums, bias, c, first row, first column, rows, columns, where C begins, numbers of the
        launch, where the bias begins, flags)
    """

    count: int
    multiply: Callable[..., Any]
    finish: Callable[..., Any]


def sums(tile: Tile, depth: int, precision: Precision, a: Slab, b: Slab, place: Callable[..., Any]) -> Sums:
    """Of a tile, for slabs of so many steps; `place` says where a row of C begins: (numbers of the launch, row) -> element."""
    warp, count = _warp(tile), tile.warp_rows * tile.warp_columns // WARP
    if precision is Precision.F32:
        multiply, lanes = _plain(tile, depth, a.line, b.line), _plain_lanes(tile)
    else:
        multiply = tensor(tile, depth, precision, a, b, warp)
        lanes = _tensor_lanes(tile, in_pairs(precision, a))
    return Sums(count=count, multiply=multiply, finish=_finish(lanes, warp, place))


@cache
def _warp(tile):
    """() -> row and column of the tile at which the warp's part begins."""
    down, high, broad = tile.rows // tile.warp_rows, tile.warp_rows, tile.warp_columns

    @device_function
    def warp():
        w = cuda.threadIdx.x // WARP
        return int32(w % down * high), int32(w // down * broad)

    return warp


@device_function
def _plain_row():
    """Of the 4 x 8 lanes of a warp, this lane's row."""
    lane = int32(cuda.threadIdx.x % WARP)
    return int32(lane % 2 + lane // 16 * 2)


@device_function
def _plain_column():
    return int32(cuda.threadIdx.x % WARP // 2 % 8)


@cache
def _plain(tile, depth, a_line, b_line):
    high, broad = tile.warp_rows // 4, tile.warp_columns // 8
    warp = _warp(tile)
    steps = in_turn(_plain_step(high, broad, a_line, b_line), depth)

    @device_function
    def multiply(found, shared, at_a, at_b):
        row, column = warp()
        row, column = int32(row + _plain_row() * 4), int32(column + _plain_column() * 4)
        steps(found, shared, int64(int32(at_a + row)), int64(int32(at_b + column)), 0)

    return multiply


def _plain_step(high, broad, a_line, b_line):
    """Adds the outer product of column k of A and row k of B."""

    @device_function
    def step(found, shared, at_a, at_b, k):
        left, right = cuda.local.array(high, float32), cuda.local.array(broad, float32)
        for q in range(0, high, 4):
            left[q], left[q + 1], left[q + 2], left[q + 3] = load4(shared, at_a + (k * a_line + 4 * q))
        for q in range(0, broad, 4):
            right[q], right[q + 1], right[q + 2], right[q + 3] = load4(shared, at_b + (k * b_line + 8 * q))
        for i in range(high):
            for j in range(broad):
                found[i * broad + j] += left[i] * right[j]

    return step


@device_function
def finished(x, bias, at, flags):
    """A sum with its bias, and no longer negative."""
    if flags & BIAS:
        x += bias[uint32(at)]
    if flags & RELU and x < float32(0):
        x = float32(0)
    return x


@record
class Lanes:
    """Which rows and columns of a warp's part the sums of a lane belong to.

    Parameters
    ----------
    rows, runs : how many rows it has, a power of two, and runs of neighbouring columns in each.
    run : columns of a run, 4 or 2.
    apart_columns, apart_sums : from one run to the next.
    first : device function: () -> the first of its rows and of its columns.
    row : device function: (i) -> row i from the first one on, and the first sum of that row.
    """

    rows: int
    runs: int
    run: int
    apart_columns: int
    apart_sums: int
    first: Callable[..., Any]
    row: Callable[..., Any]


@cache
def _plain_lanes(tile):
    broad = tile.warp_columns // 8

    @device_function
    def first():
        return int32(_plain_row() * 4), int32(_plain_column() * 4)

    @device_function
    def row(i):
        return i // 4 * 16 + i % 4, broad * i

    return Lanes(rows=tile.warp_rows // 4, runs=broad // 4, run=4, first=first, row=row, apart_columns=32, apart_sums=4)


@cache
def _tensor_lanes(tile, in_pairs):
    """As fragments say."""
    many = tile.warp_columns // 8
    high, next_row = (2, 1) if in_pairs else (1, 8)

    @device_function
    def first():
        lane = int32(cuda.threadIdx.x % WARP)
        return int32(lane // 4 * high), int32(lane % 4 * 2)

    @device_function
    def row(i):
        return i // 2 * 16 + i % 2 * next_row, i // 2 * 4 * many + i % 2 * 2

    return Lanes(rows=tile.warp_rows // 8, runs=many, run=2, first=first, row=row, apart_columns=8, apart_sums=4)


@cache
def _finish(lanes, warp, place):
    first, runs, run, next_column = lanes.first, lanes.runs, lanes.run, lanes.apart_columns
    every, many = in_turn(_finish_row(lanes, place), lanes.rows), runs * run

    @device_function
    def finish(found, bias, c, row0, column0, rows, columns, begin, sizes, on_bias, flags):
        row, column = warp()
        y, x = first()
        y, x = int32(row0 + row + y), int32(column0 + column + x)
        biases = cuda.local.array(many, float32)
        for q in range(runs):
            for e in range(run):
                at = int32(x + q * next_column + e)
                biases[q * run + e] = bias[uint32(on_bias + at)] if flags & BIAS and at < columns else float32(0)
        least = float32(0) if flags & RELU else float32(-math.inf)
        every(found, biases, c, (y, x, rows, columns, begin, sizes, least, flags), 0)

    return finish


def _finish_row(lanes, place):
    """What a thread has of its row i of the tile."""
    runs, run, row_of, next_column, next_sum = lanes.runs, lanes.run, lanes.row, lanes.apart_columns, lanes.apart_sums

    @device_function
    def finish_row(found, biases, c, known, i):
        y, x, rows, columns, begin, sizes, least, flags = known
        down, of_sums = row_of(i)
        if int32(y + down) < rows:
            of_row = int32(begin + place(sizes, int32(y + down)))
            for q in range(runs):
                s, column = of_sums + q * next_sum, int32(x + q * next_column)
                at = int32(of_row + column)
                for e in range(run):
                    value = found[s + e] + biases[q * run + e]
                    found[s + e] = least if value < least else value  # what is no number stays none
                    if flags & ACCUMULATE and int32(column + e) < columns:
                        found[s + e] += c[uint32(at + e)]
                if flags & WIDE:
                    if column < columns:
                        if run == 4:
                            store4(c, at, found[s], found[s + 1], found[s + 2], found[s + 3])
                        else:
                            store2(c, at, found[s], found[s + 1])
                else:
                    for e in range(run):
                        if int32(column + e) < columns:
                            c[uint32(at + e)] = found[s + e]

    return finish_row
