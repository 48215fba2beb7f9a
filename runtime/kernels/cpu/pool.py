"""Pooling and its gradients, a vector of channels at a time.

Where windows do not overlap, the gradient writes each window; else every pixel gathers from the windows that hold it.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from runtime.kernels.emit import LANES, words
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
_read = words(11)


def _block(call: Call, image: Sequence[int], *ptrs: int) -> list[int]:
    """Three addresses; images, rows, columns, channels; window, stride; rows and columns of the pooled images."""
    b, h, w, c = image
    window, stride = whole(call, "window"), whole(call, "stride")
    return [*ptrs, b, h, w, c, window, stride, (h - window) // stride + 1, (w - window) // stride + 1]


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    return _block(call, call.types[0].shape, ptrs[0], ptrs[1], ptrs[2] if len(ptrs) == 4 else 0)


def _pack_grad(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    b, _, _, c = call.types[0].shape
    image = (b, whole(call, "height"), whole(call, "width"), c)
    return _block(call, image, ptrs[0], ptrs[-2], ptrs[1] if len(ptrs) == 4 else 0)


@kernel("cpu.max_pool", pack=_pack)
def max_pool(p):
    """The first of equal elements wins."""
    x, y, where, b, h, w, channels, window, stride, oh, ow = _read(p)
    at = 0
    for n in range(b):
        for oy in range(oh):
            for ox in range(ow):
                corner = x + 4 * ((n * h + oy * stride) * w + ox * stride) * channels
                for c in range(0, channels, LANES):
                    m = first_lanes(channels - c)
                    best, index = splat(_LEAST), splat_int(0)
                    for u in range(window):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(window):
                            value = load_masked(row + 4 * v * channels, m)
                            larger = greater(value, best)
                            best = select(larger, value, best)
                            index = select_int(larger, splat_int(u * window + v), index)
                    store_masked(y + 4 * (at + c), best, m)
                    store_bytes(where + at + c, index, m)
                at += channels


@inlined
def _first(place, window, stride):
    """The first window that holds a place along an axis; the last is ``place // stride``."""
    return max(0, (place - window + stride) // stride)


@kernel("cpu.max_pool_grad", pack=_pack_grad)
def max_pool_grad(p):
    """Words as in `_block`: gradient, result, where."""
    dy, dx, where, b, h, w, channels, window, stride, oh, ow = _read(p)
    if stride < window:
        for n in range(b):
            for y in range(h):
                for x in range(w):
                    for c in range(0, channels, LANES):
                        m, total = first_lanes(channels - c), splat(_ZERO)
                        for oy in range(_first(y, window, stride), min(oh, y // stride + 1)):
                            for ox in range(_first(x, window, stride), min(ow, x // stride + 1)):
                                at = ((n * oh + oy) * ow + ox) * channels + c
                                mine = equal(load_bytes(where + at, m), splat_int((y - oy * stride) * window + x - ox * stride))
                                total = total + select(mine, load_masked(dy + 4 * at, m), splat(_ZERO))
                        store_masked(dx + 4 * (((n * h + y) * w + x) * channels + c), total, m)
        return
    if stride > window or oh * window != h or ow * window != w:
        zero_bytes(dx, 4 * b * h * w * channels)
    at = 0
    for n in range(b):
        for oy in range(oh):
            for ox in range(ow):
                corner = dx + 4 * ((n * h + oy * stride) * w + ox * stride) * channels
                for c in range(0, channels, LANES):
                    m = first_lanes(channels - c)
                    g, index = load_masked(dy + 4 * (at + c), m), load_bytes(where + at + c, m)
                    for u in range(window):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(window):
                            mine = equal(index, splat_int(u * window + v))
                            store_masked(row + 4 * v * channels, select(mine, g, splat(_ZERO)), m)
                at += channels


@kernel("cpu.avg_pool", pack=_pack)
def avg_pool(p):
    """The mean of each window."""
    x, y, _, b, h, w, channels, window, stride, oh, ow = _read(p)
    share = splat(np.float32(1.0 / (window * window)))
    at = 0
    for n in range(b):
        for oy in range(oh):
            for ox in range(ow):
                corner = x + 4 * ((n * h + oy * stride) * w + ox * stride) * channels
                for c in range(0, channels, LANES):
                    m, total = first_lanes(channels - c), splat(_ZERO)
                    for u in range(window):
                        row = corner + 4 * (u * w * channels + c)
                        for v in range(window):
                            total = total + load_masked(row + 4 * v * channels, m)
                    store_masked(y + 4 * (at + c), total * share, m)
                at += channels


@kernel("cpu.avg_pool_grad", pack=_pack_grad)
def avg_pool_grad(p):
    """Every pixel gathers its share from the windows that hold it."""
    dy, dx, _, b, h, w, channels, window, stride, oh, ow = _read(p)
    share = splat(np.float32(1.0 / (window * window)))
    for n in range(b):
        for y in range(h):
            for x in range(w):
                for c in range(0, channels, LANES):
                    m, total = first_lanes(channels - c), splat(_ZERO)
                    for oy in range(_first(y, window, stride), min(oh, y // stride + 1)):
                        for ox in range(_first(x, window, stride), min(ow, x // stride + 1)):
                            total = total + load_masked(dy + 4 * (((n * oh + oy) * ow + ox) * channels + c), m) * share
                    store_masked(dx + 4 * (((n * h + y) * w + x) * channels + c), total, m)
