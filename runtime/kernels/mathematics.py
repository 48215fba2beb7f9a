"""exp, log and tanh of vectors, as polynomials.

The coefficients are minimax fits (Remez exchange on the relative error over the reduced range, then rounded to float32) made for
this project; the tests hold the error below 2 units in the last place.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from runtime.kernels.simd import (
    absolute,
    bits_to_float,
    copy_sign,
    float_to_bits,
    fma,
    greater,
    maximum,
    nearest,
    select,
    shift_left,
    shift_right,
    splat,
    splat_int,
    to_float,
    to_int,
)

_F = np.float32
LOG2_E, LN2_HIGH, LN2_LOW = _F(1.4426950408889634), _F(0.693359375), _F(-2.1219444005469058e-4)
EXP = tuple(_F(c) for c in (0.49999994, 0.1666652, 0.041668393, 0.008368781, 0.0013814467))
"""exp(r) = 1 + r + r^2 (EXP[0] + EXP[1] r + ...) for ``|r| <= ln(2)/2``."""
TANH = tuple(_F(c) for c in (-0.33333272, 0.13331152, -0.053714108, 0.020551724, -0.0056039193))
"""tanh(x) = x + x^3 (TANH[0] + TANH[1] x^2 + ...) for ``|x| <= 0.625``."""
LOG = tuple(_F(c) for c in (0.66666776, 0.39977542, 0.2987173))
"""log(1 + f) = f - s (f - z (LOG[0] + LOG[1] z + ...)), s = f / (2 + f), z = s^2, for 1 + f in ``sqrt(1/2)..sqrt(2)``."""
HALF_ROOT, MANTISSA, TO_ONE = 0x3F3504F3, 0x7FFFFF, 0x3F800000 - 0x3F3504F3
"""Bits of sqrt(1/2); of a mantissa; from the bits of sqrt(1/2) to those of 1."""
LOWEST, HIGHEST = _F(-87.0), _F(88.0)
ONE, TWO, SMALL = _F(1), _F(2), _F(0.625)


def inlined(function: Callable[..., Any]) -> Any:
    """A part of kernels: compiled into each caller."""
    return njit(error_model="numpy", forceinline=True)(function)


@inlined
def exp(x):
    """exp of each lane; arguments are clipped to -87..88, where float32 still has normal results."""
    low, high = splat(LOWEST), splat(HIGHEST)
    x = select(greater(low, x), low, select(greater(x, high), high, x))
    n = nearest(x * splat(LOG2_E))
    r = fma(n, splat(-LN2_LOW), fma(n, splat(-LN2_HIGH), x))
    p = fma(fma(splat(EXP[4]), r, splat(EXP[3])), r, splat(EXP[2]))
    p = fma(fma(p, r, splat(EXP[1])), r, splat(EXP[0]))
    y = fma(p, r * r, r) + splat(ONE)
    return y * bits_to_float(shift_left(to_int(n) + splat_int(127), 23))


@inlined
def log(x):
    """log of each lane, which must be above 0, finite and normal."""
    bits = float_to_bits(x) + splat_int(TO_ONE)
    n = to_float(shift_right(bits, 23) - splat_int(127))
    f = bits_to_float((bits & splat_int(MANTISSA)) + splat_int(HALF_ROOT)) - splat(ONE)
    s = f / (splat(TWO) + f)
    z = s * s
    p = z * fma(fma(splat(LOG[2]), z, splat(LOG[1])), z, splat(LOG[0]))
    low = fma(n, splat(LN2_LOW), f - s * (f - p))
    return fma(n, splat(LN2_HIGH), low)


@inlined
def tanh(x):
    """tanh of each lane: a polynomial near 0, else 1 - 2 / (exp(2 |x|) + 1) with the sign of x."""
    z = x * x
    p = fma(fma(splat(TANH[4]), z, splat(TANH[3])), z, splat(TANH[2]))
    p = fma(fma(p, z, splat(TANH[1])), z, splat(TANH[0]))
    near = fma(p, x * z, x)
    size = absolute(x)
    far = copy_sign(splat(ONE) - splat(TWO) / (exp(size + size) + splat(ONE)), x)
    return select(greater(size, splat(SMALL)), far, near)


@inlined
def relu(x):
    """max(x, 0) of each lane; NaN stays."""
    return maximum(x, splat(_F(0)))
