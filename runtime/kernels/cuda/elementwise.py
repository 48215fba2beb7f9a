"""Element by element: activations, their gradients, sums, constants. Results may overwrite operands of the same element."""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Sequence
from typing import Any

from numba import cuda, float32

from graph.tensor_type import DType
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels.cuda.flat import MOST_BLOCKS, binary, head_of, inlined, pair, unary
from runtime.kernels.cuda.kernel import F32, NUMBER, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, store4


@inlined
def _relu(x, s):
    return x if x > float32(0) or x != x else float32(0)


@inlined
def _relu_grad(y, dy, s, t):
    return dy if y > float32(0) else float32(0)


@inlined
def _tanh(x, s):
    return float32(math.tanh(x))


@inlined
def _tanh_grad(y, dy, s, t):
    return dy * (float32(1) - y * y)


@inlined
def _add(a, b, s, t):
    return a + b


@inlined
def _times(x, s):
    return x * s


RELU, TANH, SCALE = unary("relu", _relu), unary("tanh", _tanh), unary("scale", _times)
RELU_GRAD, TANH_GRAD, ADD = binary("relu_grad", _relu_grad), binary("tanh_grad", _tanh_grad), binary("add", _add)


@cuda_kernel("cuda.relu", kernels=RELU.kernels)
def relu(call: Call, places: Sequence[Place]) -> list[Launch]:
    """max(x, 0)"""
    return RELU.over(places[:2], 0)


@cuda_kernel("cuda.relu_grad", kernels=RELU_GRAD.kernels)
def relu_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """dy where y > 0, else 0"""
    return RELU_GRAD.over(places[:3], 0, 0)


@cuda_kernel("cuda.tanh", kernels=TANH.kernels)
def tanh(call: Call, places: Sequence[Place]) -> list[Launch]:
    """tanh(x)"""
    return TANH.over(places[:2], 0)


@cuda_kernel("cuda.tanh_grad", kernels=TANH_GRAD.kernels)
def tanh_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """dy (1 - y^2)"""
    return TANH_GRAD.over(places[:3], 0, 0)


@cuda_kernel("cuda.add", kernels=ADD.kernels)
def add(call: Call, places: Sequence[Place]) -> list[Launch]:
    """a + b"""
    return ADD.over(places[:3], 0, 0)


@cuda_kernel("cuda.accumulate", kernels=ADD.kernels)
def accumulate(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Gradients of a further micro-batch are added to those before."""
    return ADD.over(places[:3], 0, 0)


@cuda_kernel("cuda.scale", kernels=SCALE.kernels)
def scale(call: Call, places: Sequence[Place]) -> list[Launch]:
    """x times a constant"""
    factor: Any = call.attrs["factor"]
    return SCALE.over(places[:2], float(factor))


def _scale_by(x, y, s, n):
    i = cuda.grid(1)
    if i < n:
        y[i] = x[i] * s[0]


def _scale_by4(x, y, s, n, head):
    i, body = cuda.grid(1), (n - head) >> 2
    if i < body:
        a, b, c, d = load4(x, head + 4 * i)
        factor = s[0]
        store4(y, head + 4 * i, a * factor, b * factor, c * factor, d * factor)
    if i < n - 4 * body:
        k = i if i < head else i + 4 * body
        y[k] = x[k] * s[0]


SCALE_BY = pair("scale_by", _scale_by, _scale_by4, (F32, F32, F32))


@cuda_kernel("cuda.scale_by", kernels=SCALE_BY.kernels)
def scale_by(call: Call, places: Sequence[Place]) -> list[Launch]:
    """x times a scalar from memory"""
    x, s, y = places[:3]
    return SCALE_BY.over((x, y), also=(s,))


def _fill4(y, value, n, head):
    i, body = cuda.grid(1), (n - head) >> 2
    if i < body:
        store4(y, head + 4 * i, value, value, value, value)
    if i < n - 4 * body:
        y[i if i < head else i + 4 * body] = value


FILL = DeviceKernel("fill_4", _fill4, (F32, NUMBER, WHOLE, WHOLE), is_hot=True, wants=("st.global.v4",))


@cuda_kernel("cuda.fill", kernels=(FILL,))
def fill(call: Call, places: Sequence[Place]) -> list[Launch]:
    """a constant"""
    attrs: Any = call.attrs
    y, head = places[0], head_of(places[:1])
    if attrs["dtype"] != DType.F32 or head is None:
        raise RunError(f"{call.kernel} makes f32, not {attrs['dtype']}")
    return [FILL.over(y.size, y.operand, attrs["value"], y.size, min(head, y.size), each=4, most=MOST_BLOCKS)] if y.size else []
