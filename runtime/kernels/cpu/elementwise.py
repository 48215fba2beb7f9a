"""Element by element, a vector at a time. Results may overwrite operands of the same element."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from typing import Any

import numpy as np

from graph.tensor_type import DType, TensorType
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels import mathematics
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import (
    bits_float,
    first_lanes,
    get_float,
    greater,
    load,
    load_masked,
    select,
    splat,
    store,
    store_masked,
)
from runtime.kernels.table import float_bits, kernel, number

_ZERO, _ONE = np.float32(0), np.float32(1)
_read4 = words(4)


@inlined
def unary(f, x, y, s, n):
    """``y = f(x, s)`` with `s` in every lane."""
    for i in range(0, n - LANES + 1, LANES):
        store(y + 4 * i, f(load(x + 4 * i), s))
    rest = n % LANES
    if rest:
        m, i = first_lanes(rest), n - rest
        store_masked(y + 4 * i, f(load_masked(x + 4 * i, m), s), m)


@inlined
def binary(f, a, b, y, n):
    """``y = f(a, b)``"""
    for i in range(0, n - LANES + 1, LANES):
        store(y + 4 * i, f(load(a + 4 * i), load(b + 4 * i)))
    rest = n % LANES
    if rest:
        m, i = first_lanes(rest), n - rest
        store_masked(y + 4 * i, f(load_masked(a + 4 * i, m), load_masked(b + 4 * i, m)), m)


def _pack_unary(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, y, _ = ptrs
    return [x, y, call.types[0].size, 0]


def _pack_binary(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    a, b, y, _ = ptrs
    return [a, b, y, call.types[0].size]


@inlined
def _relu(x, s):
    return mathematics.relu(x)


@kernel("cpu.relu", pack=_pack_unary)
def relu(p):
    """max(x, 0)"""
    x, y, n, _ = _read4(p)
    unary(_relu, x, y, splat(_ZERO), n)


@inlined
def _relu_grad(y, dy):
    zero = splat(_ZERO)
    return select(greater(y, zero), dy, zero)


@kernel("cpu.relu_grad", pack=_pack_binary)
def relu_grad(p):
    """dy where y > 0, else 0"""
    y, dy, dx, n = _read4(p)
    binary(_relu_grad, y, dy, dx, n)


@inlined
def _tanh(x, s):
    return mathematics.tanh(x)


@kernel("cpu.tanh", pack=_pack_unary)
def tanh(p):
    """tanh(x)"""
    x, y, n, _ = _read4(p)
    unary(_tanh, x, y, splat(_ZERO), n)


@inlined
def _tanh_grad(y, dy):
    return dy * (splat(_ONE) - y * y)


@kernel("cpu.tanh_grad", pack=_pack_binary)
def tanh_grad(p):
    """dy (1 - y^2)"""
    y, dy, dx, n = _read4(p)
    binary(_tanh_grad, y, dy, dx, n)


@inlined
def _add(a, b):
    return a + b


@kernel("cpu.add", pack=_pack_binary)
def add(p):
    """a + b"""
    a, b, y, n = _read4(p)
    binary(_add, a, b, y, n)


@inlined
def _times(x, s):
    return x * s


def _pack_scale(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, y, _ = ptrs
    return [x, y, call.types[0].size, float_bits(number(call, "factor"))]


@kernel("cpu.scale", pack=_pack_scale)
def scale(p):
    """x times a constant"""
    x, y, n, factor = _read4(p)
    unary(_times, x, y, splat(bits_float(factor)), n)


@kernel("cpu.scale_by", pack=lambda call, ptrs: [*ptrs[:3], call.types[0].size])
def scale_by(p):
    """x times a scalar from memory"""
    x, s, y, n = _read4(p)
    unary(_times, x, y, splat(get_float(s)), n)


def _pack_fill(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    attrs: Any = call.attrs
    if attrs["dtype"] != DType.F32:
        raise RunError(f"cpu.fill makes f32, not {attrs['dtype']}")
    return [0, ptrs[0], TensorType(shape=attrs["shape"]).size, float_bits(attrs["value"])]


@kernel("cpu.fill", pack=_pack_fill)
def fill(p):
    """a constant"""
    _, y, n, value = _read4(p)
    s = splat(bits_float(value))
    for i in range(0, n - LANES + 1, LANES):
        store(y + 4 * i, s)
    rest = n % LANES
    if rest:
        store_masked(y + 4 * (n - rest), s, first_lanes(rest))


@inlined
def _sum(g, more):
    return g + more


@kernel("cpu.accumulate", pack=lambda call, ptrs: [ptrs[0], ptrs[1], ptrs[2], call.types[0].size])
def accumulate(p):
    """Gradients of a further micro-batch are added to those before."""
    g, more, to, n = _read4(p)
    binary(_sum, g, more, to, n)
