"""Softmax cross entropy and its gradient, row by row; the loss is added up in float64, in row order."""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Sequence

import numpy as np

from hw.kernels.record import Call
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import exp, inlined
from runtime.kernels.simd import (
    bits_float,
    first_lanes,
    get_float,
    get_int,
    lane_max,
    lane_sum,
    load_masked,
    maximum,
    select,
    set_float,
    splat,
    store_masked,
)
from runtime.kernels.table import float_bits, kernel, number

_ZERO, _ONE, _LEAST = np.float32(0), np.float32(1), np.float32(-np.inf)
_read6, _read7 = words(6), words(7)


def _denominator(call: Call) -> int:
    return float_bits(number(call, "denominator"))


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    logits, labels, loss, probs, _ = ptrs
    return [logits, labels, loss, probs, *call.types[0].shape, _denominator(call)]


@inlined
def _largest(x, classes):
    best = splat(_LEAST)
    for c in range(0, classes, LANES):
        m = first_lanes(classes - c)
        best = maximum(best, select(m, load_masked(x + 4 * c, m), splat(_LEAST)))
    return lane_max(best)


@kernel("cpu.softmax_cross_entropy", pack=_pack)
def softmax_cross_entropy(p):
    """A label out of range makes the loss NaN; nothing is read out of bounds."""
    logits, labels, loss, probs, rows, classes, denominator = _read7(p)
    total = 0.0
    for r in range(rows):
        x, y = logits + 4 * r * classes, probs + 4 * r * classes
        shift = _largest(x, classes)
        s = splat(_ZERO)
        for c in range(0, classes, LANES):
            m = first_lanes(classes - c)
            e = select(m, exp(load_masked(x + 4 * c, m) - splat(shift)), splat(_ZERO))
            store_masked(y + 4 * c, e, m)
            s = s + e
        mass = lane_sum(s)
        for c in range(0, classes, LANES):
            m = first_lanes(classes - c)
            store_masked(y + 4 * c, load_masked(y + 4 * c, m) / splat(mass), m)
        label = get_int(labels + 8 * r)
        if 0 <= label < classes:
            total += math.log(np.float64(mass)) - (np.float64(get_float(x + 4 * label)) - np.float64(shift))
        else:
            total = np.nan
    set_float(loss, np.float32(total / np.float64(bits_float(denominator))))


def _pack_grad(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    probs, labels, dlogits, _ = ptrs
    return [probs, labels, dlogits, *call.types[0].shape, _denominator(call)]


@kernel("cpu.softmax_cross_entropy_grad", pack=_pack_grad)
def softmax_cross_entropy_grad(p):
    """(probs - one at the label) / denominator"""
    probs, labels, dlogits, rows, classes, denominator = _read6(p)
    share = bits_float(denominator)
    for i in range(0, rows * classes, LANES):
        m = first_lanes(rows * classes - i)
        store_masked(dlogits + 4 * i, load_masked(probs + 4 * i, m) / splat(share), m)
    for r in range(rows):
        label = get_int(labels + 8 * r)
        if 0 <= label < classes:
            at = 4 * (r * classes + label)
            set_float(dlogits + at, (get_float(probs + at) - _ONE) / share)
