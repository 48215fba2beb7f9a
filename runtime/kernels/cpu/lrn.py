"""Local response normalization: pixel by pixel, a vector of channels at a time.

A neighbourhood is read as `size` vectors, each a channel further, those outside the image as zeros.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from hw.kernels.tiling import LRN_PIXELS
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import exp, inlined, log
from runtime.kernels.simd import below, bits_float, first_lanes, fma, iota, load_masked, splat, splat_int, store_masked
from runtime.kernels.table import float_bits, kernel, number, whole

_ZERO = np.float32(0)
_read9, _read10 = words(9), words(10)


def _extents(call: Call) -> list[int]:
    """Pixels, channels, neighbours on either side."""
    channels = call.types[0].shape[-1]
    return [call.types[0].size // channels if channels else 0, channels, whole(call, "size") // 2]


@inlined
def _to_minus(scale, beta):
    """``scale^-beta``"""
    return exp(splat(_ZERO) - beta * log(scale))


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    return [*ptrs[:3], *_extents(call), *(float_bits(number(call, name)) for name in ("alpha", "beta", "k"))]


@kernel("cpu.lrn", pack=_pack)
def lrn(p):
    """``scale = k + alpha * sum of squares around``, ``y = x * scale^-beta``"""
    x, y, scale, pixels, channels, half, alpha, beta, k = _read9(p)
    for r in range(pixels):
        at = 4 * r * channels
        for c in range(0, channels, LANES):
            m, total = first_lanes(channels - c), splat(_ZERO)
            for j in range(c - half, c + half + 1):
                near = load_masked(x + at + 4 * j, below(iota(j), splat_int(channels)))
                total = fma(near, near, total)
            total = fma(splat(bits_float(alpha)), total, splat(bits_float(k)))
            store_masked(scale + at + 4 * c, total, m)
            store_masked(y + at + 4 * c, load_masked(x + at + 4 * c, m) * _to_minus(total, splat(bits_float(beta))), m)


def _pack_grad(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    alpha, beta = number(call, "alpha"), number(call, "beta")
    return [*ptrs, *_extents(call), float_bits(-2.0 * alpha * beta), float_bits(beta)]


@kernel("cpu.lrn_grad", pack=_pack_grad)
def lrn_grad(p):
    """``dx = t - 2 alpha beta x * sum around of t x / scale`` with ``t = dy * scale^-beta``, which is first in dx.

    Some pixels at a time: a neighbourhood overlaps several vectors, and reading it waits for those that were just written.
    """
    dy, x, scale, dx, parts, pixels, channels, half, slope, beta = _read10(p)
    step = 4 * channels
    for r0 in range(0, pixels, LRN_PIXELS):
        n = min(LRN_PIXELS, pixels - r0)
        at = r0 * step
        for r in range(n):
            for c in range(0, step, 4 * LANES):
                m, here = first_lanes(channels - c // 4), at + r * step + c
                size = load_masked(scale + here, m)
                t = load_masked(dy + here, m) * _to_minus(size, splat(bits_float(beta)))
                store_masked(dx + here, t, m)
                store_masked(parts + r * step + c, t * load_masked(x + here, m) / size, m)
        for r in range(n):
            for c in range(0, channels, LANES):
                m, here, total = first_lanes(channels - c), at + r * step + 4 * c, splat(_ZERO)
                for j in range(c - half, c + half + 1):
                    total = total + load_masked(parts + r * step + 4 * j, below(iota(j), splat_int(channels)))
                t = load_masked(dx + here, m)
                store_masked(dx + here, fma(load_masked(x + here, m) * splat(bits_float(slope)), total, t), m)
