"""Local response normalization. A thread has one channel of a pixel, or four neighbours whose windows have a core in common.

Forward, windows are read from the image, which the cache holds. The gradient first computes each element's part of the sums,
once, into shared memory; of the few elements that lie outside of the block's, the parts are computed where they are needed.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable, Sequence

from numba import cuda, float32

from graph.ops.common import integer, number
from hw.kernels.cuda_sums import BLOCKS, THREADS
from hw.kernels.record import Call
from hw.kernels.tiling import ceil_div
from runtime.kernels.cuda.kernel import F32, NUMBER, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import power, quotient
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS, wide_access

LEAST_HALF = 2
"""Neighbours on either side from which on the windows of four channels side by side have at least two in common."""


def _around(each: int, near: Callable[..., float]) -> Callable[..., None]:
    """A device function that fills `sums` for channels c and after: what is `near` each of them, `half` on either side, added up.

    ``near(a, b, d, at, shared, first, beta)`` is what element `at` gives; it is not called for elements outside of the pixel. Of
    four channels, the core of the windows is added up once; to its left and right they differ by one each.
    """

    @cuda.jit(device=True, inline="always")
    def one(sums, c, half, channels, a, b, d, at, shared, first, beta):
        s = float32(0)
        for j in range(max(c - half, 0), min(c + half + 1, channels)):
            s += near(a, b, d, at + j - c, shared, first, beta)
        sums[0] = s

    @cuda.jit(device=True, inline="always")
    def four(sums, c, half, channels, a, b, d, at, shared, first, beta):
        core = float32(0)
        for j in range(max(c + 3 - half, 0), min(c + half + 1, channels)):
            core += near(a, b, d, at + j - c, shared, first, beta)
        side = float32(0)
        for k in range(3):
            j = c + 2 - k - half
            if j >= 0:
                side += near(a, b, d, at + j - c, shared, first, beta)
            sums[2 - k] = side
        side, sums[3] = float32(0), float32(0)
        for k in range(3):
            j = c + 1 + k + half
            if j < channels:
                side += near(a, b, d, at + j - c, shared, first, beta)
            sums[k + 1] += side
        for k in range(4):
            sums[k] += core

    return one if each == 1 else four  # type: ignore[no-any-return]


@cuda.jit(device=True, inline="always")
def _square(x, unused, too, at, shared, first, beta):
    return x[at] * x[at]


@cuda.jit(device=True, inline="always")
def _part(dy, x, scale, at, shared, first, beta):
    """``dy * scale^-beta * x / scale``; `shared` holds it from element `first` on."""
    mine = at - first
    if mine >= 0 and mine < shared.size:
        return shared[mine]
    return dy[at] * power(scale[at], -beta) * x[at] / scale[at]


def _lrn(each: int) -> Callable[..., None]:
    fetch, put, around = FETCH[each], PUT[each], _around(each, _square)

    def lrn(x, y, scale, n, channels, half, alpha, beta, k):
        v, sums = cuda.local.array(each, float32), cuda.local.array(each, float32)
        at, step = cuda.grid(1) * each, cuda.gridsize(1) * each
        while at < n:
            c = at - quotient(at, channels) * channels
            around(sums, c, half, channels, x, x, x, at, x, 0, beta)
            fetch(x, at, v, 0)
            for j in range(each):
                sums[j] = alpha * sums[j] + k
                v[j] *= power(sums[j], -beta)
            put(scale, at, sums, 0)
            put(y, at, v, 0)
            at += step

    return lrn


def _lrn_grad(each: int) -> Callable[..., None]:
    fetch, put, around, tile = FETCH[each], PUT[each], _around(each, _part), each * THREADS

    def lrn_grad(dy, x, scale, dx, n, channels, half, slope, beta):
        """``dx = t - slope x * sum around of t x / scale`` with ``t = dy * scale^-beta`` and ``slope = 2 alpha beta``"""
        parts = cuda.shared.array(tile, float32)
        t, v, s = cuda.local.array(each, float32), cuda.local.array(each, float32), cuda.local.array(each, float32)
        first = cuda.blockIdx.x * tile
        while first < n:  # all threads together, as shared memory wants
            at = first + cuda.threadIdx.x * each
            if at < n:
                fetch(dy, at, t, 0)
                fetch(x, at, v, 0)
                fetch(scale, at, s, 0)
                for j in range(each):
                    t[j] *= power(s[j], -beta)
                    s[j] = t[j] * v[j] / s[j]
                put(parts, at - first, s, 0)
            cuda.syncthreads()
            if at < n:
                c = at - quotient(at, channels) * channels
                around(s, c, half, channels, dy, x, scale, at, parts, first, beta)
                for j in range(each):
                    t[j] -= slope * v[j] * s[j]
                put(dx, at, t, 0)
            cuda.syncthreads()
            first += cuda.gridDim.x * tile

    return lrn_grad


def _kernels(name: str, make: Callable[[int], Callable[..., None]], types: tuple[object, ...]) -> dict[int, DeviceKernel]:
    wants = ("ld.global.v4", "st.global.v4", "ex2.approx")
    return {
        each: DeviceKernel(f"{name}_{each}", make(each), types, threads=THREADS, is_hot=True, wants=wants if each == 4 else ())
        for each in WIDTHS
    }


LRN = _kernels("lrn", _lrn, (F32,) * 3 + (WHOLE,) * 3 + (NUMBER,) * 3)
LRN_GRAD = _kernels("lrn_grad", _lrn_grad, (F32,) * 4 + (WHOLE,) * 3 + (NUMBER,) * 2)


def _over(kernels: dict[int, DeviceKernel], call: Call, places: Sequence[Place], *numbers: float) -> list[Launch]:
    n = places[0].size
    if not n:
        return []
    channels, half = call.types[0].shape[-1], integer("lrn", call.attrs, "size", 1) // 2
    each = wide_access(channels, places) if half >= LEAST_HALF else 1
    grid = min(ceil_div(n, each * THREADS), 8 * BLOCKS)
    return [kernels[each].launch(grid, *(p.operand for p in places), n, channels, half, *numbers)]


@cuda_kernel("cuda.lrn", kernels=LRN.values())
def lrn(call: Call, places: Sequence[Place]) -> list[Launch]:
    """``scale = k + alpha * sum of squares around``, ``y = x * scale^-beta``"""
    return _over(LRN, call, places[:3], *(number("lrn", call.attrs, name) for name in ("alpha", "beta", "k")))


@cuda_kernel("cuda.lrn_grad", kernels=LRN_GRAD.values())
def lrn_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Every element gathers from its neighbours."""
    alpha, beta = (number("lrn_grad", call.attrs, name) for name in ("alpha", "beta"))
    return _over(LRN_GRAD, call, places[:4], 2 * alpha * beta, beta)
