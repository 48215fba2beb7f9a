"""The same elements under another shape. `flatten` and `reshape` are views: the same memory, nothing moves. `transpose` moves."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, like, need, need_count, numbers, traffic
from graph.tensor_type import TensorType, f32


def _flatten_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("flatten", types, 1)
    need(types[0].rank >= 1, "flatten", types, "wants at least one axis, that of the samples")
    return (like(types[0], types[0].shape[0], math.prod(types[0].shape[1:])),)


def _reshape_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("reshape", types, 1)
    shape = attrs["shape"]
    if not isinstance(shape, tuple):
        raise TypeMismatch(f"reshape: shape must be a tuple of extents, got {shape!r}")
    need(math.prod(shape) == types[0].size, "reshape", types, f"shape={shape} has another number of elements")
    return (like(types[0], *shape),)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    return ev.apply("reshape", (g[0],), shape=ev.type_of(a.inputs[0]).shape)


def _flatten_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (x,) = arrays
    return (x.reshape(x.shape[0], math.prod(x.shape[1:])),)


def _reshape_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    return (arrays[0].reshape(attrs["shape"]),)


def _flatten_samples() -> Iterable[Sample]:
    for shape in ((1,), (3, 5), (0, 3, 2), (2, 3, 4, 5)):
        yield Sample(inputs=(numbers(*shape),), attrs={})
    yield Sample(inputs=(numbers(4, 6, 2)[:, ::2],), attrs={})


def _reshape_samples() -> Iterable[Sample]:
    for old, new in (((), (1, 1)), ((1,), ()), ((6, 4), (2, 3, 4)), ((0, 3), (3, 0)), ((35,), (5, 7))):
        yield Sample(inputs=(numbers(*old),), attrs={"shape": new})
    yield Sample(inputs=(numbers(4, 6)[:, ::2],), attrs={"shape": (12,)})


def _axes(types: Types, attrs: Attrs) -> tuple[int, ...]:
    axes = attrs["axes"]
    if not isinstance(axes, tuple):
        raise TypeMismatch(f"transpose: axes must be a tuple of axes, got {axes!r}")
    need(sorted(axes) == list(range(types[0].rank)), "transpose", types, f"axes={axes} must name every axis once")
    return axes


def _transpose_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("transpose", types, 1)
    need(types[0].dtype.is_float, "transpose", types, "wants floats")
    return (like(types[0], *(types[0].shape[k] for k in _axes(types, attrs))),)


def _transpose_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    axes = attrs["axes"]
    return (np.ascontiguousarray(np.transpose(arrays[0], axes if isinstance(axes, tuple) else None)),)


def _transpose_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    axes = _axes((ev.type_of(a.inputs[0]),), a.attrs)
    return ev.apply("transpose", (g[0],), axes=tuple(axes.index(k) for k in range(len(axes))))


def _transpose_samples() -> Iterable[Sample]:
    cases = (
        ((1,), (0,)),
        ((3, 5), (1, 0)),
        ((0, 4), (1, 0)),
        ((2, 3, 5), (1, 0, 2)),
        ((3, 1, 7), (1, 0, 2)),
        ((2, 3, 4, 5), (2, 0, 1, 3)),
    )
    for shape, axes in cases:
        yield Sample(inputs=(numbers(*shape),), attrs={"axes": axes})
    yield Sample(inputs=(numbers(4, 6, 3)[:, ::2],), attrs={"axes": (1, 2, 0)})


def _transpose_sizes() -> Iterable[Size]:
    shapes = ((10, 2, 25), (48, 3, 33), (4, 150, 75), (2, 350, 230), (300, 2, 700), (2, 1_500, 24))
    return tuple(Size(types=(f32(*s),), attrs={"axes": (1, 0, 2)}) for s in shapes)


flatten = Op(
    name="flatten",
    inputs=("x",),
    outputs=("y",),
    attrs={},
    infer=_flatten_infer,
    work=lambda types, attrs: Work(),
    reference=_flatten_reference,
    vjp=_vjp,
    samples=_flatten_samples,
    sizes=lambda: (Size(types=(f32(10, 5, 5, 7),), attrs={}),),
    aliases={},
    is_view=True,
)

reshape = Op(
    name="reshape",
    inputs=("x",),
    outputs=("y",),
    attrs={"shape": REQUIRED},
    infer=_reshape_infer,
    work=lambda types, attrs: Work(),
    reference=_reshape_reference,
    vjp=_vjp,
    samples=_reshape_samples,
    sizes=lambda: (Size(types=(f32(10, 175),), attrs={"shape": (10, 5, 5, 7)}),),
    aliases={},
    is_view=True,
)

transpose = Op(
    name="transpose",
    inputs=("x",),
    outputs=("y",),
    attrs={"axes": REQUIRED},
    infer=_transpose_infer,
    work=lambda types, attrs: traffic(0, types, types),
    reference=_transpose_reference,
    vjp=_transpose_vjp,
    samples=_transpose_samples,
    sizes=_transpose_sizes,
    aliases={},
)

RESHAPE = (flatten, reshape, transpose)
