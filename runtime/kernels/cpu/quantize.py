"""Fixed-point words for floats and back, a vector at a time; equal to `graph.fixed_point` in every case.

A float times a power of two >= 1 is exact or infinite, and what is beyond a format is cut before it is rounded. From there on
whole part and remainder are exact, so ties are found by comparing, not by adding a half, which would round.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numba import types

from graph.fixed_point import Rounding
from graph.ops.quantize import format_of, rounding_of
from hw.kernels.record import Call
from runtime.kernels.emit import I32, LANES, VI, P, call, define, pointer, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import (
    Vf,
    Vi,
    Vm,
    bits_float,
    first_lanes,
    greater,
    load,
    load_masked,
    select,
    select_int,
    splat,
    splat_int,
    store,
    store_masked,
    to_float,
    to_int,
)
from runtime.kernels.table import float_bits, kernel

_ZERO, _HALF = np.float32(0), np.float32(0.5)
_VH = ir.VectorType(ir.IntType(16), LANES)
_HALVES = f"v{LANES}i16.p0"
_read4, _read7 = words(4), words(7)


@define(Vi, P)
def load_words(b, p):
    """`LANES` i16 from address `p` as int32."""
    return b.sext(b.load(pointer(b, p, _VH), align=2), VI)


@define(Vi, P, Vm)
def load_words_masked(b, p, m):
    """Like `load_words`; lanes outside the mask are not read and are 0."""
    nothing = ir.Constant(_VH, [0] * LANES)
    found = call(b, f"llvm.masked.load.{_HALVES}", _VH, [pointer(b, p, _VH), ir.Constant(I32, 2), m, nothing])
    return b.sext(found, VI)


@define(types.void, P, Vi)
def store_words(b, p, x):
    """The low half of each lane to address `p`."""
    b.store(b.trunc(x, _VH), pointer(b, p, _VH), align=2)


@define(types.void, P, Vi, Vm)
def store_words_masked(b, p, x, m):
    """Like `store_words`; memory outside the mask is not touched."""
    call(b, f"llvm.masked.store.{_HALVES}", ir.VoidType(), [b.trunc(x, _VH), pointer(b, p, _VH), ir.Constant(I32, 2), m])


@define(Vm, Vf)
def is_number(b, x):
    """Where it is not NaN."""
    return b.fcmp_ordered("ord", x, x)


@inlined
def _within(x, scale, low, high):
    """Scaled, NaN as 0, cut to the format: a float of magnitude <= 2^15."""
    x = select(is_number(x), x, splat(_ZERO)) * scale
    return select(greater(low, x), low, select(greater(x, high), high, x))


@inlined
def _floor(x):
    whole = to_int(x)
    return whole - select_int(greater(to_float(whole), x), splat_int(1), splat_int(0))


@inlined
def _zero(x):
    return to_int(x)


@inlined
def _nearest(x):
    """A tie goes down."""
    whole = to_int(x)
    rest = x - to_float(whole)
    up = select_int(greater(rest, splat(_HALF)), splat_int(1), splat_int(0))
    return whole + up - select_int(greater(rest, splat(-_HALF)), splat_int(0), splat_int(1))


@inlined
def _all(rule, x, q, n, scale, low, high):
    for i in range(0, n - LANES + 1, LANES):
        store_words(q + 2 * i, rule(_within(load(x + 4 * i), scale, low, high)))
    rest = n % LANES
    if rest:
        m, i = first_lanes(rest), n - rest
        store_words_masked(q + 2 * i, rule(_within(load_masked(x + 4 * i, m), scale, low, high)), m)


_RULES = {Rounding.FLOOR: 0, Rounding.ZERO: 1, Rounding.NEAREST: 2}


def _pack_quantize(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    fixed, rule = format_of("quantize", call.attrs), _RULES[rounding_of("quantize", call.attrs)]
    return [*ptrs[:2], call.types[0].size, rule, *map(float_bits, (2.0**fixed.fraction, fixed.lowest, fixed.highest))]


@kernel("cpu.quantize", pack=_pack_quantize)
def quantize(p):
    """f32 -> i16"""
    x, q, n, rule, scale, low, high = _read7(p)
    factor, least, most = splat(bits_float(scale)), splat(bits_float(low)), splat(bits_float(high))
    if rule == 0:
        _all(_floor, x, q, n, factor, least, most)
    elif rule == 1:
        _all(_zero, x, q, n, factor, least, most)
    else:
        _all(_nearest, x, q, n, factor, least, most)


def _pack_dequantize(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    return [*ptrs[:2], call.types[0].size, float_bits(format_of("dequantize", call.attrs).step)]


@kernel("cpu.dequantize", pack=_pack_dequantize)
def dequantize(p):
    """i16 -> f32"""
    q, y, n, step = _read4(p)
    s = splat(bits_float(step))
    for i in range(0, n - LANES + 1, LANES):
        store(y + 4 * i, to_float(load_words(q + 2 * i)) * s)
    rest = n % LANES
    if rest:
        m, i = first_lanes(rest), n - rest
        store_masked(y + 4 * i, to_float(load_words_masked(q + 2 * i, m)) * s, m)
