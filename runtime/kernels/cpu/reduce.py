"""The bias, its gradient, and sums over everything. Sums have a fixed order: four rows (or vectors) at a time."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import first_lanes, fma, lane_sum, load, load_masked, set_float, splat, store, store_masked
from runtime.kernels.table import kernel

_ZERO = np.float32(0)
_read4, _read5 = words(4), words(5)


def _pack_add_bias(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, b, y, _ = ptrs
    columns = call.types[1].size
    return [x, b, y, call.types[0].size // columns if columns else 0, columns]


@kernel("cpu.add_bias", pack=_pack_add_bias)
def add_bias(p):
    """x + b along the last axis"""
    x, b, y, rows, columns = _read5(p)
    whole = columns - columns % LANES
    m = first_lanes(columns - whole)
    for r in range(rows):
        at = 4 * r * columns
        for c in range(0, whole, LANES):
            store(y + at + 4 * c, load(x + at + 4 * c) + load(b + 4 * c))
        if whole < columns:
            at += 4 * whole
            store_masked(y + at, load_masked(x + at, m) + load_masked(b + 4 * whole, m), m)


def _pack_bias_grad(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    dy, db, _ = ptrs
    columns = call.types[0].shape[-1]
    return [dy, db, call.types[0].size // columns if columns else 0, columns]


@inlined
def _column_sums(dy, db, rows, step, m):
    """Sum of rows `step` bytes apart, under a mask."""
    a = splat(_ZERO)
    b, c, d = a, a, a
    for _ in range(rows // 4):
        a = a + load_masked(dy, m)
        b = b + load_masked(dy + step, m)
        c = c + load_masked(dy + 2 * step, m)
        d = d + load_masked(dy + 3 * step, m)
        dy += 4 * step
    for _ in range(rows % 4):
        a = a + load_masked(dy, m)
        dy += step
    store_masked(db, (a + b) + (c + d), m)


@kernel("cpu.bias_grad", pack=_pack_bias_grad)
def bias_grad(p):
    """Sums over all axes but the last, `LANES` columns at a time."""
    dy, db, rows, columns = _read4(p)
    for c in range(0, columns, LANES):
        _column_sums(dy + 4 * c, db + 4 * c, rows, 4 * columns, first_lanes(columns - c))


@kernel("cpu.dot", pack=lambda call, ptrs: [*ptrs[:3], call.types[0].size])
def dot(p):
    """The sum of all products."""
    x, y, to, n = _read4(p)
    a = splat(_ZERO)
    b, c, d = a, a, a
    for i in range(0, n - 4 * LANES + 1, 4 * LANES):
        at, to_y = x + 4 * i, y + 4 * i
        a = fma(load(at), load(to_y), a)
        b = fma(load(at + 4 * LANES), load(to_y + 4 * LANES), b)
        c = fma(load(at + 8 * LANES), load(to_y + 8 * LANES), c)
        d = fma(load(at + 12 * LANES), load(to_y + 12 * LANES), d)
    for i in range(n - n % (4 * LANES), n, LANES):
        m = first_lanes(n - i)
        a = fma(load_masked(x + 4 * i, m), load_masked(y + 4 * i, m), a)
    set_float(to, lane_sum((a + b) + (c + d)))
