"""Pooling over square windows of NHWC images. The extent of the result is ``(extent + 2 pad - window) // stride + 1``.

A border of `pad` pixels, less than a window wide, surrounds the image. In `max_pool` it never wins. In `avg_pool` it counts as
zeros, and every window is divided by ``window^2``, whatever it meets.

`max_pool` also says *where* each maximum was (row * window + column inside the window, the first one on a tie), so its
gradient reads neither the image nor the result.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, integer, like, need, need_count, numbers, traffic
from graph.ops.conv import extent
from graph.tensor_type import DType, TensorType, f32

Image = tuple[int, int, int, int]
LARGEST = 16
"""Largest window of a maximum: an index inside it must fit a byte."""


def _geometry(op: str, attrs: Attrs) -> tuple[int, int, int]:
    """(window, stride, pad)"""
    window, stride, pad = integer(op, attrs, "window", 1), integer(op, attrs, "stride", 1), integer(op, attrs, "pad", 0)
    if window > LARGEST and op.startswith("max"):
        raise TypeMismatch(f"{op}: window must be <= {LARGEST}, got {window}")
    if pad >= window:
        raise TypeMismatch(f"{op}: pad must be less than the window, or some windows see nothing; got pad {pad}, window {window}")
    return window, stride, pad


def _pooled(op: str, types: Types, x: Sequence[int], attrs: Attrs) -> Image:
    window, stride, pad = _geometry(op, attrs)
    oh, ow = extent(x[1], window, stride, pad), extent(x[2], window, stride, pad)
    need(min(oh, ow) >= 1, op, types, f"a {window}x{window} window does not fit a {x[1]}x{x[2]} image with pad {pad}")
    return x[0], oh, ow, x[3]


def _check_image(op: str, types: Types) -> TensorType:
    need_count(op, types, 1)
    need(types[0].rank == 4 and types[0].dtype.is_float, op, types, "wants float images [samples, rows, columns, channels]")
    return types[0]


def _max_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = _check_image("max_pool", types)
    y = _pooled("max_pool", types, x.shape, attrs)
    return like(x, *y), TensorType(shape=y, dtype=DType.U8)


def _avg_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = _check_image("avg_pool", types)
    return (like(x, *_pooled("avg_pool", types, x.shape, attrs)),)


def _image_of(op: str, types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """The type of dx from that of dy and the attributes height and width."""
    dy = types[0]
    need(dy.rank == 4 and dy.dtype.is_float, op, types, "wants the gradient of images [samples, rows, columns, channels]")
    x = (dy.shape[0], integer(op, attrs, "height", 1), integer(op, attrs, "width", 1), dy.shape[3])
    need(_pooled(op, types, x, attrs) == dy.shape, op, types, f"dy is not the gradient of pooled {x[1]}x{x[2]} images")
    return (like(dy, *x),)


def _max_grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("max_pool_grad", types, 2)
    need(types[1] == TensorType(shape=types[0].shape, dtype=DType.U8), "max_pool_grad", types, "where must be u8 of dy's shape")
    return _image_of("max_pool_grad", types, attrs)


def _avg_grad_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("avg_pool_grad", types, 1)
    return _image_of("avg_pool_grad", types, attrs)


def _taps(attrs: Attrs, oh: int, ow: int) -> Iterator[tuple[int, tuple[slice, slice, slice]]]:
    """(index in the window, the pixels of the padded image that it meets)."""
    window, stride, _ = _geometry("pool", attrs)
    for u in range(window):
        for v in range(window):
            yield u * window + v, (slice(None), slice(u, u + stride * oh, stride), slice(v, v + stride * ow, stride))


def _bordered(x: Array, attrs: Attrs, value: float) -> Array:
    pad = _geometry("pool", attrs)[2]
    return np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=value)


def _max_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (x,) = arrays
    shape = _pooled("max_pool", (), x.shape, attrs)
    y, where = np.full(shape, -np.inf, x.dtype), np.zeros(shape, np.uint8)
    xp = _bordered(x, attrs, -np.inf)
    for index, pixels in _taps(attrs, *shape[1:3]):
        larger = xp[pixels] > y
        y, where = np.where(larger, xp[pixels], y), np.where(larger, np.uint8(index), where)
    return y, where


def _max_grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    dy, where = arrays
    dx = _blank(dy, attrs)
    for index, pixels in _taps(attrs, *dy.shape[1:3]):
        dx[pixels] += np.where(where == index, dy, np.zeros((), dy.dtype))
    return (_inner(dx, attrs),)


def _avg_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (x,) = arrays
    shape = _pooled("avg_pool", (), x.shape, attrs)
    y, xp = np.zeros(shape, x.dtype), _bordered(x, attrs, 0.0)
    for _, pixels in _taps(attrs, *shape[1:3]):
        y += xp[pixels]
    return (y * _share(x, attrs),)


def _avg_grad_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    (dy,) = arrays
    dx = _blank(dy, attrs)
    for _, pixels in _taps(attrs, *dy.shape[1:3]):
        dx[pixels] += dy * _share(dy, attrs)
    return (_inner(dx, attrs),)


def _share(x: Array, attrs: Attrs) -> Any:
    return x.dtype.type(1.0 / _geometry("avg_pool", attrs)[0] ** 2)


def _blank(dy: Array, attrs: Attrs) -> Array:
    """A padded image of zeros."""
    pad = _geometry("pool", attrs)[2]
    size = integer("pool", attrs, "height", 1) + 2 * pad, integer("pool", attrs, "width", 1) + 2 * pad
    return np.zeros((dy.shape[0], *size, dy.shape[3]), dy.dtype)


def _inner(x: Array, attrs: Attrs) -> Array:
    """An image without its border."""
    pad = _geometry("pool", attrs)[2]
    return x[:, pad : x.shape[1] - pad, pad : x.shape[2] - pad]


def _of_image(ev: Evaluator[Any], a: Applied[Any]) -> dict[str, Any]:
    _, height, width, _ = ev.type_of(a.inputs[0]).shape
    return {**a.attrs, "height": height, "width": width}


def _max_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    return ev.apply("max_pool_grad", (g[0], a.outputs[1]), **_of_image(ev, a))


def _avg_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    return ev.apply("avg_pool_grad", (g[0],), **_of_image(ev, a))


def _avg_grad_vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    return ev.apply("avg_pool", (g[0],), **{k: a.attrs[k] for k in ("window", "stride", "pad")})


# (images, window, stride, pad): even, odd, overlapping, with a rest at the border, window of one, gaps between windows, padded
_SAMPLES: tuple[tuple[Image, int, int, int], ...] = (
    ((1, 1, 1, 1), 1, 1, 0),
    ((2, 4, 6, 3), 2, 2, 0),
    ((3, 5, 7, 2), 2, 2, 0),
    ((1, 7, 6, 5), 3, 2, 0),
    ((2, 6, 5, 1), 3, 1, 0),
    ((1, 8, 8, 3), 2, 3, 0),
    ((1, 5, 5, 3), 3, 2, 0),
    ((0, 4, 4, 2), 2, 2, 0),
    ((2, 8, 8, 17), 2, 2, 0),
    ((2, 5, 6, 3), 3, 2, 1),
    ((1, 4, 3, 2), 3, 1, 1),
    ((1, 2, 2, 3), 4, 3, 3),
    ((1, 1, 1, 2), 3, 2, 1),
)

_SIZES: tuple[tuple[Image, int, int, int], ...] = (
    ((10, 6, 6, 3), 2, 2, 0),
    ((24, 10, 10, 5), 2, 2, 0),
    ((100, 10, 10, 7), 2, 2, 0),
    ((200, 6, 6, 11), 2, 2, 0),
    ((100, 6, 6, 20), 2, 2, 0),
    ((200, 10, 10, 13), 2, 2, 0),
    ((40, 22, 22, 7), 2, 2, 0),
    ((20, 11, 11, 24), 3, 2, 0),
    ((20, 12, 12, 18), 3, 2, 1),
    ((60, 9, 9, 10), 2, 2, 0),
    ((15, 15, 15, 20), 2, 2, 0),
    ((10, 9, 9, 28), 3, 1, 1),
    ((16, 5, 5, 36), 5, 1, 0),
)


def _max_work(types: Types, attrs: Attrs) -> Work:
    y, where = _max_infer(types, attrs)
    return traffic(y.size * (_geometry("max_pool", attrs)[0] ** 2 - 1), types, (y, where))


def _avg_work(types: Types, attrs: Attrs) -> Work:
    (y,) = _avg_infer(types, attrs)
    return traffic(y.size * (_geometry("avg_pool", attrs)[0] ** 2 + 1), types, (y,))


def _max_grad_work(types: Types, attrs: Attrs) -> Work:
    return traffic(types[0].size, types, _max_grad_infer(types, attrs))


def _avg_grad_work(types: Types, attrs: Attrs) -> Work:
    return traffic(types[0].size * (_geometry("avg_pool_grad", attrs)[0] ** 2 + 1), types, _avg_grad_infer(types, attrs))


def _pooling(name: str, outputs: tuple[str, ...], infer: Any, work: Any, reference: Any, vjp: Any) -> Op:
    def samples() -> Iterable[Sample]:
        for shape, window, stride, pad in _SAMPLES:
            yield Sample(inputs=(numbers(*shape),), attrs={"window": window, "stride": stride, "pad": pad})
        yield Sample(inputs=(numbers(2, 4, 6, 6)[..., ::2],), attrs={"window": 2, "stride": 2})

    def sizes() -> Iterable[Size]:
        for shape, window, stride, pad in _SIZES:
            yield Size(types=(f32(*shape),), attrs={"window": window, "stride": stride, "pad": pad})

    return Op(
        name=name,
        inputs=("x",),
        outputs=outputs,
        attrs={"window": REQUIRED, "stride": REQUIRED, "pad": 0},
        infer=infer,
        work=work,
        reference=reference,
        vjp=vjp,
        samples=samples,
        sizes=sizes,
        aliases={},
    )


def _gradient(name: str, forward: Op, inputs: tuple[str, ...], infer: Any, work: Any, reference: Any, vjp: Any) -> Op:
    """The gradient of a pooling, with samples and sizes from the forward operator's."""

    def attrs_of(x: Sequence[int], attrs: Attrs) -> Attrs:
        return {**attrs, "height": x[1], "width": x[2]}

    def samples() -> Iterable[Sample]:
        for s in forward.samples():
            y, *saved = forward.reference(s.inputs, forward.complete(s.attrs))
            strided = not s.inputs[0].flags.c_contiguous
            dy = numbers(*y.shape[::-1], seed=1).T if strided else numbers(*y.shape, seed=1)
            yield Sample(inputs=(dy, *saved), attrs=attrs_of(s.inputs[0].shape, s.attrs))

    def sizes() -> Iterable[Size]:
        for s in forward.sizes():
            yield Size(types=forward.infer(s.types, forward.complete(s.attrs)), attrs=attrs_of(s.types[0].shape, s.attrs))

    return Op(
        name=name,
        inputs=inputs,
        outputs=("dx",),
        attrs={"window": REQUIRED, "stride": REQUIRED, "pad": 0, "height": REQUIRED, "width": REQUIRED},
        infer=infer,
        work=work,
        reference=reference,
        vjp=vjp,
        samples=samples,
        sizes=sizes,
        aliases={},
    )


max_pool = _pooling("max_pool", ("y", "where"), _max_infer, _max_work, _max_reference, _max_vjp)
avg_pool = _pooling("avg_pool", ("y",), _avg_infer, _avg_work, _avg_reference, _avg_vjp)
max_pool_grad = _gradient("max_pool_grad", max_pool, ("dy", "where"), _max_grad_infer, _max_grad_work, _max_grad_reference, None)
avg_pool_grad = _gradient("avg_pool_grad", avg_pool, ("dy",), _avg_grad_infer, _avg_grad_work, _avg_grad_reference, _avg_grad_vjp)

POOL = (max_pool, max_pool_grad, avg_pool, avg_pool_grad)
