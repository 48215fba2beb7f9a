"""Pooling and its gradients, a vector of channels at a time.

Windows are cut at the image's edge, so that nothing is read or written outside. Where they do not overlap, the gradient of the
maximum writes each window; else every pixel gathers from the windows that hold it. Loops are compiled once for images without a
border, with nothing to cut, and once for those with one.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from runtime.kernels.emit import LANES, keep_small, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import (
    equal,
    first_lanes,
    greater,
    load_bytes,
    load_masked,
    select,
    select_int,
    splat,
    splat_int,
    store_bytes,
    store_masked,
    zero_bytes,
)
from runtime.kernels.table import kernel, whole

_ZERO, _LEAST = np.float32(0), np.float32(-np.inf)
_read = words(12)


def _block(call: Call, image: Sequence[int], *ptrs: int) -> list[int]:
    """Three addresses; images, rows, columns, channels; window, stride, pad; rows and columns of the pooled images."""
    b, h, w, c = image
    window, stride, pad = (whole(call, name) for name in ("window", "stride", "pad"))
    return [*ptrs, b, h, w, c, window, stride, pad, *((n + 2 * pad - window) // stride + 1 for n in (h, w))]


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    return _block(call, call.types[0].shape, ptrs[0], ptrs[1], ptrs[2] if len(ptrs) == 4 else 0)


def _pack_grad(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    b, _, _, c = call.types[0].shape
    image = (b, whole(call, "height"), whole(call, "width"), c)
    return _block(call, image, ptrs[0], ptrs[-2], ptrs[1] if len(ptrs) == 4 else 0)


@inlined
def _within(place, window, stride, pad, extent):
    """Where a window begins, and its places inside the image, when all are."""
    return place * stride, 0, window


@inlined
def _cut(place, window, stride, pad, extent):
    """Where a window begins, maybe before the image, and its places inside the image."""
    at = place * stride - pad
    return at, max(0, -at), min(window, extent - at)


@inlined
def _largest(cut, x, y, where, b, h, w, channels, window, stride, pad, oh, ow):
    keep_small()
    at = 0
    for n in range(b):
        for oy in range(oh):
            y0, u0, u1 = cut(oy, window, stride, pad, h)
            for ox in range(ow):
                x0, v0, v1 = cut(ox, window, stride, pad, w)
                corner = x + 4 * ((n * h + y0) * w + x0) * channels
                for c in range(0, channels, LANES):
                    m = first_lanes(channels - c)
                    best, index = splat(_LEAST), splat_int(0)
                    for u in range(u0, u1):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(v0, v1):
                            value = load_masked(row + 4 * v * channels, m)
                            larger = greater(value, best)
                            best = select(larger, value, best)
                            index = select_int(larger, splat_int(u * window + v), index)
                    store_masked(y + 4 * (at + c), best, m)
                    store_bytes(where + at + c, index, m)
                at += channels


@kernel("cpu.max_pool", pack=_pack)
def max_pool(p):
    """The first of equal elements wins."""
    x, y, where, b, h, w, channels, window, stride, pad, oh, ow = _read(p)
    if pad:
        _largest(_cut, x, y, where, b, h, w, channels, window, stride, pad, oh, ow)
    else:
        _largest(_within, x, y, where, b, h, w, channels, window, stride, pad, oh, ow)


@inlined
def _first(place, window, stride):
    """The first window that holds a place along an axis, both counted from the border's edge; the last is ``place // stride``."""
    return max(0, (place - window + stride) // stride)


@inlined
def _gather_largest(dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow):
    keep_small()
    for n in range(b):
        for y in range(h):
            for x in range(w):
                for c in range(0, channels, LANES):
                    m, total = first_lanes(channels - c), splat(_ZERO)
                    for oy in range(_first(y + pad, window, stride), min(oh, (y + pad) // stride + 1)):
                        for ox in range(_first(x + pad, window, stride), min(ow, (x + pad) // stride + 1)):
                            at = ((n * oh + oy) * ow + ox) * channels + c
                            place = (y + pad - oy * stride) * window + x + pad - ox * stride
                            mine = equal(load_bytes(where + at, m), splat_int(place))
                            total = total + select(mine, load_masked(dy + 4 * at, m), splat(_ZERO))
                    store_masked(dx + 4 * (((n * h + y) * w + x) * channels + c), total, m)


@inlined
def _spread(cut, dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow):
    keep_small()
    at = 0
    for n in range(b):
        for oy in range(oh):
            y0, u0, u1 = cut(oy, window, stride, pad, h)
            for ox in range(ow):
                x0, v0, v1 = cut(ox, window, stride, pad, w)
                corner = dx + 4 * ((n * h + y0) * w + x0) * channels
                for c in range(0, channels, LANES):
                    m = first_lanes(channels - c)
                    g, index = load_masked(dy + 4 * (at + c), m), load_bytes(where + at + c, m)
                    for u in range(u0, u1):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(v0, v1):
                            mine = equal(index, splat_int(u * window + v))
                            store_masked(row + 4 * v * channels, select(mine, g, splat(_ZERO)), m)
                at += channels


@kernel("cpu.max_pool_grad", pack=_pack_grad)
def max_pool_grad(p):
    """Words as in `_block`: gradient, result, where."""
    dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow = _read(p)
    if stride < window:
        if pad:
            _gather_largest(dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow)
        else:
            _gather_largest(dy, dx, where, b, h, w, channels, window, stride, 0, oh, ow)
        return
    if stride > window or oh * window < h + pad or ow * window < w + pad:
        zero_bytes(dx, 4 * b * h * w * channels)
    if pad:
        _spread(_cut, dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow)
    else:
        _spread(_within, dy, dx, where, b, h, w, channels, window, stride, pad, oh, ow)


@inlined
def _average(cut, x, y, b, h, w, channels, window, stride, pad, oh, ow):
    keep_small()
    share = splat(np.float32(1.0 / (window * window)))
    at = 0
    for n in range(b):
        for oy in range(oh):
            y0, u0, u1 = cut(oy, window, stride, pad, h)
            for ox in range(ow):
                x0, v0, v1 = cut(ox, window, stride, pad, w)
                corner = x + 4 * ((n * h + y0) * w + x0) * channels
                for c in range(0, channels, LANES):
                    m, total = first_lanes(channels - c), splat(_ZERO)
                    for u in range(u0, u1):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(v0, v1):
                            total = total + load_masked(row + 4 * v * channels, m)
                    store_masked(y + 4 * (at + c), total * share, m)
                at += channels


@kernel("cpu.avg_pool", pack=_pack)
def avg_pool(p):
    """The mean of each window."""
    x, y, _, b, h, w, channels, window, stride, pad, oh, ow = _read(p)
    if pad:
        _average(_cut, x, y, b, h, w, channels, window, stride, pad, oh, ow)
    else:
        _average(_within, x, y, b, h, w, channels, window, stride, pad, oh, ow)


@inlined
def _gather_average(dy, dx, b, h, w, channels, window, stride, pad, oh, ow):
    keep_small()
    share = splat(np.float32(1.0 / (window * window)))
    for n in range(b):
        for y in range(h):
            for x in range(w):
                for c in range(0, channels, LANES):
                    m, total = first_lanes(channels - c), splat(_ZERO)
                    for oy in range(_first(y + pad, window, stride), min(oh, (y + pad) // stride + 1)):
                        for ox in range(_first(x + pad, window, stride), min(ow, (x + pad) // stride + 1)):
                            total = total + load_masked(dy + 4 * (((n * oh + oy) * ow + ox) * channels + c), m) * share
                    store_masked(dx + 4 * (((n * h + y) * w + x) * channels + c), total, m)


@kernel("cpu.avg_pool_grad", pack=_pack_grad)
def avg_pool_grad(p):
    """Every pixel gathers its share from the windows that hold it."""
    dy, dx, _, b, h, w, channels, window, stride, pad, oh, ow = _read(p)
    if pad:
        _gather_average(dy, dx, b, h, w, channels, window, stride, pad, oh, ow)
    else:
        _gather_average(dy, dx, b, h, w, channels, window, stride, 0, oh, ow)
