"""Dropout: a counter of Philox4x32-10 gives the bits of four elements of a row, those of `graph.rng`, which says what key and
counter mean. The gradient is the same map and draws them again.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from typing import Any

from numba import cuda, float32, uint32

from graph.rng import Purpose, dropout_threshold
from hw.kernels.record import Call
from runtime.kernels.cuda.flat import MOST_BLOCKS, WIDE, inlined
from runtime.kernels.cuda.kernel import F32, I64, NUMBER, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, philox, quotient, store4

PURPOSE = int(Purpose.DROPOUT)


@inlined
def _kept(x, word, least, factor):
    return float32(0) if word < least else x * factor


def _dropout(x, step, sample, y, columns, blocks, n, seed, key, threshold, factor):
    i = cuda.grid(1)
    if i < n:
        row, least = quotient(i, blocks), uint32(threshold)
        block = i - row * blocks
        a, b, c, d = philox(step[0], sample[0] + row, block, PURPOSE, seed, key)
        at, left = row * columns + 4 * block, columns - 4 * block
        y[at] = _kept(x[at], a, least, factor)
        if left > 1:
            y[at + 1] = _kept(x[at + 1], b, least, factor)
        if left > 2:
            y[at + 2] = _kept(x[at + 2], c, least, factor)
        if left > 3:
            y[at + 3] = _kept(x[at + 3], d, least, factor)


def _dropout4(x, step, sample, y, columns, blocks, n, seed, key, threshold, factor):
    i = cuda.grid(1)
    if i < n:
        row, least = quotient(i, blocks), uint32(threshold)
        p, q, r, s = load4(x, 4 * i)
        a, b, c, d = philox(step[0], sample[0] + row, i - row * blocks, PURPOSE, seed, key)
        p, q = _kept(p, a, least, factor), _kept(q, b, least, factor)
        r, s = _kept(r, c, least, factor), _kept(s, d, least, factor)
        store4(y, 4 * i, p, q, r, s)


_TYPES = (F32, I64, I64, F32, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, NUMBER)
PLAIN = DeviceKernel("dropout", _dropout, _TYPES)
FOURS = DeviceKernel("dropout_4", _dropout4, _TYPES, is_hot=True, wants=(*WIDE, "mul.hi.u32"))


def _launches(call: Call, places: Sequence[Place]) -> list[Launch]:
    x, step, sample, y = places[:4]
    if not x.size:
        return []
    attrs: Any = call.attrs
    rows, rate = call.types[0].shape[0], float(attrs["rate"])
    columns = x.size // rows
    blocks = -(-columns // 4)
    kernel = FOURS if columns % 4 == 0 and x.is_aligned and y.is_aligned else PLAIN
    drawn = (attrs["seed"], attrs["key"], dropout_threshold(rate), 1.0 / (1.0 - rate))
    operands = [p.operand for p in (x, step, sample, y)]
    return [kernel.over(rows * blocks, *operands, columns, blocks, rows * blocks, *drawn, most=MOST_BLOCKS)]


@cuda_kernel("cuda.dropout", kernels=(PLAIN, FOURS))
def dropout(call: Call, places: Sequence[Place]) -> list[Launch]:
    """`step` and `sample` are counters in memory, read at every launch."""
    return _launches(call, places)


@cuda_kernel("cuda.dropout_grad", kernels=(PLAIN, FOURS))
def dropout_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The same map."""
    return _launches(call, places)
