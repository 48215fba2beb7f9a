"""Sums of products of a tile: how a thread multiplies two slabs into sums of its own, and where these sums belong in C.

f32: a warp's lanes stand 4 x 8; a lane has rows in runs of 4 that lie 16 apart, and columns in runs of 4 that lie 32 apart, so
that lanes read shared memory 128 bits at a time and side by side. Tensor cores: rows 8 apart, columns in pairs that lie 8 apart,
as the PTX ISA lays out the sums of m16n8k8 and m16n8k16.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, float32, int32, int64, uint32

from graph.record import record
from runtime.kernels.cuda.device import device_function
from runtime.kernels.cuda.operands import ACCUMULATE, BIAS, RELU, WARP, WIDE, Precision, Tile
from runtime.kernels.cuda.primitives import (
    fragments4,
    fragments4_turned,
    load4,
    multiply_bf16,
    multiply_fp16,
    multiply_tf32,
    store2,
    store4,
    tf32,
    word,
)
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
    if precision is Precision.F32:
        multiply = _plain(tile, depth, a.stride, b.stride)
    else:
        multiply = _tensor(tile, depth, precision, _left(a.stride, a.is_deep, precision), _right(b.stride, b.is_deep, precision))
    count = tile.warp_rows * tile.warp_columns // WARP
    return Sums(count=count, multiply=multiply, finish=_finish(tile, 4 if precision is Precision.F32 else 2, place))


@cache
def _warp(tile):
    """() -> row and column of the tile at which the warp's part begins."""
    down, high, broad = tile.rows // tile.warp_rows, tile.warp_rows, tile.warp_columns

    @device_function
    def warp():
        w = cuda.threadIdx.x // WARP
        return int32(w % down * high), int32(w // down * broad)

    return warp


def _in_turn(body, count):
    """A device function (found, x, y, z, first) that calls ``body(found, x, y, z, i)`` for so many i, a power of two, in order.

    It is a loop unrolled by hand: once all is inlined i is a constant, sums have constant places, and registers hold them.
    """
    for half in (2**i for i in range(count.bit_length() - 1)):
        body = _twice(body, half)
    return body


def _twice(body, half):
    @device_function
    def twice(found, x, y, z, i):
        body(found, x, y, z, i)
        body(found, x, y, z, i + half)

    return twice


@cache
def _plain(tile, depth, a_stride, b_stride):
    high, broad = tile.warp_rows // 4, tile.warp_columns // 8
    warp = _warp(tile)
    steps = _in_turn(_plain_step(high, broad, a_stride, b_stride), depth)

    @device_function
    def multiply(found, shared, at_a, at_b):
        row, column = warp()
        lane = cuda.threadIdx.x % WARP
        steps(found, shared, int64(int32(at_a + row + lane // 8 * 4)), int64(int32(at_b + column + lane % 8 * 4)), 0)

    return multiply


def _plain_step(high, broad, a_stride, b_stride):
    """Adds the outer product of column k of A and row k of B."""

    @device_function
    def step(found, shared, at_a, at_b, k):
        left, right = cuda.local.array(high, float32), cuda.local.array(broad, float32)
        for q in range(0, high, 4):
            left[q], left[q + 1], left[q + 2], left[q + 3] = load4(shared, at_a + (k * a_stride + 4 * q))
        for q in range(0, broad, 4):
            right[q], right[q + 1], right[q + 2], right[q + 3] = load4(shared, at_b + (k * b_stride + 8 * q))
        for i in range(high):
            for j in range(broad):
                found[i * broad + j] += left[i] * right[j]

    return step


@cache
def _tensor(tile, depth, precision, left_of, right_of):
    tall, many = tile.warp_rows // 16, tile.warp_columns // 8
    step, words_a, words_b = (16 if precision.is_half else 8), 4 * tall, 2 * many
    product = {Precision.TF32: multiply_tf32, Precision.BF16: multiply_bf16, Precision.FP16: multiply_fp16}[precision]
    warp, (begin_a, load_a, down_a, along_a), (begin_b, load_b, down_b, along_b) = _warp(tile), left_of, right_of

    @device_function
    def multiply(found, shared, at_a, at_b):
        left, right = cuda.local.array(words_a, int32), cuda.local.array(words_b, int32)
        row, column = warp()
        from_a, from_b = begin_a(at_a, row), begin_b(at_b, column)
        for k in range(0, depth, step):
            for i in range(tall):
                load_a(left, 4 * i, shared, from_a + (16 * i * down_a + k * along_a))
            for j in range(0, many, 2):
                load_b(right, 2 * j, shared, from_b + (8 * j * down_b + k * along_b))
            for i in range(tall):
                for j in range(many):
                    at = 4 * (i * many + j)
                    found[at], found[at + 1], found[at + 2], found[at + 3] = product(
                        left[4 * i], left[4 * i + 1], left[4 * i + 2], left[4 * i + 3], right[2 * j], right[2 * j + 1],
                        found[at], found[at + 1], found[at + 2], found[at + 3],
                    )  # fmt: skip

    return multiply


@cache
def _left(stride, deep, precision):
    """16 rows of A: four words, of the upper rows, the lower rows, and of both further along k.

    Returns where a lane begins, how it loads, and elements from one row and from one k to the next.
    """
    half = precision.is_half
    ahead = 8 if half else 4
    down, along = (stride, 1) if deep else (1, stride)

    @device_function
    def begin(at, row):
        lane = int32(cuda.threadIdx.x % WARP)
        if deep:
            return int64(int32(at + (row + lane % 16) * stride + lane // 16 * ahead))
        if half:
            return int64(int32(at + (lane % 8 + lane // 16 * 8) * stride + row + lane // 8 % 2 * 8))
        return int64(int32(at + lane % 4 * stride + row + lane // 4))

    @device_function
    def load(held, to, shared, at):
        if deep:
            held[to], held[to + 1], held[to + 2], held[to + 3] = fragments4(shared, at)
        elif half:
            held[to], held[to + 1], held[to + 2], held[to + 3] = fragments4_turned(shared, at)
        else:
            held[to], held[to + 1] = word(shared, at), word(shared, at + 8)
            held[to + 2], held[to + 3] = word(shared, at + 4 * stride), word(shared, at + (4 * stride + 8))
        if not half:
            for i in range(4):
                held[to + i] = tf32(held[to + i])

    return begin, load, down, along


@cache
def _right(stride, deep, precision):
    """16 columns of B: of each 8 two words, the second further along k; as `_left`."""
    half = precision.is_half
    ahead = 8 if half else 4
    down, along = (stride, 1) if deep else (1, stride)

    @device_function
    def begin(at, column):
        lane = int32(cuda.threadIdx.x % WARP)
        if deep:
            return int64(int32(at + (column + lane % 8 + lane // 16 * 8) * stride + lane // 8 % 2 * ahead))
        if half:
            return int64(int32(at + lane % 16 * stride + column + lane // 16 * 8))
        return int64(int32(at + lane % 4 * stride + column + lane // 4))

    @device_function
    def load(held, to, shared, at):
        if deep:
            held[to], held[to + 1], held[to + 2], held[to + 3] = fragments4(shared, at)
        elif half:
            held[to], held[to + 1], held[to + 2], held[to + 3] = fragments4_turned(shared, at)
        else:
            held[to], held[to + 1] = word(shared, at), word(shared, at + 4 * stride)
            held[to + 2], held[to + 3] = word(shared, at + 8), word(shared, at + (4 * stride + 8))
        if not half:
            for i in range(4):
                held[to + i] = tf32(held[to + i])

    return begin, load, down, along


@device_function
def finished(x, bias, at, flags):
    """A sum with its bias, and no longer negative."""
    if flags & BIAS:
        x += bias[uint32(at)]
    if flags & RELU and x < float32(0):
        x = float32(0)
    return x


@cache
def _finish(tile, run, place):
    """Sums lie in runs of so many columns: of 4 in f32, of 2 on tensor cores."""
    warp, is_plain = _warp(tile), run == 4
    high = tile.warp_rows // (4 if is_plain else 8)
    runs = tile.warp_columns // (32 if is_plain else 8)
    lanes = 8 if is_plain else 4
    every = _in_turn(_finish_row(run, runs, place), high)

    @device_function
    def finish(found, bias, c, row0, column0, rows, columns, begin, sizes, first, flags):
        row, column = warp()
        lane = cuda.threadIdx.x % WARP
        y = int32(row0 + row + (lane // 8 * 4 if is_plain else lane // 4))
        x = int32(column0 + column + lane % lanes * run)
        every(found, bias, c, (y, x, rows, columns, begin, sizes, first, flags), 0)

    return finish


def _finish_row(run, runs, place):
    """What a thread has of its row i of the tile."""
    is_plain, finish_run = run == 4, _finish_run(run)
    next_sum, next_column = (run, 32) if is_plain else (4, 8)

    @device_function
    def finish_row(found, bias, c, known, i):
        y, x, rows, columns, begin, sizes, first, flags = known
        if is_plain:
            down, from_sum = i // 4 * 16 + i % 4, run * i * runs
        else:
            down, from_sum = 8 * i, 4 * (i // 2) * runs + i % 2 * 2
        if int32(y + down) < rows:
            of_row = int32(begin + place(sizes, int32(y + down)))
            for q in range(runs):
                s, column = from_sum + q * next_sum, int32(x + q * next_column)
                at, on_bias = int32(of_row + column), int32(first + column)
                if flags & WIDE:
                    if column < columns:
                        finish_run(found, s, bias, on_bias, c, at, flags)
                else:
                    for e in range(run):
                        if int32(column + e) < columns:
                            value = finished(found[s + e], bias, int32(on_bias + e), flags)
                            if flags & ACCUMULATE:
                                value += c[uint32(at + e)]
                            c[uint32(at + e)] = value

    return finish_row


@cache
def _finish_run(run):
    """A run of sums that is stored at once."""

    @device_function
    def finish_run(found, s, bias, on_bias, c, at, flags):
        if flags & BIAS:
            for e in range(run):
                found[s + e] += bias[uint32(on_bias + e)]
        if flags & RELU:
            for e in range(run):
                found[s + e] = found[s + e] if not found[s + e] < float32(0) else float32(0)
        if flags & ACCUMULATE:
            for e in range(run):
                found[s + e] += c[uint32(at + e)]
        if run == 4:
            store4(c, at, found[s], found[s + 1], found[s + 2], found[s + 3])
        else:
            store2(c, at, found[s], found[s + 1])

    return finish_run
