"""Optimizers, running statistics and the input stage: whole buffers, element by element, each in one pass."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from typing import Any

from numba import cuda

from hw.kernels.record import Call
from runtime.kernels.cuda.flat import COPIES, binary, copies, inlined, pair
from runtime.kernels.cuda.kernel import F32, NUMBER, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, store4


@inlined
def _velocity(p, g, m, momentum, decay):
    return momentum * m + (g + decay * p)


def _sgd(p, g, m, new_p, new_m, rate, momentum, decay, n):
    i = cuda.grid(1)
    if i < n:
        old = p[i]
        v = _velocity(old, g[i], m[i], momentum, decay)
        new_m[i] = v
        new_p[i] = old - rate * v


def _sgd4(p, g, m, new_p, new_m, rate, momentum, decay, n, head):
    i, body = cuda.grid(1), (n - head) >> 2
    if i < body:
        at = head + 4 * i
        p0, p1, p2, p3 = load4(p, at)
        g0, g1, g2, g3 = load4(g, at)
        m0, m1, m2, m3 = load4(m, at)
        m0, m1 = _velocity(p0, g0, m0, momentum, decay), _velocity(p1, g1, m1, momentum, decay)
        m2, m3 = _velocity(p2, g2, m2, momentum, decay), _velocity(p3, g3, m3, momentum, decay)
        store4(new_m, at, m0, m1, m2, m3)
        store4(new_p, at, p0 - rate * m0, p1 - rate * m1, p2 - rate * m2, p3 - rate * m3)
    if i < n - 4 * body:
        k = i if i < head else i + 4 * body
        old = p[k]
        v = _velocity(old, g[k], m[k], momentum, decay)
        new_m[k] = v
        new_p[k] = old - rate * v


SGD = pair("sgd", _sgd, _sgd4, (F32, F32, F32, F32, F32, NUMBER, NUMBER, NUMBER))


@cuda_kernel("cuda.sgd", kernels=SGD.kernels)
def sgd(call: Call, places: Sequence[Place]) -> list[Launch]:
    """``m' = momentum m + (g + decay p)``, ``p' = p - rate m'``; results may lie where p and m lie."""
    attrs: Any = call.attrs
    return SGD.over(places[:5], *(float(attrs[k]) for k in ("learning_rate", "momentum", "weight_decay")))


@inlined
def _blend(old, new, keep, take):
    return keep * old + take * new


BLEND = binary("blend", _blend)


@cuda_kernel("cuda.blend", kernels=BLEND.kernels)
def blend(call: Call, places: Sequence[Place]) -> list[Launch]:
    """``decay * old + (1 - decay) * new``; the result may lie where the old lies."""
    decay: Any = call.attrs["decay"]
    return BLEND.over(places[:3], float(decay), 1.0 - float(decay))


@cuda_kernel("cuda.input", kernels=COPIES)
def input_copy(call: Call, places: Sequence[Place]) -> list[Launch]:
    """A prefetched batch goes to the data buffer: value by value."""
    count = len(call.types)
    pairs = zip(places[:count], places[count : 2 * count], call.types, strict=True)
    return [launch for source, to, t in pairs for launch in copies(source, to, t.nbytes)]
