"""Local response normalization across channels (Krizhevsky, Sutskever and Hinton, NIPS 2012, section 3.3).

``scale[c] = k + alpha * sum over the `size` channels around c of x^2`` and ``y = x / scale^beta``; the window is centred, and
outside the image there are zeros. `alpha` multiplies the sum as in the paper: it is **not** divided by `size`, as Caffe's is.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, integer, need, need_float, number, numbers, traffic
from graph.tensor_type import TensorType, f32

_PAPER = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
_STRONG = {"size": 3, "alpha": 0.7, "beta": 0.5, "k": 1.0}
_SIZES = ((50, 10), (300, 9), (70, 130), (2_000, 5), (1_200, 22), (3_500, 44), (9_000, 18))
"""(pixels, channels) of the problem sizes."""


def _check(op: str, types: Types, attrs: Attrs, operands: int) -> TensorType:
    need_float(op, types, operands)
    need(types[0].rank >= 1, op, types, "wants at least one axis, that of the channels")
    need(all(t.shape == types[0].shape for t in types), op, types, "wants operands of one shape")
    if integer(op, attrs, "size", 1) % 2 == 0:
        raise TypeMismatch(f"{op}: size must be odd, with as many neighbours on either side; got {attrs['size']}")
    for name in ("alpha", "beta", "k"):
        number(op, attrs, name)
    if not (number(op, attrs, "k") > 0 and number(op, attrs, "alpha") >= 0):
        raise TypeMismatch(f"{op}: k must be > 0 and alpha >= 0, got k {attrs['k']!r}, alpha {attrs['alpha']!r}")
    return types[0]


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = _check("lrn", types, attrs, 1)
    return x, x


def _grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (_check("lrn_grad", types, attrs, 3),)


def _work(types: Types, attrs: Attrs) -> Work:
    # An element: square; `size` additions; times alpha, plus k; power, divide.
    return traffic((integer("lrn", attrs, "size", 1) + 5) * types[0].size, types, _infer(types, attrs))


def _grad_work(types: Types, attrs: Attrs) -> Work:
    # An element: power, dy / power; times x / scale (2); `size` additions; times x, times 2 alpha beta; subtract.
    return traffic((integer("lrn_grad", attrs, "size", 1) + 7) * types[0].size, types, types[:1])


def _around(x: Array, size: int) -> Array:
    """The sum of the `size` channels around each, with zeros outside."""
    half, channels = size // 2, x.shape[-1]
    wide = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)])
    total = np.zeros(x.shape, x.dtype)
    for shift in range(size):
        total += wide[..., shift : shift + channels]
    return total


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (x,) = arrays
    alpha, beta, k = (x.dtype.type(attrs[name]) for name in ("alpha", "beta", "k"))
    scale = alpha * _around(x * x, integer("lrn", attrs, "size", 1)) + k
    return x / scale**beta, scale


def _grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    dy, x, scale = arrays
    alpha, beta = (x.dtype.type(attrs[name]) for name in ("alpha", "beta"))
    through = dy / scale**beta
    return (through - (2 * alpha * beta) * x * _around(through * x / scale, integer("lrn_grad", attrs, "size", 1)),)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    if g[1] is not None:
        raise TypeMismatch("lrn: no gradient flows through 'scale'; it is saved for the gradient of 'y'")
    return ev.apply("lrn_grad", (g[0], a.inputs[0], a.outputs[1]), **a.attrs)


def _samples() -> Iterable[Sample]:
    for shape in ((1,), (3, 5), (2, 3, 4, 7), (0, 4), (5, 1), (2, 2)):
        for attrs in (_PAPER, _STRONG):
            yield Sample(inputs=(numbers(*shape),), attrs=attrs)
    yield Sample(inputs=(numbers(4, 6)[:, ::2],), attrs=_STRONG)


def _grad_samples() -> Iterable[Sample]:
    for s in _samples():
        dy = numbers(*s.inputs[0].shape, seed=1)
        yield Sample(inputs=(dy, s.inputs[0], _reference(s.inputs, s.attrs)[1]), attrs=s.attrs)


def _sizes(operands: int) -> Callable[[], Iterable[Size]]:
    return lambda: tuple(Size(types=(f32(*s),) * operands, attrs=_PAPER) for s in _SIZES)


def _op(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], infer: Any, work: Any, reference: Any, vjp: Any) -> Op:
    return Op(
        name=name,
        inputs=inputs,
        outputs=outputs,
        attrs=dict.fromkeys(_PAPER, REQUIRED),
        infer=infer,
        work=work,
        reference=reference,
        vjp=vjp,
        samples=_samples if len(inputs) == 1 else _grad_samples,
        sizes=_sizes(len(inputs)),
        aliases={},
    )


lrn = _op("lrn", ("x",), ("y", "scale"), _infer, _work, _reference, _vjp)
lrn_grad = _op("lrn_grad", ("dy", "x", "scale"), ("dx",), _grad_infer, _grad_work, _grad_reference, None)

LRN = (lrn, lrn_grad)
