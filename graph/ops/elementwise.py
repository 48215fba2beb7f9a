"""Element by element: activations and their gradients, sums, scaling, and constants."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Vjp, Work
from graph.ops.common import Types, need, need_float, number, numbers, traffic
from graph.tensor_type import DType, TensorType, f32

Ev = Evaluator[Any]
Ap = Applied[Any]
Gs = tuple[Any, ...]

COUNTS = (500, 1_700, 6_100, 21_000, 73_000, 180_000, 510_000)
"""Elements of the problem sizes."""


def _samples(operands: int, attrs: Attrs) -> Callable[[], Iterable[Sample]]:
    def samples() -> Iterable[Sample]:
        for shape in ((), (1,), (7,), (0, 3), (3, 5), (2, 3, 4, 5)):
            yield Sample(inputs=tuple(numbers(*shape, seed=k) for k in range(operands)), attrs=attrs)
        yield Sample(inputs=tuple(numbers(4, 6, seed=k)[:, ::2] for k in range(operands)), attrs=attrs)

    return samples


def _sizes(operands: int, attrs: Attrs) -> Callable[[], Iterable[Size]]:
    return lambda: tuple(Size(types=(f32(n),) * operands, attrs=attrs) for n in COUNTS)


def elementwise(
    *,
    name: str,
    inputs: tuple[str, ...],
    flop: int,
    reference: Callable[[Sequence[Array], Attrs], Array],
    vjp: Vjp | None,
    output: str = "y",
    attrs: Mapping[str, Any] | None = None,
    example: Attrs | None = None,
) -> Op:
    """An operator whose operands and result all have one shape, with `flop` operations an element."""

    def infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        need_float(name, types, len(inputs))
        need(all(t.shape == types[0].shape for t in types), name, types, "wants operands of one shape")
        for attr in attrs:
            number(name, attrs, attr)
        return (types[0],)

    def work(types: Types, attrs: Attrs) -> Work:
        return traffic(flop * types[0].size, types, types[:1])

    return Op(
        name=name,
        inputs=inputs,
        outputs=(output,),
        attrs=attrs or {},
        infer=infer,
        work=work,
        reference=lambda arrays, attrs: (np.asarray(reference(arrays, attrs)),),
        vjp=vjp,
        samples=_samples(len(inputs), example or {}),
        sizes=_sizes(len(inputs), example or {}),
        aliases={},
    )


def _relu_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    return ev.apply("relu_grad", (a.outputs[0], g[0]))


def _relu_grad_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    return (None, ev.apply("relu_grad", (a.inputs[0], g[0]))[0] if a.wants(1) else None)


def _tanh_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    return ev.apply("tanh_grad", (a.outputs[0], g[0]))


def _add_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    return (g[0], g[0])


def _scale_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    return ev.apply("scale", (g[0],), factor=a.attrs["factor"])


def _scale_reference(arrays: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(arrays[0] * arrays[0].dtype.type(number("scale", attrs, "factor")))


relu = elementwise(name="relu", inputs=("x",), flop=1, reference=lambda v, _: np.maximum(v[0], 0), vjp=_relu_vjp)
relu_grad = elementwise(
    name="relu_grad",
    inputs=("y", "dy"),
    flop=1,
    reference=lambda v, _: np.where(v[0] > 0, v[1], np.zeros((), v[1].dtype)),
    vjp=_relu_grad_vjp,
    output="dx",
)
tanh = elementwise(name="tanh", inputs=("x",), flop=1, reference=lambda v, _: np.tanh(v[0]), vjp=_tanh_vjp)
tanh_grad = elementwise(
    name="tanh_grad", inputs=("y", "dy"), flop=3, reference=lambda v, _: v[1] * (1 - v[0] * v[0]), vjp=None, output="dx"
)
add = elementwise(name="add", inputs=("a", "b"), flop=1, reference=lambda v, _: v[0] + v[1], vjp=_add_vjp)
scale = elementwise(
    name="scale",
    inputs=("x",),
    flop=1,
    reference=_scale_reference,
    vjp=_scale_vjp,
    attrs={"factor": REQUIRED},
    example={"factor": 0.3},
)


def _scale_by_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("scale_by", types, 2)
    need(types[1].shape == (), "scale_by", types, "the second operand must be a scalar")
    return (types[0],)


def _scale_by_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    x, s = a.inputs
    return (
        ev.apply("scale_by", (g[0], s))[0] if a.wants(0) else None,
        ev.apply("dot", (x, g[0]))[0] if a.wants(1) else None,
    )


def _scale_by_samples() -> Iterable[Sample]:
    for shape in ((), (1,), (0, 3), (3, 5)):
        yield Sample(inputs=(numbers(*shape), np.asarray(0.7, np.float32)), attrs={})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], np.asarray(-1.5, np.float32)), attrs={})


scale_by = Op(
    name="scale_by",
    inputs=("x", "s"),
    outputs=("y",),
    attrs={},
    infer=_scale_by_infer,
    work=lambda types, attrs: traffic(types[0].size, types, types[:1]),
    reference=lambda arrays, attrs: (np.asarray(arrays[0] * arrays[1]),),
    vjp=_scale_by_vjp,
    samples=_scale_by_samples,
    sizes=lambda: tuple(Size(types=(f32(n), f32()), attrs={}) for n in COUNTS),
    aliases={},
)


def _fill_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need(not types, "fill", types, "takes no operands")
    number("fill", attrs, "value")
    shape, dtype = attrs["shape"], attrs["dtype"]
    if not isinstance(shape, tuple) or dtype not in tuple(DType):
        raise TypeMismatch(f"fill: wants a shape and an element type, got shape={shape!r}, dtype={dtype!r}")
    return (TensorType(shape=shape, dtype=DType(dtype)),)


def _fill_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (t,) = _fill_infer((), attrs)
    return (np.full(t.shape, attrs["value"], t.dtype.numpy),)


def _fill_samples() -> Iterable[Sample]:
    for shape in ((), (1,), (0, 3), (3, 5)):
        yield Sample(inputs=(), attrs={"shape": shape, "value": 0.7, "dtype": "f32"})


fill = Op(
    name="fill",
    inputs=(),
    outputs=("y",),
    attrs={"shape": REQUIRED, "value": REQUIRED, "dtype": "f32"},
    infer=_fill_infer,
    work=lambda types, attrs: traffic(0, (), _fill_infer(types, attrs)),
    reference=_fill_reference,
    vjp=lambda ev, a, g: (),
    samples=_fill_samples,
    sizes=lambda: tuple(Size(types=(), attrs={"shape": (n,), "value": 0.7, "dtype": "f32"}) for n in COUNTS),
    aliases={},
)

ELEMENTWISE = (relu, relu_grad, tanh, tanh_grad, add, scale, scale_by, fill)
