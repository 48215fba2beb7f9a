"""Optimizer steps. They are functional: new values come out, and `Op.aliases` says which memory they may overwrite.

``sgd``: ``m' = momentum * m + (g + weight_decay * p)``, ``p' = p - learning_rate * m'`` (stochastic gradient descent with
heavy-ball momentum, Polyak 1964, and L2 weight decay added to the gradient). With momentum 0, ``m'`` is the gradient used.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from graph.op import REQUIRED, Array, Attrs, Op, Sample, Size
from graph.ops.common import Types, need, need_float, number, numbers, traffic
from graph.tensor_type import TensorType, f32


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("sgd", types, 3)
    need(all(t.shape == types[0].shape for t in types), "sgd", types, "wants parameter, gradient and momentum of one shape")
    for name in attrs:
        number("sgd", attrs, name)
    return types[0], types[2]


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    p, g, m = arrays
    rate, momentum, decay = (p.dtype.type(attrs[k]) for k in ("learning_rate", "momentum", "weight_decay"))
    new = momentum * m + (g + decay * p)
    return np.asarray(p - rate * new), np.asarray(new)


_EXAMPLE = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.001}


def _samples() -> Iterable[Sample]:
    plain = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    for shape in ((), (1,), (0, 3), (37,), (3, 3, 2, 5)):
        for attrs in (_EXAMPLE, plain):
            yield Sample(inputs=tuple(numbers(*shape, seed=k) for k in range(3)), attrs=attrs)
    yield Sample(inputs=tuple(numbers(4, 6, seed=k)[:, ::2] for k in range(3)), attrs=_EXAMPLE)


def _sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(n),) * 3, attrs=_EXAMPLE) for n in (500, 1_700, 6_100, 15_000, 25_000, 73_000, 180_000))


sgd = Op(
    name="sgd",
    inputs=("p", "g", "m"),
    outputs=("new_p", "new_m"),
    attrs={"learning_rate": REQUIRED, "momentum": 0.0, "weight_decay": 0.0},
    infer=_infer,
    work=lambda types, attrs: traffic(6 * types[0].size, types, (types[0], types[2])),
    reference=_reference,
    vjp=None,
    samples=_samples,
    sizes=_sizes,
    aliases={0: 0, 1: 2},
)

UPDATE = (sgd,)
