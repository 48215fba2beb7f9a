"""Fixed-point words for floats and back; equal to `graph.fixed_point` in every case.

A float times a power of two >= 1 is exact or infinite, and what is beyond a format is cut before it is rounded. From there on
whole part and remainder are exact, so ties are found by comparing, not by adding a half, which would round.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from numba import cuda, float32, int16, int32

from graph.fixed_point import Rounding
from graph.ops.quantize import format_of, rounding_of
from hw.kernels.record import Call
from runtime.kernels.cuda.flat import inlined, pair
from runtime.kernels.cuda.kernel import F32, I16, NUMBER, WHOLE, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, store4

RULES = {Rounding.FLOOR: 0, Rounding.ZERO: 1, Rounding.NEAREST: 2}


@inlined
def _word(x, scale, low, high, rule):
    x = x * scale if x == x else float32(0)
    x = low if x < low else (high if x > high else x)
    whole = int32(x)
    rest = x - float32(whole)
    if rule == 0 and rest < float32(0):
        whole -= 1
    elif rule == 2:  # a tie goes down
        if rest > float32(0.5):
            whole += 1
        elif rest <= float32(-0.5):
            whole -= 1
    return int16(whole)


def _quantize(x, q, scale, low, high, rule, n):
    i = cuda.grid(1)
    if i < n:
        q[i] = _word(x[i], scale, low, high, rule)


def _quantize4(x, q, scale, low, high, rule, n, head):
    i, body = cuda.grid(1), (n - head) >> 2
    if i < body:
        at = head + 4 * i
        a, b, c, d = load4(x, at)
        a, b = _word(a, scale, low, high, rule), _word(b, scale, low, high, rule)
        c, d = _word(c, scale, low, high, rule), _word(d, scale, low, high, rule)
        store4(q, at, a, b, c, d)
    if i < n - 4 * body:
        k = i if i < head else i + 4 * body
        q[k] = _word(x[k], scale, low, high, rule)


QUANTIZE = pair("quantize", _quantize, _quantize4, (F32, I16, NUMBER, NUMBER, NUMBER, WHOLE))


@cuda_kernel("cuda.quantize", kernels=QUANTIZE.kernels)
def quantize(call: Call, places: Sequence[Place]) -> list[Launch]:
    """f32 -> i16"""
    fixed, rule = format_of("quantize", call.attrs), RULES[rounding_of("quantize", call.attrs)]
    return QUANTIZE.over(places[:2], 2.0**fixed.fraction, fixed.lowest, fixed.highest, rule)


def _dequantize(q, y, step, n):
    i = cuda.grid(1)
    if i < n:
        y[i] = float32(q[i]) * step


def _dequantize4(q, y, step, n, head):
    i, body = cuda.grid(1), (n - head) >> 2
    if i < body:
        a, b, c, d = load4(q, head + 4 * i)
        store4(y, head + 4 * i, float32(a) * step, float32(b) * step, float32(c) * step, float32(d) * step)
    if i < n - 4 * body:
        k = i if i < head else i + 4 * body
        y[k] = float32(q[k]) * step


DEQUANTIZE = pair("dequantize", _dequantize, _dequantize4, (I16, F32, NUMBER))


@cuda_kernel("cuda.dequantize", kernels=DEQUANTIZE.kernels)
def dequantize(call: Call, places: Sequence[Place]) -> list[Launch]:
    """i16 -> f32"""
    return DEQUANTIZE.over(places[:2], format_of("dequantize", call.attrs).step)
