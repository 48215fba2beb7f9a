"""Softmax cross entropy: the loss of a classifier, and the gradient with respect to its logits.

``loss = sum over samples of -log softmax(logits)[label] / denominator``. The denominator is the size of the *global* batch,
so losses and gradients of micro-batches and workers just add.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graph.errors import GraphError
from graph.op import Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, integer, like, need, need_count, numbers, traffic
from graph.tensor_type import DType, TensorType, f32, i64

_SIZES = ((20, 10), (50, 10), (100, 9), (200, 10), (300, 10), (60, 40), (90, 110))


def _check(op: str, types: Types, attrs: Attrs) -> None:
    need_count(op, types, 2)
    x, labels = types
    need(x.rank == 2 and x.dtype.is_float and x.shape[1] >= 1, op, types, "wants float [samples, classes]")
    need(labels.dtype is DType.I64 and labels.shape == x.shape[:1], op, types, "wants one i64 label a sample")
    integer(op, attrs, "denominator", 1)


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    _check("softmax_cross_entropy", types, attrs)
    return like(types[0]), types[0]


def _work(types: Types, attrs: Attrs) -> Work:
    # A sample of k classes: k-1 comparisons for the maximum; k times subtract, exp, add, divide; log, subtract, add to the loss.
    samples, classes = types[0].shape
    return traffic(samples * (5 * classes + 2) + 1, types, _infer(types, attrs))


def _checked_labels(labels: Array, classes: int) -> Array:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise GraphError(f"labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return labels


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    logits, labels = arrays
    _checked_labels(labels, logits.shape[1])
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - shifted[np.arange(len(labels)), labels]
    return np.asarray(losses.sum(dtype=logits.dtype) / logits.dtype.type(attrs["denominator"])), e / total


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    if g[1] is not None:
        raise GraphError("softmax_cross_entropy: no gradient flows through 'probs'; it is saved for the gradient of 'loss'")
    (d,) = ev.apply("softmax_cross_entropy_grad", (a.outputs[1], a.inputs[1]), denominator=a.attrs["denominator"])
    return ev.apply("scale_by", (d, g[0]))[0], None


def _grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    _check("softmax_cross_entropy_grad", types, attrs)
    return (types[0],)


def _grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    probs, labels = arrays
    d = probs.copy()
    d[np.arange(len(labels)), _checked_labels(labels, probs.shape[1])] -= 1
    return (d / probs.dtype.type(attrs["denominator"]),)


def _labels(samples: int, classes: int) -> Array:
    return (np.arange(samples, dtype=np.int64) * 7 + 3) % classes


def _samples() -> Iterable[Sample]:
    for samples, classes, denominator in ((1, 1, 1), (1, 10, 1), (5, 3, 7), (0, 4, 1), (13, 10, 26), (3, 17, 3)):
        x = 5 * numbers(samples, classes)
        yield Sample(inputs=(x, _labels(samples, classes)), attrs={"denominator": denominator})
    yield Sample(inputs=(numbers(4, 6)[:, ::2], _labels(8, 3)[::2]), attrs={"denominator": 4})


def _grad_samples() -> Iterable[Sample]:
    for s in _samples():
        yield Sample(inputs=(_reference(s.inputs, s.attrs)[1], s.inputs[1]), attrs=s.attrs)


def _sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(b, k), i64(b)), attrs={"denominator": b}) for b, k in _SIZES)


softmax_cross_entropy = Op(
    name="softmax_cross_entropy",
    inputs=("logits", "labels"),
    outputs=("loss", "probs"),
    attrs={"denominator": 1},
    infer=_infer,
    work=_work,
    reference=_reference,
    vjp=_vjp,
    samples=_samples,
    sizes=_sizes,
    aliases={},
)

softmax_cross_entropy_grad = Op(
    name="softmax_cross_entropy_grad",
    inputs=("probs", "labels"),
    outputs=("dlogits",),
    attrs={"denominator": 1},
    infer=_grad_infer,
    work=lambda types, attrs: traffic(types[0].size + types[1].size, types, types[:1]),
    reference=_grad_reference,
    vjp=None,
    samples=_grad_samples,
    sizes=_sizes,
    aliases={},
)

SOFTMAX = (softmax_cross_entropy, softmax_cross_entropy_grad)
