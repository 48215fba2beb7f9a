"""Sums over axes, and the bias: adding a vector along the last axis, whose gradient is such a sum."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graph.op import Applied, Array, Attrs, Evaluator, Op, Sample, Size
from graph.ops.common import Types, like, need, need_float, numbers, traffic
from graph.tensor_type import TensorType, f32

_ROWS = ((50, 10), (100, 9), (70, 100), (200, 90), (3_000, 5), (5_000, 6), (1_200, 20), (9_000, 7), (3_500, 48), (40_000, 10))
"""(rows, columns) of the problem sizes."""


def _shapes() -> Iterable[tuple[int, ...]]:
    return ((1, 1), (7,), (3, 5), (0, 4), (2, 3, 4, 5), (33, 1))


def _add_bias_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("add_bias", types, 2)
    x, b = types
    need(x.rank >= 1 and b.shape == x.shape[-1:], "add_bias", types, "the bias must have the extent of the last axis")
    return (x,)


def _add_bias_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    return g[0], ev.apply("bias_grad", (g[0],))[0] if a.wants(1) else None


def _add_bias_samples() -> Iterable[Sample]:
    for shape in _shapes():
        yield Sample(inputs=(numbers(*shape), numbers(shape[-1], seed=1)), attrs={})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], numbers(6, seed=1)[1::2]), attrs={})


def _bias_grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("bias_grad", types, 1)
    need(types[0].rank >= 1, "bias_grad", types, "wants at least one axis")
    return (like(types[0], types[0].shape[-1]),)


def _bias_grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (dy,) = arrays
    return (np.asarray(dy.sum(axis=tuple(range(dy.ndim - 1)), dtype=dy.dtype)),)


def _bias_grad_samples() -> Iterable[Sample]:
    for shape in _shapes():
        yield Sample(inputs=(numbers(*shape),), attrs={})
    yield Sample(inputs=(numbers(4, 6)[:, ::2],), attrs={})


def _dot_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("dot", types, 2)
    need(types[0].shape == types[1].shape, "dot", types, "wants operands of one shape")
    return (like(types[0]),)


def _dot_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    return (np.asarray(np.sum(arrays[0] * arrays[1], dtype=arrays[0].dtype)),)


def _dot_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    x, y = a.inputs
    return (
        ev.apply("scale_by", (y, g[0]))[0] if a.wants(0) else None,
        ev.apply("scale_by", (x, g[0]))[0] if a.wants(1) else None,
    )


def _dot_samples() -> Iterable[Sample]:
    for shape in ((), (1,), (0, 3), (3, 5)):
        yield Sample(inputs=(numbers(*shape), numbers(*shape, seed=1)), attrs={})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], numbers(4, 3, seed=1)), attrs={})


add_bias = Op(
    name="add_bias",
    inputs=("x", "b"),
    outputs=("y",),
    attrs={},
    infer=_add_bias_infer,
    work=lambda types, attrs: traffic(types[0].size, types, types[:1]),
    reference=lambda arrays, attrs: (arrays[0] + arrays[1],),
    vjp=_add_bias_vjp,
    samples=_add_bias_samples,
    sizes=lambda: tuple(Size(types=(f32(r, c), f32(c)), attrs={}) for r, c in _ROWS),
    aliases={},
)

bias_grad = Op(
    name="bias_grad",
    inputs=("dy",),
    outputs=("db",),
    attrs={},
    infer=_bias_grad_infer,
    work=lambda types, attrs: traffic(types[0].size, types, _bias_grad_infer(types, attrs)),
    reference=_bias_grad_reference,
    vjp=None,
    samples=_bias_grad_samples,
    sizes=lambda: tuple(Size(types=(f32(r, c),), attrs={}) for r, c in _ROWS),
    aliases={},
)

dot = Op(
    name="dot",
    inputs=("a", "b"),
    outputs=("y",),
    attrs={},
    infer=_dot_infer,
    work=lambda types, attrs: traffic(2 * types[0].size, types, _dot_infer(types, attrs)),
    reference=_dot_reference,
    vjp=_dot_vjp,
    samples=_dot_samples,
    sizes=lambda: tuple(Size(types=(f32(n), f32(n)), attrs={}) for n in (500, 6_100, 73_000, 510_000)),
    aliases={},
)

REDUCE = (add_bias, bias_grad, dot)
