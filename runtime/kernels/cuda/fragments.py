"""Products of slabs on tensor cores: what a lane of a warp loads of a slab, and which rows and columns its sums then belong to.

A product of tensor cores multiplies 16 rows of A by 8 columns of B over a step of k: 8 words of tf32, or 16 numbers of 16 bits.
Lane ``4 g + t`` holds of A, for rows g and g + 8, of B, for column g, the word t of the step's first half and of its second; its
four sums are those of rows g and g + 8 and columns 2 t and 2 t + 1 (PTX ISA, mma.m16n8k8 with .tf32, mma.m16n8k16).

Slabs along k, and 16-bit numbers along rows, are loaded as matrices of 8 rows of 16 bytes (`fragments4`), 128 bits a lane, and
lie in registers as products take them. Words that lie along rows cannot be turned that way, but which rows of a slab make up the
16 of a product is free: of A a lane takes rows 2 g and 2 g + 1, 64 bits at once, and the sums are those of these rows. (Four
columns of B at once would belong to four products, and cost as many copies from register to register as they save loads.)
"""

# mypy: disable-error-code="no-untyped-def,no-any-return"

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, int32, int64, uint64

from graph.record import record
from runtime.kernels.cuda.device import device_function, in_turn
from runtime.kernels.cuda.operands import WARP, Precision, Tile
from runtime.kernels.cuda.primitives import (
    fragments4,
    fragments4_turned,
    load2,
    multiply_bf16,
    multiply_fp16,
    multiply_tf32,
    tf32,
)
from runtime.kernels.cuda.slab import Slab

PRODUCTS = {Precision.TF32: multiply_tf32, Precision.BF16: multiply_bf16, Precision.FP16: multiply_fp16}
STEP_CHUNKS = 2
"""Chunks along k of a product: its words of the first half and of the second."""


@record
class Loaded:
    """How a lane loads an operand for one step of k.

    Parameters
    ----------
    begin : device function: (first row of the warp, step of the slab) -> where it begins, elements from where the slab begins.
    load : device function: (words, shared, where): words in the order in which products take them.
    """

    begin: Callable[..., Any]
    load: Callable[..., Any]


def in_pairs(precision: Precision, a: Slab) -> bool:
    """Of 16 rows of A, lane ``4 g + t`` has rows 2 g and 2 g + 1, not g and g + 8."""
    return precision is Precision.TF32 and not a.is_deep


@cache
def tensor(tile: Tile, depth: int, precision: Precision, a: Slab, b: Slab, warp: Callable[..., Any]) -> Callable[..., Any]:
    """Device function (sums, shared, where the slab of A begins, where that of B) that adds the products of a slab.

    Of the sums of a lane, four belong to every product of 16 rows i and 8 columns j, in order of ``i * (columns / 8) + j``.
    """
    tall, many = tile.warp_rows // 16, tile.warp_columns // 8
    steps, words_a, words_b = depth // (STEP_CHUNKS * precision.of_chunk), 4 * tall, 2 * many
    left, right, product = _loaded(precision, a, tall, True), _loaded(precision, b, many // 2, False), PRODUCTS[precision]
    begin_a, load_a, begin_b, load_b = left.begin, left.load, right.begin, right.load

    @device_function
    def step(found, shared, at_a, at_b, s):
        row, column = warp()
        held_a, held_b = cuda.local.array(words_a, int32), cuda.local.array(words_b, int32)
        load_a(held_a, shared, int32(at_a + begin_a(row, s)))
        load_b(held_b, shared, int32(at_b + begin_b(column, s)))
        for i in range(tall):
            for j in range(many):
                at = 4 * (i * many + j)
                found[at], found[at + 1], found[at + 2], found[at + 3] = product(
                    held_a[4 * i], held_a[4 * i + 1], held_a[4 * i + 2], held_a[4 * i + 3], held_b[2 * j], held_b[2 * j + 1],
                    found[at], found[at + 1], found[at + 2], found[at + 3],
                )  # fmt: skip

    every = in_turn(step, steps)

    @device_function
    def multiply(found, shared, at_a, at_b):
        every(found, shared, at_a, at_b, 0)

    return multiply


def _loaded(precision: Precision, slab: Slab, count: int, is_left: bool) -> Loaded:
    """Of so many times 16 rows of A, or columns of B."""
    if precision.is_half or slab.is_deep:
        return _matrices(precision, slab, count, is_left)
    return _row_pairs(slab, count) if is_left else _words(slab, 2 * count)


@cache
def _matrices(precision, slab, count, is_left):
    """Of 16 rows, four matrices: of A the upper and the lower rows, then both further along k; of B the other way round."""
    place, line, deep, each = slab.place, slab.line, slab.is_deep, precision.of_chunk
    half = precision.is_half

    @device_function
    def begin(row, step):
        lane = int32(cuda.threadIdx.x % WARP)
        first, second = int32(lane // 8 % 2), int32(lane // 16)
        lower, later = (first, second) if is_left else (second, first)
        k = int32(step * STEP_CHUNKS * each)
        if deep:
            return place(int32(row + lower * 8 + lane % 8), int32(k + later * each))
        return place(int32(row + lower * 8), int32(k + later * each + lane % 8))

    @device_function
    def load(held, shared, at):
        for i in range(count):
            if deep:
                where = int64(int32(at + 16 * i * line))
                held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3] = fragments4(shared, where)
            else:
                where = int64(int32(at ^ 16 * i))
                held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3] = fragments4_turned(shared, where)
            if not half:
                for w in range(4):
                    held[4 * i + w] = tf32(held[4 * i + w])

    return Loaded(begin=begin, load=load)


@cache
def _row_pairs(slab, count):
    """Of 16 rows of words along rows, two neighbouring ones, and the same four places of k further on."""
    place, further = slab.place, 4 * slab.line

    @device_function
    def begin(row, step):
        lane = int32(cuda.threadIdx.x % WARP)
        return place(int32(row + lane // 4 * 2), int32(step * 8 + lane % 4))

    @device_function
    def load(held, shared, at):
        for i in range(count):
            where = int32(at ^ 16 * i)
            x0, x1 = load2(shared, int64(where))
            y0, y1 = load2(shared, int64(int32(where + further)))
            held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3] = tf32(x0), tf32(x1), tf32(y0), tf32(y1)

    return Loaded(begin=begin, load=load)


@cache
def _words(slab, count):
    """Of 8 columns of words along columns, one, and the same four places of k further on."""
    place, further = slab.place, 4 * slab.line

    @device_function
    def begin(column, step):
        lane = int32(cuda.threadIdx.x % WARP)
        return place(int32(column + lane // 4), int32(step * 8 + lane % 4))

    @device_function
    def load(held, shared, at):
        for j in range(count):
            where = int32(at ^ 8 * j)
            held[2 * j] = tf32(shared[uint64(where)])
            held[2 * j + 1] = tf32(shared[uint64(int32(where + further))])

    return Loaded(begin=begin, load=load)
