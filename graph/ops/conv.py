"""Two-dimensional convolution (cross-correlation) and its two gradients. Images are NHWC, weights (kh, kw, in / groups, out).

``y[n, i, j, o] = sum over u, v, c of x[n, i*stride + u - pad, j*stride + v - pad, c] * w[u, v, c, o]``, with zeros outside the
image. The extent of the result is ``(extent + 2 pad - kernel) // stride + 1``. All three operators do the same multiply-adds.

`pad` is one number, or a pair (rows, columns). With `groups` the channels of the image and those of the result are cut into so
many equal runs, and a run of the result sees only its run of the image: the two towers of Krizhevsky et al. (NIPS 2012, figure 2)
are two groups.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graph.errors import TypeMismatch
from graph.op import REQUIRED, Applied, Array, Attr, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, integer, need, need_float, numbers, traffic
from graph.tensor_type import TensorType

Ev = Evaluator[Any]
Ap = Applied[Any]
Gs = tuple[Any, ...]
Image = tuple[int, int, int, int]
Pair = tuple[int, int]


def extent(size: int, kernel: int, stride: int, pad: int) -> int:
    """Rows (or columns) of the result; less than 1 when the kernel does not fit."""
    return (size + 2 * pad - kernel) // stride + 1


def pads(op: str, attrs: Attrs) -> Pair:
    """Attribute `pad` as (rows, columns); raises `TypeMismatch` when it is neither a whole number >= 0 nor a pair of them."""
    pad = attrs["pad"]
    pair = (pad, pad) if isinstance(pad, int) else pad
    if not isinstance(pair, tuple) or len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in pair):
        raise TypeMismatch(f"{op}: pad must be a whole number >= 0 or a pair of them, got {pad!r}")
    return pair


def _geometry(op: str, attrs: Attrs) -> tuple[int, Pair, int]:
    return integer(op, attrs, "stride", 1), pads(op, attrs), integer(op, attrs, "groups", 1)


def _result(op: str, types: Types, x: Image, w: Image, attrs: Attrs) -> Image:
    """Shape of y for the shapes of x and w; raises `TypeMismatch`."""
    stride, (pad_y, pad_x), groups = _geometry(op, attrs)
    need(w[3] % groups == 0, op, types, f"{w[3]} channels of the result do not divide over {groups} groups")
    need(x[3] == w[2] * groups, op, types, f"the image has {x[3]} channels, the weight wants {w[2] * groups}")
    oh, ow = extent(x[1], w[0], stride, pad_y), extent(x[2], w[1], stride, pad_x)
    fits = min(oh, ow, *w[:2]) >= 1
    need(fits, op, types, f"a {w[0]}x{w[1]} kernel does not fit a {x[1]}x{x[2]} image with pad {attrs['pad']}")
    return x[0], oh, ow, w[3]


def _images(op: str, types: Types) -> tuple[Image, Image]:
    need_float(op, types, 2)
    need(all(t.rank == 4 for t in types), op, types, "wants two operands with four axes")
    (a0, a1, a2, a3), (b0, b1, b2, b3) = types[0].shape, types[1].shape
    return (a0, a1, a2, a3), (b0, b1, b2, b3)


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = _images("conv2d", types)
    return (TensorType(shape=_result("conv2d", types, x, w, attrs), dtype=types[0].dtype),)


def _input_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    op = "conv2d_grad_input"
    dy, w = _images(op, types)
    x = (dy[0], integer(op, attrs, "height", 1), integer(op, attrs, "width", 1), w[2] * integer(op, attrs, "groups", 1))
    need(_result(op, types, x, w, attrs) == dy, op, types, f"dy is not the gradient of a convolution of {x[1]}x{x[2]} images")
    return (TensorType(shape=x, dtype=types[0].dtype),)


def _weight_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    op = "conv2d_grad_weight"
    x, dy = _images(op, types)
    groups = integer(op, attrs, "groups", 1)
    need(x[3] % groups == 0, op, types, f"{x[3]} channels of the image do not divide over {groups} groups")
    w = (integer(op, attrs, "kh", 1), integer(op, attrs, "kw", 1), x[3] // groups, dy[3])
    need(_result(op, types, x, w, attrs) == dy, op, types, f"dy is not the gradient of a convolution with {w[0]}x{w[1]} kernels")
    return (TensorType(shape=w, dtype=types[0].dtype),)


def macs(y: Sequence[int], w: Sequence[int]) -> int:
    """Multiply-adds of a convolution, those with the padded zeros included."""
    return int(np.prod(y, dtype=object)) * w[0] * w[1] * w[2]


def _work(types: Types, attrs: Attrs) -> Work:
    (y,) = _infer(types, attrs)
    return traffic(2 * macs(y.shape, types[1].shape), types, (y,))


def _input_work(types: Types, attrs: Attrs) -> Work:
    return traffic(2 * macs(types[0].shape, types[1].shape), types, _input_infer(types, attrs))


def _weight_work(types: Types, attrs: Attrs) -> Work:
    (w,) = _weight_infer(types, attrs)
    return traffic(2 * macs(types[1].shape, w.shape), types, (w,))


def padded(x: Array, pad: Pair) -> Array:
    """Images with a border of zeros."""
    return np.pad(x, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)))


def _taps(kh: int, kw: int, y: Sequence[int], stride: int) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
    """(u, v, the padded pixels that tap (u, v) meets)."""
    for u in range(kh):
        for v in range(kw):
            yield u, v, (slice(None), slice(u, u + stride * y[1], stride), slice(v, v + stride * y[2], stride))


def _runs(groups: int, channels: int, out: int) -> Iterator[tuple[slice, slice]]:
    """Channels of the image and of the result that belong to each group."""
    c, o = channels // groups, out // groups
    for g in range(groups):
        yield slice(g * c, (g + 1) * c), slice(g * o, (g + 1) * o)


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, w = arrays
    stride, pad, groups = _geometry("conv2d", attrs)
    kh, kw, _, out = w.shape
    y = np.zeros((x.shape[0], extent(x.shape[1], kh, stride, pad[0]), extent(x.shape[2], kw, stride, pad[1]), out), x.dtype)
    xp = padded(x, pad)
    for u, v, pixels in _taps(kh, kw, y.shape, stride):
        for c, o in _runs(groups, x.shape[3], out):
            y[..., o] += xp[(*pixels, c)] @ w[u, v, :, o]
    return (y,)


def _input_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    dy, w = arrays
    stride, (pad_y, pad_x), groups = _geometry("conv2d_grad_input", attrs)
    height, width = integer("conv2d_grad_input", attrs, "height", 1), integer("conv2d_grad_input", attrs, "width", 1)
    dx = np.zeros((dy.shape[0], height + 2 * pad_y, width + 2 * pad_x, w.shape[2] * groups), dy.dtype)
    for u, v, pixels in _taps(w.shape[0], w.shape[1], dy.shape, stride):
        for c, o in _runs(groups, dx.shape[3], dy.shape[3]):
            dx[(*pixels, c)] += dy[..., o] @ w[u, v, :, o].T
    return (dx[:, pad_y : pad_y + height, pad_x : pad_x + width],)


def _weight_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, dy = arrays
    stride, pad, groups = _geometry("conv2d_grad_weight", attrs)
    kh, kw = integer("conv2d_grad_weight", attrs, "kh", 1), integer("conv2d_grad_weight", attrs, "kw", 1)
    dw = np.zeros((kh, kw, x.shape[3] // groups, dy.shape[3]), x.dtype)
    xp = padded(x, pad)
    for u, v, pixels in _taps(kh, kw, dy.shape, stride):
        for c, o in _runs(groups, x.shape[3], dy.shape[3]):
            dw[u, v, :, o] = np.tensordot(xp[(*pixels, c)], dy[..., o], axes=((0, 1, 2), (0, 1, 2)))
    return (dw,)


def _same(attrs: Attrs) -> dict[str, Attr]:
    """The attributes that a convolution and its gradients share."""
    return {k: attrs[k] for k in ("stride", "pad", "groups")}


def _grad_input(ev: Ev, like: Any, dy: Any, w: Any, attrs: Attrs) -> Any:
    _, height, width, _ = ev.type_of(like).shape
    return ev.apply("conv2d_grad_input", (dy, w), **_same(attrs), height=height, width=width)[0]


def _grad_weight(ev: Ev, x: Any, dy: Any, like: Any, attrs: Attrs) -> Any:
    kh, kw, _, _ = ev.type_of(like).shape
    return ev.apply("conv2d_grad_weight", (x, dy), **_same(attrs), kh=kh, kw=kw)[0]


def _forward(ev: Ev, x: Any, w: Any, attrs: Attrs) -> Any:
    return ev.apply("conv2d", (x, w), **_same(attrs))[0]


def _vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    x, w = a.inputs
    dw = _grad_weight(ev, x, g[0], w, a.attrs) if a.wants(1) else None
    dx = _grad_input(ev, x, g[0], w, a.attrs) if a.wants(0) else None
    return dx, dw


def _input_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    dy, w = a.inputs
    return (
        _forward(ev, g[0], w, a.attrs) if a.wants(0) else None,
        _grad_weight(ev, g[0], dy, w, a.attrs) if a.wants(1) else None,
    )


def _weight_vjp(ev: Ev, a: Ap, g: Gs) -> Gs:
    x, dy = a.inputs
    return (
        _grad_input(ev, x, dy, g[0], a.attrs) if a.wants(0) else None,
        _forward(ev, x, g[0], a.attrs) if a.wants(1) else None,
    )


_Case = tuple[Image, int, int, int, int, int | Pair, int]

# (images, kernel rows, kernel columns, out channels, stride, pad, groups)
_SAMPLES: tuple[_Case, ...] = (
    ((1, 1, 1, 1), 1, 1, 1, 1, 0, 1),
    ((2, 5, 4, 3), 3, 3, 5, 1, 1, 1),
    ((1, 7, 7, 2), 3, 2, 4, 2, 0, 1),
    ((3, 6, 5, 1), 5, 5, 7, 1, 2, 1),
    ((2, 6, 6, 2), 3, 3, 3, 2, 1, 1),
    ((0, 4, 4, 2), 3, 3, 2, 1, 1, 1),
    ((1, 9, 8, 5), 1, 1, 17, 3, 0, 1),
    ((2, 4, 4, 3), 5, 5, 2, 1, 1, 1),
    ((3, 8, 8, 6), 3, 3, 16, 1, 1, 1),
    ((2, 5, 6, 4), 3, 3, 6, 1, 1, 2),
    ((1, 6, 5, 6), 3, 1, 3, 2, (1, 0), 3),
    ((2, 5, 5, 3), 1, 5, 4, 1, (0, 2), 1),
    ((1, 4, 5, 2), 5, 1, 2, 1, (2, 0), 2),
)

_SIZES: tuple[_Case, ...] = (
    ((10, 5, 5, 3), 3, 3, 7, 1, 1, 1),
    ((24, 7, 7, 1), 3, 3, 5, 1, 1, 1),
    ((100, 9, 9, 1), 3, 3, 7, 1, 1, 1),
    ((200, 7, 7, 1), 3, 3, 11, 1, 1, 1),
    ((48, 5, 5, 5), 3, 3, 13, 1, 1, 1),
    ((100, 5, 5, 7), 3, 3, 20, 1, 1, 1),
    ((200, 5, 5, 11), 3, 3, 24, 1, 1, 1),
    ((150, 3, 3, 9), 3, 3, 17, 1, 1, 1),
    ((40, 24, 24, 1), 5, 5, 7, 1, 2, 1),
    ((20, 13, 13, 5), 5, 5, 20, 1, 0, 1),
    ((3, 40, 40, 3), 5, 5, 12, 2, 0, 1),
    ((6, 11, 11, 48), 3, 3, 24, 1, 1, 1),
    ((5, 10, 10, 44), 3, 3, 28, 1, 1, 2),
    ((5, 9, 9, 20), 1, 7, 22, 1, (0, 3), 1),
)


def _geometry_of(stride: int, pad: int | Pair, groups: int) -> dict[str, Attr]:
    return {"stride": stride, "pad": pad, "groups": groups}


def _shapes(case: _Case) -> tuple[Image, Image, Image]:
    """Shapes of x, w and y."""
    x, kh, kw, out, stride, pad, groups = case
    pad_y, pad_x = pads("conv2d", {"pad": pad})
    return x, (kh, kw, x[3] // groups, out), (x[0], extent(x[1], kh, stride, pad_y), extent(x[2], kw, stride, pad_x), out)


def _cases(op: str, table: Sequence[_Case]) -> Iterator[tuple[Image, Image, Attrs]]:
    """(shape of the first operand, of the second, attributes) of each row of a table, for one of the three operators."""
    for case in table:
        x, kh, kw, _, stride, pad, groups = case
        xs, ws, ys = _shapes(case)
        geometry = _geometry_of(stride, pad, groups)
        if op == "conv2d":
            yield xs, ws, geometry
        elif op == "conv2d_grad_input":
            yield ys, ws, {**geometry, "height": x[1], "width": x[2]}
        else:
            yield xs, ys, {**geometry, "kh": kh, "kw": kw}


def _op(
    name: str, inputs: tuple[str, str], output: str, extra: tuple[str, ...], infer: Any, work: Any, reference: Any, vjp: Any
) -> Op:
    def samples() -> Iterable[Sample]:
        for a, b, attrs in _cases(name, _SAMPLES):
            yield Sample(inputs=(numbers(*a), numbers(*b, seed=1)), attrs=attrs)
        ((a, b, attrs),) = _cases(name, _SAMPLES[1:2])
        wide = numbers(a[0], a[1], a[2], 2 * a[3])
        yield Sample(inputs=(wide[..., ::2], numbers(*b[::-1], seed=1).T), attrs=attrs)

    def sizes() -> Iterable[Size]:
        return tuple(Size(types=(TensorType(shape=a), TensorType(shape=b)), attrs=attrs) for a, b, attrs in _cases(name, _SIZES))

    return Op(
        name=name,
        inputs=inputs,
        outputs=(output,),
        attrs={"stride": 1, "pad": 0, "groups": 1, **dict.fromkeys(extra, REQUIRED)},
        infer=infer,
        work=work,
        reference=reference,
        vjp=vjp,
        samples=samples,
        sizes=sizes,
        aliases={},
    )


conv2d = _op("conv2d", ("x", "w"), "y", (), _infer, _work, _reference, _vjp)
conv2d_grad_input = _op(
    "conv2d_grad_input", ("dy", "w"), "dx", ("height", "width"), _input_infer, _input_work, _input_reference, _input_vjp
)
conv2d_grad_weight = _op(
    "conv2d_grad_weight", ("x", "dy"), "dw", ("kh", "kw"), _weight_infer, _weight_work, _weight_reference, _weight_vjp
)

CONV = (conv2d, conv2d_grad_input, conv2d_grad_weight)
