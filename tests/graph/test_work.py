"""Work against loops that count what they do: one at a time, as the definition says."""

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

    def call(self, f: np.ufunc) -> "Count":
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


def padded(x: np.ndarray, pad: int) -> Counts:
    return counted(np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))))


def conv2d(s: Sample) -> Counts:
    stride, pad = s.attrs["stride"], s.attrs["pad"]
    x, w = padded(s.inputs[0], pad), counted(s.inputs[1])
    kh, kw, ci, co = w.shape
    y = zeros((x.shape[0], (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1, co))
    for n, c, o in product(range(x.shape[0]), range(ci), range(co)):
        for i, j, u, v in windows(*y.shape[1:3], kh, kw):
            y[n, i, j, o] = y[n, i, j, o] + x[n, i * stride + u, j * stride + v, c] * w[u, v, c, o]
    return y


def conv2d_grad_input(s: Sample) -> Counts:
    stride, pad, h, width = (s.attrs[k] for k in ("stride", "pad", "height", "width"))
    dy, w = (counted(x) for x in s.inputs)
    kh, kw, ci, co = w.shape
    dx = zeros((dy.shape[0], h + 2 * pad, width + 2 * pad, ci))
    for n, c, o in product(range(dy.shape[0]), range(ci), range(co)):
        for i, j, u, v in windows(*dy.shape[1:3], kh, kw):
            at = n, i * stride + u, j * stride + v, c
            dx[at] = dx[at] + dy[n, i, j, o] * w[u, v, c, o]
    return dx[:, pad : pad + h, pad : pad + width]


def conv2d_grad_weight(s: Sample) -> Counts:
    stride, kh, kw = (s.attrs[k] for k in ("stride", "kh", "kw"))
    x, dy = padded(s.inputs[0], s.attrs["pad"]), counted(s.inputs[1])
    dw = zeros((kh, kw, x.shape[3], dy.shape[3]))
    for n, c, o in product(range(x.shape[0]), range(x.shape[3]), range(dy.shape[3])):
        for i, j, u, v in windows(*dy.shape[1:3], kh, kw):
            dw[u, v, c, o] = dw[u, v, c, o] + x[n, i * stride + u, j * stride + v, c] * dy[n, i, j, o]
    return dw


def pooled(s: Sample) -> tuple[Counts, Counts, int, int]:
    window, stride = s.attrs["window"], s.attrs["stride"]
    x = counted(s.inputs[0])
    return x, zeros((x.shape[0], *((e - window) // stride + 1 for e in x.shape[1:3]), x.shape[3])), window, stride


def max_pool(s: Sample) -> Counts:
    x, y, window, stride = pooled(s)
    for n, i, j, c in np.ndindex(y.shape):
        best = x[n, i * stride, j * stride, c]
        for u, v in list(np.ndindex(window, window))[1:]:
            here = x[n, i * stride + u, j * stride + v, c]
            best = here if here > best else best
        y[n, i, j, c] = best
    return y


def avg_pool(s: Sample) -> Counts:
    x, y, window, stride = pooled(s)
    share = Count(1 / window**2)
    for n, i, j, c in np.ndindex(y.shape):
        for u, v in np.ndindex(window, window):
            y[n, i, j, c] = y[n, i, j, c] + x[n, i * stride + u, j * stride + v, c]
        y[n, i, j, c] = y[n, i, j, c] * share
    return y


def max_pool_grad(s: Sample) -> Counts:
    (dy, where), window, stride = s.inputs, s.attrs["window"], s.attrs["stride"]
    g, dx = counted(dy), zeros((dy.shape[0], s.attrs["height"], s.attrs["width"], dy.shape[3]))
    for n, i, j, c in np.ndindex(dy.shape):
        u, v = divmod(int(where[n, i, j, c]), window)
        at = n, i * stride + u, j * stride + v, c
        dx[at] = dx[at] + g[n, i, j, c]
    return dx


def avg_pool_grad(s: Sample) -> Counts:
    (dy,), window, stride = s.inputs, s.attrs["window"], s.attrs["stride"]
    g, dx = counted(dy), zeros((dy.shape[0], s.attrs["height"], s.attrs["width"], dy.shape[3]))
    for n, i, j, c in np.ndindex(dy.shape):
        part = g[n, i, j, c] * Count(1 / window**2)
        for u, v in np.ndindex(window, window):
            at = n, i * stride + u, j * stride + v, c
            dx[at] = dx[at] + part
    return dx


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


def dot(s: Sample) -> Counts:
    total = Count(0.0)
    for a, b in zip(counted(s.inputs[0]).reshape(-1), counted(s.inputs[1]).reshape(-1), strict=True):
        total = total + a * b
    return np.array([total], object).reshape(())


LOOPS = (
    matmul,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
    max_pool,
    max_pool_grad,
    avg_pool,
    avg_pool_grad,
    bias_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
    sgd,
    dot,
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
    for name, flop in one.items():
        op = OPS[name]
        s = next(iter(op.sizes()))
        (y,) = op.infer(s.types, op.complete(s.attrs))
        assert op.work(s.types, op.complete(s.attrs)).flop == flop * y.size


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
