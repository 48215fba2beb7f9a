"""Values side by side along the last axis, and a run of that axis: each is the other's gradient. They move bytes, no more."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size
from graph.ops.common import Types, integer, like, need, need_count, numbers, traffic
from graph.tensor_type import TensorType, f32

_PARTS = (
    ((50, 10), (4, 6)),
    ((300, 9), (5, 1, 3)),
    ((2_000, 5), (2, 3)),
    ((150, 36), (12, 24)),
    ((1_200, 22), (9, 7, 6)),
    ((700, 150), (60, 90)),
    ((4_000, 90), (50, 40)),
    ((3_500, 44), (11, 20, 6, 7)),
    ((9_000, 18), (9, 9)),
    ((11_000, 30), (16, 14)),
)
"""((rows, columns of the whole), columns of the parts) of the problem sizes."""


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need(len(types) >= 1, "concat", types, "takes 1 operand or more, got 0")
    first = types[0]
    fits = all(t.dtype is first.dtype and t.rank >= 1 and t.shape[:-1] == first.shape[:-1] for t in types)
    need(fits and first.dtype.is_float, "concat", types, "wants operands of one floating type that differ in the last axis alone")
    return (like(first, *first.shape[:-1], sum(t.shape[-1] for t in types)),)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    found, first = [], 0
    for k, x in enumerate(a.inputs):
        count = ev.type_of(x).shape[-1]
        found.append(ev.apply("slice_last", (g[0],), first=first, count=count)[0] if a.wants(k) else None)
        first += count
    return tuple(found)


def _samples() -> Iterable[Sample]:
    for rows, parts in (((1,), (1,)), ((3,), (2, 5)), ((2, 3), (4, 1, 2)), ((0,), (2, 3)), ((2,), (3, 0, 1)), ((5,), (3, 3))):
        yield Sample(inputs=tuple(numbers(*rows, n, seed=k) for k, n in enumerate(parts)), attrs={})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], numbers(5, 4, seed=1).T), attrs={})


def _sizes() -> Iterable[Size]:
    return tuple(Size(types=tuple(f32(rows, n) for n in parts), attrs={}) for (rows, _), parts in _PARTS)


def _slice_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("slice_last", types, 1)
    x, first, count = types[0], integer("slice_last", attrs, "first", 0), integer("slice_last", attrs, "count", 0)
    need(x.rank >= 1 and x.dtype.is_float, "slice_last", types, "wants floats with at least one axis")
    need(first + count <= x.shape[-1], "slice_last", types, f"has no {count} places from {first} on in its last axis")
    return (like(x, *x.shape[:-1], count),)


def _slice_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    first, count = integer("slice_last", attrs, "first", 0), integer("slice_last", attrs, "count", 0)
    return (np.ascontiguousarray(arrays[0][..., first : first + count]),)


def _slice_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    x, (dy,) = ev.type_of(a.inputs[0]), g
    first, count = integer("slice_last", a.attrs, "first", 0), integer("slice_last", a.attrs, "count", 0)

    def zeros(columns: int) -> tuple[Any, ...]:
        if not columns:
            return ()
        return ev.apply("fill", (), shape=(*x.shape[:-1], columns), value=0.0, dtype=x.dtype.value)

    parts = (*zeros(first), dy, *zeros(x.shape[-1] - first - count))
    return ev.apply("concat", parts)


def _slice_samples() -> Iterable[Sample]:
    for shape, first, count in (((1,), 0, 1), ((3, 5), 1, 3), ((2, 3, 4), 0, 2), ((0, 4), 1, 2), ((5, 3), 2, 1), ((2, 3), 1, 0)):
        yield Sample(inputs=(numbers(*shape),), attrs={"first": first, "count": count})
    yield Sample(inputs=(numbers(4, 6)[:, ::2],), attrs={"first": 1, "count": 2})


def _slice_sizes() -> Iterable[Size]:
    for (rows, columns), parts in _PARTS:
        yield Size(types=(f32(rows, columns),), attrs={"first": columns - parts[-1], "count": parts[-1]})


concat = Op(
    name="concat",
    inputs=("x",),
    outputs=("y",),
    attrs={},
    infer=_infer,
    work=lambda types, attrs: traffic(0, types, _infer(types, attrs)),
    reference=lambda arrays, attrs: (np.concatenate(arrays, axis=-1),),
    vjp=_vjp,
    samples=_samples,
    sizes=_sizes,
    aliases={},
    is_variadic=True,
)

slice_last = Op(
    name="slice_last",
    inputs=("x",),
    outputs=("y",),
    attrs={"first": REQUIRED, "count": REQUIRED},
    infer=_slice_infer,
    work=lambda types, attrs: traffic(0, _slice_infer(types, attrs), _slice_infer(types, attrs)),
    reference=_slice_reference,
    vjp=_slice_vjp,
    samples=_slice_samples,
    sizes=_slice_sizes,
    aliases={},
    is_part=True,
)

CONCAT = (concat, slice_last)
