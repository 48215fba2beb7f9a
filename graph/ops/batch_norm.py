"""Batch normalization (Ioffe and Szegedy, ICML 2015, algorithm 1), over all axes but the last.

In training every channel of a (micro-)batch is brought to mean 0 and variance 1 over its n values and then scaled and shifted:
``mean = sum(x) / n``, ``variance = sum((x - mean)^2) / n`` (biased: divided by n), ``y = (x - mean) / sqrt(variance + epsilon) *
scale + shift``. `batch_norm` also gives the mean and the variance, for the gradient and for running statistics, which a `blend`
(`graph.ops.update`) renews in the update phase. `batch_norm_inference` takes running statistics instead of the batch's.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graph.errors import GraphError
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, like, need, need_float, number, numbers, traffic
from graph.tensor_type import TensorType, f32

_SHAPES = ((1, 1), (5, 3), (2, 3, 4, 5), (3, 1), (4, 2, 0), (1, 2, 2, 17))
_SIZES = ((50, 10), (300, 9), (70, 130), (2_000, 5), (5_000, 6), (1_200, 22), (9_000, 7), (3_500, 44), (10_000, 18))
"""(values of a channel, channels) of the problem sizes."""


def _check(op: str, types: Types, attrs: Attrs, images: int, channels: int) -> TensorType:
    """The type of x: `images` operands have it, `channels` more hold one number a channel."""
    need_float(op, types, images + channels)
    x = types[0]
    need(x.rank >= 2, op, types, "wants at least two axes, the last one that of the channels")
    need(all(t == x for t in types[:images]), op, types, "wants images of one shape")
    need(all(t.shape == x.shape[-1:] for t in types[images:]), op, types, "wants one number a channel")
    if not number(op, attrs, "epsilon") > 0:
        raise GraphError(f"{op}: epsilon must be > 0, got {attrs['epsilon']!r}")
    return x


def _rows(x: TensorType) -> int:
    """Values of a channel."""
    return x.size // x.shape[-1] if x.size else 0


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = _check("batch_norm", types, attrs, 1, 2)
    need(_rows(x) > 0 or x.shape[-1] == 0, "batch_norm", types, "wants at least one sample to take the mean of")
    return x, like(x, x.shape[-1]), like(x, x.shape[-1])


def _grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = _check("batch_norm_grad", types, attrs, 2, 3)
    need(_rows(x) > 0 or x.shape[-1] == 0, "batch_norm_grad", types, "wants at least one sample")
    return x, types[2], types[2]


def _inference_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (_check("batch_norm_inference", types, attrs, 1, 4),)


def _work(types: Types, attrs: Attrs) -> Work:
    # A channel: n additions and a division for the mean; n times subtract, square, add and a division for the variance; add,
    # root and divide for 1 / sqrt, times scale; n times subtract, multiply, add.
    x = types[0]
    return traffic(7 * x.size + 6 * x.shape[-1], types, _infer(types, attrs))


def _grad_work(types: Types, attrs: Attrs) -> Work:
    # A channel: add, root, divide for 1 / sqrt; n additions of dy; n times subtract, multiply, add, then times 1 / sqrt, for
    # dscale; three factors (scale / sqrt, dshift / n, dscale / sqrt / n: 1 + 1 + 2); n times subtract twice, multiply, subtract,
    # multiply.
    x = types[1]
    return traffic(9 * x.size + 8 * x.shape[-1], types, _grad_infer(types, attrs))


def _inference_work(types: Types, attrs: Attrs) -> Work:
    x = types[0]
    return traffic(3 * x.size + 3 * x.shape[-1], types, (x,))


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _rstd(variance: Array, attrs: Attrs) -> Array:
    one = variance.dtype.type(1)
    return np.asarray(one / np.sqrt(variance + variance.dtype.type(attrs["epsilon"])))


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, scale, shift = arrays
    n = x.dtype.type(max(x.size // max(x.shape[-1], 1), 1))
    mean = np.asarray(x.sum(_axes(x), dtype=x.dtype) / n)
    variance = np.asarray(np.square(x - mean).sum(_axes(x), dtype=x.dtype) / n)
    return (x - mean) * (_rstd(variance, attrs) * scale) + shift, mean, variance


def _grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    dy, x, scale, mean, variance = arrays
    n, rstd = x.dtype.type(max(x.size // max(x.shape[-1], 1), 1)), _rstd(variance, attrs)
    dshift = np.asarray(dy.sum(_axes(x), dtype=x.dtype))
    dscale = np.asarray((dy * (x - mean)).sum(_axes(x), dtype=x.dtype) * rstd)
    return (dy - dshift / n - (x - mean) * (dscale * rstd / n)) * (scale * rstd), dscale, dshift


def _inference_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, scale, shift, mean, variance = arrays
    return ((x - mean) * (scale / np.sqrt(variance + x.dtype.type(attrs["epsilon"]))) + shift,)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    if g[1] is not None or g[2] is not None:
        raise GraphError("batch_norm: no gradient flows through 'mean' and 'variance'; they are saved for the gradient of 'y'")
    x, scale, _ = a.inputs
    return ev.apply("batch_norm_grad", (g[0], x, scale, *a.outputs[1:]), epsilon=a.attrs["epsilon"])


def _operands(images: int, channels: int) -> Callable[[], Iterable[Sample]]:
    """Samples with so many images and channel vectors; the last vector of four or of three with an image more is a variance."""

    def positive(x: Array) -> Array:
        return np.asarray(x + 1.5)

    def sample(xs: Sequence[Array], vectors: Sequence[Array], epsilon: float) -> Sample:
        last = (positive(vectors[-1]),) if channels > 2 else vectors[-1:]
        return Sample(inputs=(*xs, *vectors[:-1], *last), attrs={"epsilon": epsilon})

    def samples() -> Iterable[Sample]:
        for shape in _SHAPES:
            xs = [numbers(*shape, seed=k) for k in range(images)]
            yield sample(xs, [numbers(shape[-1], seed=k) for k in range(images, images + channels)], 1e-3)
        xs = [numbers(4, 6, seed=k)[:, ::2] for k in range(images)]
        yield sample(xs, [numbers(6, seed=k)[::2] for k in range(images, images + channels)], 0.1)

    return samples


def _sizes(images: int, channels: int) -> Callable[[], Iterable[Size]]:
    return lambda: tuple(Size(types=(f32(n, c),) * images + (f32(c),) * channels, attrs={"epsilon": 1e-3}) for n, c in _SIZES)


def _op(
    name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], images: int, infer: Any, work: Any, reference: Any, vjp: Any
) -> Op:
    return Op(
        name=name,
        inputs=inputs,
        outputs=outputs,
        attrs={"epsilon": REQUIRED},
        infer=infer,
        work=work,
        reference=reference,
        vjp=vjp,
        samples=_operands(images, len(inputs) - images),
        sizes=_sizes(images, len(inputs) - images),
        aliases={},
    )


batch_norm = _op("batch_norm", ("x", "scale", "shift"), ("y", "mean", "variance"), 1, _infer, _work, _reference, _vjp)
batch_norm_grad = _op(
    "batch_norm_grad",
    ("dy", "x", "scale", "mean", "variance"),
    ("dx", "dscale", "dshift"),
    2,
    _grad_infer,
    _grad_work,
    _grad_reference,
    None,
)
batch_norm_inference = _op(
    "batch_norm_inference",
    ("x", "scale", "shift", "mean", "variance"),
    ("y",),
    1,
    _inference_infer,
    _inference_work,
    _inference_reference,
    None,
)

BATCH_NORM = (batch_norm, batch_norm_grad, batch_norm_inference)
