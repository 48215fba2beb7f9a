"""Work against loops that count what they do: one at a time, as the definition says."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from graph import OPS, Work
from graph.op import Sample
from graph.ops.common import type_of


class Count:
    """A number that counts its additions, multiplications, divisions and comparisons."""

    flop = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def _done(self, value: float) -> "Count":
        Count.flop += 1
        return Count(value)

    def __add__(self, other: "Count") -> "Count":
        return self._done(self.value + other.value)

    def __sub__(self, other: "Count") -> "Count":
        return self._done(self.value - other.value)

    def __mul__(self, other: "Count") -> "Count":
        return self._done(self.value * other.value)

    def __truediv__(self, other: "Count") -> "Count":
        return self._done(self.value / other.value)

    def __gt__(self, other: "Count") -> bool:
        Count.flop += 1
        return self.value > other.value

    def call(self, f: Callable[[float], float]) -> "Count":
        return self._done(float(f(self.value)))


Counts = np.ndarray


def counted(x: np.ndarray) -> Counts:
    return np.array([Count(float(v)) for v in x.reshape(-1)] or [None], object)[: x.size].reshape(x.shape)


def zeros(shape: tuple[int, ...]) -> Counts:
    return counted(np.zeros(shape))


def windows(oh: int, ow: int, kh: int, kw: int) -> product:
    return product(range(oh), range(ow), range(kh), range(kw))


def matmul(s: Sample) -> Counts:
    a, b = (counted(x.T if s.attrs[t] else x) for x, t in zip(s.inputs, ("ta", "tb"), strict=True))
    y = zeros((a.shape[0], b.shape[1]))
    for i, j, k in product(range(a.shape[0]), range(b.shape[1]), range(a.shape[1])):
        y[i, j] = y[i, j] + a[i, k] * b[k, j]
    return y


def padded(x: np.ndarray, pad: int | tuple[int, int], value: float = 0.0) -> Counts:
    py, px = (pad, pad) if isinstance(pad, int) else pad
    return counted(np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=value))


def without_border(x: Counts, pad: int | tuple[int, int]) -> Counts:
    py, px = (pad, pad) if isinstance(pad, int) else pad
    return x[:, py : x.shape[1] - py, px : x.shape[2] - px]


def channels(ci: int, co: int, groups: int) -> list[tuple[int, int, int]]:
    """(channel of the image, its place in the weight, channel of the result) that meet."""
    run = ci // groups, co // groups
    return [(g * run[0] + c, c, g * run[1] + o) for g in range(groups) for c in range(run[0]) for o in range(run[1])]


def conv2d(s: Sample) -> Counts:
    stride, groups = s.attrs["stride"], s.attrs["groups"]
    x, w = padded(s.inputs[0], s.attrs["pad"]), counted(s.inputs[1])
    kh, kw, _, co = w.shape
    y = zeros((x.shape[0], (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1, co))
    for n, (c, k, o) in product(range(x.shape[0]), channels(x.shape[3], co, groups)):
        for i, j, u, v in windows(*y.shape[1:3], kh, kw):
            y[n, i, j, o] = y[n, i, j, o] + x[n, i * stride + u, j * stride + v, c] * w[u, v, k, o]
    return y


def conv2d_grad_input(s: Sample) -> Counts:
    stride, groups, h, width = (s.attrs[k] for k in ("stride", "groups", "height", "width"))
    dy, w = (counted(x) for x in s.inputs)
    kh, kw, ci, co = w.shape
    dx = padded(np.zeros((dy.shape[0], h, width, ci * groups)), s.attrs["pad"])
    for n, (c, k, o) in product(range(dy.shape[0]), channels(ci * groups, co, groups)):
        for i, j, u, v in windows(*dy.shape[1:3], kh, kw):
            at = n, i * stride + u, j * stride + v, c
            dx[at] = dx[at] + dy[n, i, j, o] * w[u, v, k, o]
    return without_border(dx, s.attrs["pad"])


def conv2d_grad_weight(s: Sample) -> Counts:
    stride, groups, kh, kw = (s.attrs[k] for k in ("stride", "groups", "kh", "kw"))
    x, dy = padded(s.inputs[0], s.attrs["pad"]), counted(s.inputs[1])
    dw = zeros((kh, kw, x.shape[3] // groups, dy.shape[3]))
    for n, (c, k, o) in product(range(x.shape[0]), channels(x.shape[3], dy.shape[3], groups)):
        for i, j, u, v in windows(*dy.shape[1:3], kh, kw):
            dw[u, v, k, o] = dw[u, v, k, o] + x[n, i * stride + u, j * stride + v, c] * dy[n, i, j, o]
    return dw


def local_conv2d(s: Sample) -> Counts:
    stride, x, w = s.attrs["stride"], padded(s.inputs[0], s.attrs["pad"]), counted(s.inputs[1])
    oh, ow, kh, kw, ci, co = w.shape
    y = zeros((x.shape[0], oh, ow, co))
    for n, c, o in product(range(x.shape[0]), range(ci), range(co)):
        for i, j, u, v in windows(oh, ow, kh, kw):
            y[n, i, j, o] = y[n, i, j, o] + x[n, i * stride + u, j * stride + v, c] * w[i, j, u, v, c, o]
    return y


def pooled(s: Sample, border: float) -> tuple[Counts, Counts, int, int]:
    window, stride = s.attrs["window"], s.attrs["stride"]
    x = padded(s.inputs[0], s.attrs["pad"], border)
    return x, zeros((x.shape[0], *((e - window) // stride + 1 for e in x.shape[1:3]), x.shape[3])), window, stride


def max_pool(s: Sample) -> Counts:
    x, y, window, stride = pooled(s, -np.inf)
    for n, i, j, c in np.ndindex(y.shape):
        best = x[n, i * stride, j * stride, c]
        for u, v in list(np.ndindex(window, window))[1:]:
            here = x[n, i * stride + u, j * stride + v, c]
            best = here if here > best else best
        y[n, i, j, c] = best
    return y


def avg_pool(s: Sample) -> Counts:
    x, y, window, stride = pooled(s, 0.0)
    share = Count(1 / window**2)
    for n, i, j, c in np.ndindex(y.shape):
        for u, v in np.ndindex(window, window):
            y[n, i, j, c] = y[n, i, j, c] + x[n, i * stride + u, j * stride + v, c]
        y[n, i, j, c] = y[n, i, j, c] * share
    return y


def image_of(s: Sample) -> Counts:
    return padded(np.zeros((s.inputs[0].shape[0], s.attrs["height"], s.attrs["width"], s.inputs[0].shape[3])), s.attrs["pad"])


def max_pool_grad(s: Sample) -> Counts:
    (dy, where), window, stride = s.inputs, s.attrs["window"], s.attrs["stride"]
    g, dx = counted(dy), image_of(s)
    for n, i, j, c in np.ndindex(dy.shape):
        u, v = divmod(int(where[n, i, j, c]), window)
        at = n, i * stride + u, j * stride + v, c
        dx[at] = dx[at] + g[n, i, j, c]
    return without_border(dx, s.attrs["pad"])


def avg_pool_grad(s: Sample) -> Counts:
    (dy,), window, stride = s.inputs, s.attrs["window"], s.attrs["stride"]
    g, dx = counted(dy), image_of(s)
    for n, i, j, c in np.ndindex(dy.shape):
        part = g[n, i, j, c] * Count(1 / window**2)
        for u, v in np.ndindex(window, window):
            at = n, i * stride + u, j * stride + v, c
            dx[at] = dx[at] + part
    return without_border(dx, s.attrs["pad"])


def bias_grad(s: Sample) -> Counts:
    dy = counted(s.inputs[0]).reshape(-1, s.inputs[0].shape[-1])
    db = zeros(dy.shape[1:])
    for row in dy:
        db = db + row
    return db


def softmax_cross_entropy(s: Sample) -> Counts:
    x, labels = counted(s.inputs[0]), s.inputs[1]
    loss = Count(0.0)
    for row, label in zip(x, labels, strict=True):
        best = row[0]
        for v in row[1:]:
            best = v if v > best else best
        shifted = [v - best for v in row]
        e, total = [v.call(np.exp) for v in shifted], Count(0.0)
        for v in e:
            total = total + v
        _probs = [v / total for v in e]
        loss = loss + (total.call(np.log) - shifted[label])
    return np.array([loss / Count(s.attrs["denominator"])], object).reshape(())


def softmax_cross_entropy_grad(s: Sample) -> Counts:
    d, labels = counted(s.inputs[0]), s.inputs[1]
    for row, label in zip(d, labels, strict=True):
        row[label] = row[label] - Count(1.0)
    return np.array([v / Count(s.attrs["denominator"]) for v in d.reshape(-1)], object).reshape(d.shape)


def sgd(s: Sample) -> Counts:
    p, g, m = (counted(x) for x in s.inputs)
    rate, momentum, decay = (Count(float(s.attrs[k])) for k in ("learning_rate", "momentum", "weight_decay"))
    new = np.empty(p.shape, object)
    for i in np.ndindex(p.shape):
        new[i] = p[i] - rate * (momentum * m[i] + (g[i] + decay * p[i]))
    return new


def blend(s: Sample) -> Counts:
    old, new = (counted(x) for x in s.inputs)
    keep, take = Count(s.attrs["decay"]), Count(1 - s.attrs["decay"])
    blended = np.empty(old.shape, object)
    for i in np.ndindex(old.shape):
        blended[i] = keep * old[i] + take * new[i]
    return blended


def channel_vectors(s: Sample, images: int) -> list[Counts]:
    return [counted(x) for x in s.inputs[images:]]


def root(variance: Count, s: Sample) -> Count:
    return (variance + Count(s.attrs["epsilon"])).call(np.sqrt)


def batch_norm(s: Sample) -> Counts:
    x = counted(s.inputs[0]).reshape(-1, s.inputs[0].shape[-1]) if s.inputs[0].size else zeros((1, 0))
    scale, shift = channel_vectors(s, 1)
    y, n = np.empty(x.shape, object), Count(x.shape[0])
    for c in range(x.shape[1]):
        mean = variance = Count(0.0)
        for row in x:
            mean = mean + row[c]
        mean = mean / n
        for row in x:
            d = row[c] - mean
            variance = variance + d * d
        factor = Count(1.0) / root(variance / n, s) * scale[c]
        for i, row in enumerate(x):
            y[i, c] = (row[c] - mean) * factor + shift[c]
    return y.reshape(s.inputs[0].shape) if y.size else zeros(s.inputs[0].shape)


def batch_norm_grad(s: Sample) -> Counts:
    dy, x = (counted(v).reshape(-1, v.shape[-1]) if v.size else zeros((1, 0)) for v in s.inputs[:2])
    scale, means, variances = channel_vectors(s, 2)
    dx, n = np.empty(x.shape, object), Count(x.shape[0])
    for c in range(x.shape[1]):
        rstd, dshift, dscale = Count(1.0) / root(variances[c], s), Count(0.0), Count(0.0)
        for g, row in zip(dy, x, strict=True):
            dshift = dshift + g[c]
            dscale = dscale + g[c] * (row[c] - means[c])
        dscale = dscale * rstd
        factor, level, slope = scale[c] * rstd, dshift / n, dscale * rstd / n
        for i, (g, row) in enumerate(zip(dy, x, strict=True)):
            dx[i, c] = (g[c] - level - (row[c] - means[c]) * slope) * factor
    return dx.reshape(s.inputs[1].shape) if dx.size else zeros(s.inputs[1].shape)


def batch_norm_inference(s: Sample) -> Counts:
    x, y = counted(s.inputs[0]), np.empty(s.inputs[0].shape, object)
    scale, shift, means, variances = channel_vectors(s, 1)
    factors = [scale[c] / root(variances[c], s) for c in range(x.shape[-1])]
    for i in np.ndindex(x.shape):
        y[i] = (x[i] - means[i[-1]]) * factors[i[-1]] + shift[i[-1]]
    return y


def around(values: Counts, c: int, size: int) -> Count:
    """The sum of a window of channels, zeros outside."""
    total = Count(0.0)
    for j in range(c - size // 2, c + size // 2 + 1):
        total = total + (values[j] if 0 <= j < len(values) else Count(0.0))
    return total


def lrn(s: Sample) -> Counts:
    size, alpha, beta, k = (s.attrs[name] for name in ("size", "alpha", "beta", "k"))
    x, y = counted(s.inputs[0]), np.empty(s.inputs[0].shape, object)
    for i in np.ndindex(x.shape[:-1]):
        squares = [v * v for v in x[i]]
        for c, v in enumerate(x[i]):
            scale = Count(alpha) * around(squares, c, size) + Count(k)
            y[(*i, c)] = v / scale.call(lambda b: b**beta)
    return y


def lrn_grad(s: Sample) -> Counts:
    size, alpha, beta = (s.attrs[name] for name in ("size", "alpha", "beta"))
    dy, x, scale = (counted(v) for v in s.inputs)
    dx = np.empty(x.shape, object)
    for i in np.ndindex(x.shape[:-1]):
        through = [g / b.call(lambda b: b**beta) for g, b in zip(dy[i], scale[i], strict=True)]
        shares = [t * v / b for t, v, b in zip(through, x[i], scale[i], strict=True)]
        for c, v in enumerate(x[i]):
            dx[(*i, c)] = through[c] - Count(2 * alpha * beta) * v * around(shares, c, size)
    return dx


def dot(s: Sample) -> Counts:
    total = Count(0.0)
    for a, b in zip(counted(s.inputs[0]).reshape(-1), counted(s.inputs[1]).reshape(-1), strict=True):
        total = total + a * b
    return np.array([total], object).reshape(())


def quantize(s: Sample) -> Counts:
    step, rounding = 2.0 ** -s.attrs["fraction"], s.attrs["rounding"]
    low, high = (Count(float(n)) for n in (-(2 ** (s.attrs["bits"] - 1)), 2 ** (s.attrs["bits"] - 1) - 1))
    rules = {"floor": math.floor, "zero": math.trunc, "nearest": lambda v: math.floor(v) + (v - math.floor(v) > 0.5)}
    q = counted(np.nan_to_num(s.inputs[0].astype(float), posinf=np.inf, neginf=-np.inf))
    for i in np.ndindex(q.shape):
        v = q[i] / Count(step)
        v = v if v > low else low
        v = high if v > high else v
        q[i] = v.call(rules[rounding])
    return q


LOOPS = (
    matmul,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
    local_conv2d,
    max_pool,
    max_pool_grad,
    avg_pool,
    avg_pool_grad,
    bias_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
    sgd,
    blend,
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    lrn,
    lrn_grad,
    dot,
    quantize,
)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_flop_and_result_equal_those_of_a_counting_loop(loop) -> None:
    op = OPS[loop.__name__]
    for s in op.samples():
        attrs = op.complete(s.attrs)
        sample = Sample(inputs=s.inputs, attrs=attrs)
        Count.flop = 0
        made = loop(sample)
        assert op.work([type_of(x) for x in s.inputs], attrs).flop == Count.flop
        right = np.array([c.value for c in made.reshape(-1)]).reshape(made.shape)
        np.testing.assert_allclose(op.reference(s.inputs, attrs)[0], right, rtol=2e-5, atol=2e-6)


def test_elementwise_flop_per_element() -> None:
    one = {"relu": 1, "relu_grad": 1, "tanh": 1, "tanh_grad": 3, "add": 1, "scale": 1, "scale_by": 1, "fill": 0, "dropout": 1}
    one["dequantize"] = 1
    for name, flop in one.items():
        op = OPS[name]
        s = next(iter(op.sizes()))
        (y,) = op.infer(s.types, op.complete(s.attrs))
        assert op.work(s.types, op.complete(s.attrs)).flop == flop * y.size


@pytest.mark.parametrize("name", ["concat", "slice_last", "transpose", "gather_rows", "scatter_rows"])
def test_what_only_moves_does_no_arithmetic(name: str) -> None:
    assert all(OPS[name].work(s.types, OPS[name].complete(s.attrs)).flop == 0 for s in OPS[name].sizes())


def test_views_do_nothing() -> None:
    views = [op for op in OPS.values() if op.is_view]
    assert {"flatten", "reshape"} <= {op.name for op in views}
    for op in views:
        for s in op.samples():
            assert op.work([type_of(x) for x in s.inputs], op.complete(s.attrs)) == Work()
            dense = [np.ascontiguousarray(x) for x in s.inputs]
            assert np.shares_memory(op.reference(dense, op.complete(s.attrs))[0], dense[0]) or not dense[0].size


def test_work_adds() -> None:
    a = Work(flop=1, bytes_read=2, bytes_written=3)
    assert a + a == Work(flop=2, bytes_read=4, bytes_written=6)
    assert (a + a).nbytes == 10
