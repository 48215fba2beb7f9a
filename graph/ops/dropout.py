"""Dropout: zero a share `rate` of the elements and divide the rest by ``1 - rate`` (Srivastava et al., JMLR 15, 2014; inverted).

Which elements fall is a function of (seed, key, step, global sample, element), see `graph.rng`, so no mask is stored: the
gradient draws the same bits again. `key` tells the dropouts of a network apart.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size
from graph.ops.common import Types, integer, need, need_count, number, numbers, traffic
from graph.rng import MASK, dropout_mask
from graph.tensor_type import TensorType, f32, i64

_SCALAR = i64()


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("dropout", types, 3)
    x, step, sample = types
    need(x.rank >= 1 and x.dtype.is_float, "dropout", types, "wants floats with at least the axis of the samples")
    need(step == _SCALAR and sample == _SCALAR, "dropout", types, "step and sample must be i64[]")
    if not 0 <= number("dropout", attrs, "rate") < 1:
        raise TypeMismatch(f"dropout: rate must lie in [0, 1), got {attrs['rate']!r}")
    for name in ("seed", "key"):
        if integer("dropout", attrs, name, 0) > MASK:
            raise TypeMismatch(f"dropout: {name} must fit 32 bits, got {attrs[name]!r}")
    return (x,)


def kept_scale(x: Array, rate: float) -> Any:
    """What kept elements are multiplied with, in the element type of `x`."""
    return x.dtype.type(1.0 / (1.0 - rate))


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, step, sample = arrays
    seed, key, rate = integer("dropout", attrs, "seed", 0), integer("dropout", attrs, "key", 0), number("dropout", attrs, "rate")
    rows, columns = x.shape[0], int(np.prod(x.shape[1:]))
    kept = dropout_mask(seed=seed, key=key, step=int(step), sample=int(sample), rows=rows, columns=columns, rate=rate)
    return (np.where(kept.reshape(x.shape), x * kept_scale(x, rate), np.zeros((), x.dtype)),)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    _, step, sample = a.inputs
    return ev.apply("dropout_grad", (g[0], step, sample), **a.attrs)[0], None, None


def _samples() -> Iterable[Sample]:
    def scalar(n: int) -> Array:
        return np.asarray(n, np.int64)

    for k, shape in enumerate(((1,), (1, 1), (3, 5), (0, 4), (2, 3, 4, 5), (7, 33))):
        attrs = {"rate": 0.3, "seed": 11, "key": k}
        yield Sample(inputs=(numbers(*shape), scalar(k), scalar(64 * k)), attrs=attrs)
    yield Sample(inputs=(numbers(3, 9), scalar(2**33 + 5), scalar(2**32 - 1)), attrs={"rate": 0.5, "seed": MASK, "key": MASK})
    yield Sample(inputs=(numbers(3, 9), scalar(0), scalar(0)), attrs={"rate": 0.0, "seed": 0, "key": 0})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], scalar(1), scalar(1)), attrs={"rate": 0.9, "seed": 0, "key": 1})


def _sizes() -> Iterable[Size]:
    shapes = ((10, 50), (24, 70), (48, 127), (90, 230), (150, 300), (200, 450), (700, 500))
    return tuple(Size(types=(f32(*s), _SCALAR, _SCALAR), attrs={"rate": 0.3, "seed": 11, "key": 0}) for s in shapes)


def _op(name: str, operand: str, result: str) -> Op:
    return Op(
        name=name,
        inputs=(operand, "step", "sample"),
        outputs=(result,),
        attrs={"rate": REQUIRED, "seed": REQUIRED, "key": REQUIRED},
        infer=_infer,
        work=lambda types, attrs: traffic(types[0].size, types, types[:1]),
        reference=_reference,
        vjp=_vjp,
        samples=_samples,
        sizes=_sizes,
        aliases={},
    )


dropout = _op("dropout", "x", "y")
dropout_grad = _op("dropout_grad", "dy", "dx")
"""The same map: dropout is linear in x and its matrix is diagonal. The name tells them apart in a trace."""

DROPOUT = (dropout, dropout_grad)
