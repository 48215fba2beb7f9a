"""Views: the same memory under another shape. Nothing is computed and nothing moves."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, like, need, need_count, numbers
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

RESHAPE = (flatten, reshape)
