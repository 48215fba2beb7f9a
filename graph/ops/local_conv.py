"""A locally connected layer: a convolution that has kernels of its own at every place of its result (private kernels).

``y[n, i, j, o] = sum over u, v, c of x[n, i*stride + u - pad, j*stride + v - pad, c] * w[i, j, u, v, c, o]``, with zeros outside
the image. Images are NHWC, weights (rows and columns of the result, kh, kw, in, out); extents, `stride` and `pad` are those of
`graph.ops.conv`. It multiplies as often as a convolution does, but every weight meets one pixel of every image: such layers are
bound by memory. They are those of Le et al., Building high-level features using large scale unsupervised learning (ICML 2012,
section 3), and two of the benchmark layers of Chen et al., DianNao (ASPLOS 2014).

There is no gradient rule: that of the weights is an outer product at every place, which no operator computes, and no net that is
trained here has such layers.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from graph.op import Array, Attr, Attrs, Op, Sample, Size, Work
from graph.ops.common import Types, integer, like, need, need_float, numbers, traffic
from graph.ops.conv import Pair, extent, padded, pads
from graph.tensor_type import TensorType, f32

OP = "local_conv2d"


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float(OP, types, 2)
    x, w = types
    stride, (pad_y, pad_x) = integer(OP, attrs, "stride", 1), pads(OP, attrs)
    need(x.rank == 4 and w.rank == 6, OP, types, "wants images [n, rows, columns, in] and weights [oh, ow, kh, kw, in, out]")
    (n, height, width, channels), (oh, ow, kh, kw, inner, out) = x.shape, w.shape
    need(channels == inner, OP, types, f"the image has {channels} channels, the weight wants {inner}")
    fit = extent(height, kh, stride, pad_y), extent(width, kw, stride, pad_x)
    is_kernel = min(kh, kw, *fit) >= 1
    need(is_kernel, OP, types, f"a {kh}x{kw} kernel does not fit a {height}x{width} image with pad {attrs['pad']}")
    is_met = pad_y < kh and pad_x < kw
    need(is_met, OP, types, f"pad must be less than the kernel, or some places see nothing, got {attrs['pad']}")
    need((oh, ow) == fit, OP, types, f"there are kernels for {oh}x{ow} places, but the result has {fit[0]}x{fit[1]}")
    return (like(x, n, oh, ow, out),)


def _work(types: Types, attrs: Attrs) -> Work:
    (y,) = _infer(types, attrs)
    _, _, kh, kw, channels, _ = types[1].shape
    return traffic(2 * y.size * kh * kw * channels, types, (y,))


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    x, w = arrays
    stride = integer(OP, attrs, "stride", 1)
    oh, ow, kh, kw, _, out = w.shape
    xp, y = padded(x, pads(OP, attrs)), np.zeros((x.shape[0], oh, ow, out), x.dtype)
    for u in range(kh):
        for v in range(kw):
            met = xp[:, u : u + stride * oh : stride, v : v + stride * ow : stride]
            y += np.einsum("nijc,ijco->nijo", met, w[:, :, u, v])
    return (y,)


_Case = tuple[tuple[int, int, int, int], int, int, int, int, int | Pair]

# (images, kernel rows, kernel columns, out channels, stride, pad)
_SAMPLES: tuple[_Case, ...] = (
    ((1, 1, 1, 1), 1, 1, 1, 1, 0),
    ((2, 5, 4, 3), 3, 3, 5, 1, 1),
    ((1, 7, 7, 2), 3, 2, 4, 2, 0),
    ((3, 6, 5, 1), 5, 5, 7, 1, 4),
    ((0, 4, 4, 2), 3, 3, 2, 1, 1),
    ((2, 4, 5, 0), 2, 2, 3, 1, 0),
    ((5, 3, 4, 6), 2, 2, 16, 1, (0, 1)),
    ((1, 9, 8, 5), 1, 1, 17, 3, 0),
    ((2, 3, 3, 7), 2, 3, 70, 1, (1, 0)),
)

_SIZES: tuple[_Case, ...] = (
    ((1, 6, 7, 3), 3, 3, 7, 1, 0),
    ((1, 15, 15, 5), 5, 5, 11, 1, 0),
    ((2, 11, 11, 20), 3, 3, 20, 1, 1),
    ((1, 26, 26, 9), 7, 7, 9, 1, 0),
    ((5, 9, 9, 10), 3, 3, 36, 2, 0),
    ((8, 7, 7, 12), 3, 3, 70, 1, 0),
    ((1, 9, 9, 30), 3, 3, 140, 1, 0),
)


def _shapes(case: _Case) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Attr]]:
    """Shapes of x and w, and the attributes."""
    x, kh, kw, out, stride, pad = case
    pad_y, pad_x = pads(OP, {"pad": pad})
    at = extent(x[1], kh, stride, pad_y), extent(x[2], kw, stride, pad_x)
    return x, (*at, kh, kw, x[3], out), {"stride": stride, "pad": pad}


def _samples() -> Iterable[Sample]:
    for x, w, attrs in map(_shapes, _SAMPLES):
        yield Sample(inputs=(numbers(*x), numbers(*w, seed=1)), attrs=attrs)
    x, w, attrs = _shapes(_SAMPLES[1])
    wide = numbers(*x[:3], 2 * x[3])
    yield Sample(inputs=(wide[..., ::2], numbers(*w[::-1], seed=1).T), attrs=attrs)


def _sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(*x), f32(*w)), attrs=attrs) for x, w, attrs in map(_shapes, _SIZES))


local_conv2d = Op(
    name=OP,
    inputs=("x", "w"),
    outputs=("y",),
    attrs={"stride": 1, "pad": 0},
    infer=_infer,
    work=_work,
    reference=_reference,
    vjp=None,
    samples=_samples,
    sizes=_sizes,
    aliases={},
)

LOCAL_CONV = (local_conv2d,)
