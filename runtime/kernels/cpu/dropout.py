"""Dropout: Philox4x32-10 on vectors of counters, bit for bit that of `graph.rng` (which says what key and counter mean)."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from graph.rng import MULTIPLIERS, ROUNDS, WEYL, dropout_threshold
from hw.kernels.record import Call
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import (
    below,
    bits_float,
    first_lanes,
    get_int,
    interleave,
    iota,
    load_masked,
    multiply_high,
    select,
    splat,
    splat_int,
    store_masked,
)
from runtime.kernels.table import float_bits, kernel, number, whole

_ZERO = np.float32(0)
M0, M1 = MULTIPLIERS
W0, W1 = WEYL
_read = words(10)


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, step, sample, y, _ = ptrs
    t, rate = call.types[0], number(call, "rate")
    columns = t.size // t.shape[0] if t.shape[0] else 0
    scale = float_bits(1.0 / (1.0 - rate))
    key = [whole(call, "seed"), whole(call, "key")]
    return [x, step, sample, y, t.shape[0], columns, *key, dropout_threshold(rate), scale]


@inlined
def _keep(x, y, n, drawn, threshold, scale):
    """One vector: the first `n` elements, kept where the drawn word is not below the threshold."""
    m = first_lanes(n)
    store_masked(y, select(below(drawn, threshold), splat(_ZERO), load_masked(x, m) * scale), m)


@inlined
def _blocks(x, y, n, block, step, sample, seed, key, threshold, scale):
    """`LANES` counters from `block` on: up to ``4 * LANES`` elements of a row."""
    c0, c1, c2, c3 = splat_int(step), splat_int(sample), iota(block), splat_int(0)
    m0, m1 = splat_int(M0), splat_int(M1)
    k0, k1 = seed, key
    for _ in range(ROUNDS):
        c0, c1, c2, c3 = multiply_high(c2, m1) ^ c1 ^ splat_int(k0), c2 * m1, multiply_high(c0, m0) ^ c3 ^ splat_int(k1), c0 * m0
        k0, k1 = k0 + W0, k1 + W1
    even, odd = interleave(c0, c2, False), interleave(c1, c3, False)
    _keep(x, y, n, interleave(even, odd, False), threshold, scale)
    if n > LANES:
        _keep(x + 4 * LANES, y + 4 * LANES, n - LANES, interleave(even, odd, True), threshold, scale)
    even, odd = interleave(c0, c2, True), interleave(c1, c3, True)
    if n > 2 * LANES:
        _keep(x + 8 * LANES, y + 8 * LANES, n - 2 * LANES, interleave(even, odd, False), threshold, scale)
    if n > 3 * LANES:
        _keep(x + 12 * LANES, y + 12 * LANES, n - 3 * LANES, interleave(even, odd, True), threshold, scale)


@kernel("cpu.dropout", pack=_pack)
def dropout(p):
    """`step` and `sample` are addresses of counters, read at every call."""
    x, step, sample, y, rows, columns, seed, key, threshold, scale = _read(p)
    first, now = get_int(sample), get_int(step)
    least, factor = splat_int(threshold), splat(bits_float(scale))
    for r in range(rows):
        for c in range(0, columns, 4 * LANES):
            at = 4 * (r * columns + c)
            _blocks(x + at, y + at, columns - c, c // 4, now, first + r, seed, key, least, factor)


@kernel("cpu.dropout_grad", pack=_pack)
def dropout_grad(p):
    """The same map; the same bits are drawn again."""
    x, step, sample, y, rows, columns, seed, key, threshold, scale = _read(p)
    first, now = get_int(sample), get_int(step)
    least, factor = splat_int(threshold), splat(bits_float(scale))
    for r in range(rows):
        for c in range(0, columns, 4 * LANES):
            at = 4 * (r * columns + c)
            _blocks(x + at, y + at, columns - c, c // 4, now, first + r, seed, key, least, factor)
