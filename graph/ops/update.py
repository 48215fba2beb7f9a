"""Optimizer steps. They are functional: new values come out, and `Op.aliases` says which memory they may overwrite.

``sgd``: ``m' = momentum * m + (g + weight_decay * p)``, ``p' = p - learning_rate * m'`` (stochastic gradient descent with
heavy-ball momentum, Polyak 1964, and L2 weight decay added to the gradient). With momentum 0, ``m'`` is the gradient used.

``blend``: ``decay * old + (1 - decay) * new``, the running statistics of a batch normalization.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from graph.errors import TypeMismatch
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


def _blend_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("blend", types, 2)
    need(types[0] == types[1], "blend", types, "wants operands of one shape")
    if not 0 <= number("blend", attrs, "decay") <= 1:
        raise TypeMismatch(f"blend: decay must lie in [0, 1], got {attrs['decay']!r}")
    return (types[0],)


def _blend_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    old, new = arrays
    decay = number("blend", attrs, "decay")
    return (np.asarray(old.dtype.type(decay) * old + old.dtype.type(1 - decay) * new),)


def _blend_samples() -> Iterable[Sample]:
    for shape in ((), (1,), (0, 3), (37,)):
        for decay in (0.9, 0.0):
            yield Sample(inputs=(numbers(*shape), numbers(*shape, seed=1)), attrs={"decay": decay})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], numbers(4, 6, seed=1)[:, ::2]), attrs={"decay": 0.75})


blend = Op(
    name="blend",
    inputs=("old", "new"),
    outputs=("blended",),
    attrs={"decay": REQUIRED},
    infer=_blend_infer,
    work=lambda types, attrs: traffic(3 * types[0].size, types, types[:1]),
    reference=_blend_reference,
    vjp=None,
    samples=_blend_samples,
    sizes=lambda: tuple(Size(types=(f32(n),) * 2, attrs={"decay": 0.9}) for n in (11, 90, 230, 700, 1_900)),
    aliases={0: 0},
)

UPDATE = (sgd, blend)
