"""Batch normalization: sums over rows, a vector of channels at a time, then every element.

Training reads its images three times (the mean, the variance about it, the result) and the gradient twice, each time from the
first row to the last. Sums have a fixed order: four rows (or two, of two sums) at a time within a block of rows, then block by
block.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from hw.kernels.tiling import row_block
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import bits_float, first_lanes, fma, load_masked, splat, square_root, store_masked
from runtime.kernels.table import float_bits, kernel, number

_ZERO, _ONE = np.float32(0), np.float32(1)
_read11, _read13 = words(11), words(13)


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    """Addresses; rows and columns, rows of a block; the number of rows and epsilon as floats."""
    images = call.types[0]
    columns = images.shape[-1]
    rows = images.size // columns if columns else 0
    extents = [rows, columns, row_block(columns), float_bits(max(rows, 1)), float_bits(number(call, "epsilon"))]
    return [*ptrs[:-1], *extents]


@inlined
def _first_moment(x, about):
    return x


@inlined
def _second_moment(x, about):
    d = x - about
    return d * d


@inlined
def _mean(f, x, about, mean, rows, columns, block, n):
    """``mean[c] = sum over rows of f(x[r, c], about[c]) / n``"""
    step = 4 * columns
    for r0 in range(0, rows, block):
        last = r0 + block >= rows
        for c in range(0, step, 4 * LANES):
            m = first_lanes(columns - c // 4)
            centre = load_masked(about + c, m)
            at = x + r0 * step + c
            p = splat(_ZERO)
            q, s, t = p, p, p
            for _ in range(min(block, rows - r0) // 4):
                p = p + f(load_masked(at, m), centre)
                q = q + f(load_masked(at + step, m), centre)
                s = s + f(load_masked(at + 2 * step, m), centre)
                t = t + f(load_masked(at + 3 * step, m), centre)
                at += 4 * step
            for _ in range(min(block, rows - r0) % 4):
                p = p + f(load_masked(at, m), centre)
                at += step
            p = (p + q) + (s + t)
            if r0:
                p = load_masked(mean + c, m) + p
            store_masked(mean + c, p / n if last else p, m)


@inlined
def _normalize(x, scale, shift, mean, variance, y, rows, columns, block, epsilon):
    """``y = (x - mean) * (scale / sqrt(variance + epsilon)) + shift``"""
    step = 4 * columns
    for r0 in range(0, rows, block):
        for c in range(0, step, 4 * LANES):
            m = first_lanes(columns - c // 4)
            factor = load_masked(scale + c, m) / square_root(load_masked(variance + c, m) + epsilon)
            centre, above = load_masked(mean + c, m), load_masked(shift + c, m)
            at = r0 * step + c
            for _ in range(min(block, rows - r0)):
                store_masked(y + at, fma(load_masked(x + at, m) - centre, factor, above), m)
                at += step


@kernel("cpu.batch_norm", pack=_pack)
def batch_norm(p):
    """Three sweeps."""
    x, scale, shift, y, mean, variance, rows, columns, block, n, epsilon = _read11(p)
    count = splat(bits_float(n))
    _mean(_first_moment, x, scale, mean, rows, columns, block, count)
    _mean(_second_moment, x, mean, variance, rows, columns, block, count)
    _normalize(x, scale, shift, mean, variance, y, rows, columns, block, splat(bits_float(epsilon)))


@kernel("cpu.batch_norm_inference", pack=_pack)
def batch_norm_inference(p):
    """One sweep."""
    x, scale, shift, mean, variance, y, rows, columns, block, _, epsilon = _read11(p)
    _normalize(x, scale, shift, mean, variance, y, rows, columns, block, splat(bits_float(epsilon)))


@inlined
def _sums(dy, x, mean, dscale, dshift, rows, columns, block):
    """``dshift[c] = sum of dy``, ``dscale[c] = sum of dy * (x - mean)``"""
    step = 4 * columns
    for r0 in range(0, rows, block):
        for c in range(0, step, 4 * LANES):
            m = first_lanes(columns - c // 4)
            centre = load_masked(mean + c, m)
            at = r0 * step + c
            p = splat(_ZERO)
            q, s, t = p, p, p
            for _ in range(min(block, rows - r0) // 2):
                g, h = load_masked(dy + at, m), load_masked(dy + at + step, m)
                p, q = p + g, q + h
                s = fma(g, load_masked(x + at, m) - centre, s)
                t = fma(h, load_masked(x + at + step, m) - centre, t)
                at += 2 * step
            if min(block, rows - r0) % 2:
                g = load_masked(dy + at, m)
                p, s = p + g, fma(g, load_masked(x + at, m) - centre, s)
            p, s = p + q, s + t
            if r0:
                p, s = load_masked(dshift + c, m) + p, load_masked(dscale + c, m) + s
            store_masked(dshift + c, p, m)
            store_masked(dscale + c, s, m)


@kernel("cpu.batch_norm_grad", pack=_pack)
def batch_norm_grad(p):
    """``dx = (dy - dshift / n - (x - mean) * dscale * rstd / n) * scale * rstd`` with ``rstd = 1 / sqrt(variance + epsilon)``"""
    dy, x, scale, mean, variance, dx, dscale, dshift, rows, columns, block, n, epsilon = _read13(p)
    count, step = splat(bits_float(n)), 4 * columns
    _sums(dy, x, mean, dscale, dshift, rows, columns, block)
    for c in range(0, step, 4 * LANES):
        m = first_lanes(columns - c // 4)
        rstd = splat(_ONE) / square_root(load_masked(variance + c, m) + splat(bits_float(epsilon)))
        store_masked(dscale + c, load_masked(dscale + c, m) * rstd, m)
    for r0 in range(0, rows, block):
        for c in range(0, step, 4 * LANES):
            m = first_lanes(columns - c // 4)
            rstd = splat(_ONE) / square_root(load_masked(variance + c, m) + splat(bits_float(epsilon)))
            factor, slope = load_masked(scale + c, m) * rstd, load_masked(dscale + c, m) * rstd / count
            centre, level = load_masked(mean + c, m), load_masked(dshift + c, m) / count
            at = r0 * step + c
            for _ in range(min(block, rows - r0)):
                g = load_masked(dy + at, m) - level - (load_masked(x + at, m) - centre) * slope
                store_masked(dx + at, g * factor, m)
                at += step
