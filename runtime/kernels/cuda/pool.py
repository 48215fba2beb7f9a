"""Pooling and its gradients. A thread has one place of an image, with one channel or four, in some of the images.

So what depends on the place, such as which windows meet it, is found once. Windows are cut at the image's edge; gradients are
gathered: every pixel adds up what the windows that hold it have for it, in the order of the windows.
"""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Callable, Sequence

from numba import cuda, float32, uint8

from graph.ops.common import integer
from hw.kernels.cuda_sums import BLOCKS
from hw.kernels.record import Call
from hw.kernels.tiling import ceil_div
from runtime.kernels.cuda.kernel import F32, U8, WHOLE, Argument, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import quotient
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS, wide_access

LOWEST = float32(-math.inf)
THREADS = 128


@cuda.jit(device=True, inline="always")
def _standing(columns, channels, each):
    """(row, column, first channel) of a thread in an image of so many columns."""
    i = cuda.grid(1)
    groups = quotient(channels, each)
    pixel = quotient(i, groups)
    row = quotient(pixel, columns)
    return row, pixel - row * columns, (i - pixel * groups) * each


@cuda.jit(device=True, inline="always")
def _window(place, window, stride, pad, extent):
    """Where a window begins, maybe before the image, and its places inside the image: the first, and the one after the last."""
    at = place * stride - pad
    return at, max(0, -at), min(window, extent - at)


@cuda.jit(device=True, inline="always")
def _holders(place, window, stride, pad, windows):
    """The windows that hold a place: the first, and the one after the last."""
    beyond = place + pad + stride - window
    first = quotient(beyond, stride) if beyond > 0 else 0
    return first, min(windows, quotient(place + pad, stride) + 1)


def _max_pool(each: int) -> Callable[..., None]:
    fetch, put = FETCH[each], PUT[each]

    def max_pool(x, y, where, images, h, w, channels, window, stride, pad, oh, ow):
        """The first of equal elements wins."""
        oy, ox, c = _standing(ow, channels, each)
        if oy >= oh:
            return
        v, best, index = cuda.local.array(each, float32), cuda.local.array(each, float32), cuda.local.array(each, uint8)
        y0, u0, u1 = _window(oy, window, stride, pad, h)
        x0, v0, v1 = _window(ox, window, stride, pad, w)
        image = cuda.blockIdx.y
        while image < images:
            for j in range(each):
                best[j], index[j] = LOWEST, 0
            for row in range(u0, u1):
                at = ((image * h + y0 + row) * w + x0) * channels + c
                for column in range(v0, v1):
                    fetch(x, at + column * channels, v, 0)
                    place = uint8(row * window + column)
                    for j in range(each):
                        if v[j] > best[j]:
                            best[j], index[j] = v[j], place
            at = ((image * oh + oy) * ow + ox) * channels + c
            put(y, at, best, 0)
            put(where, at, index, 0)
            image += cuda.gridDim.y

    return max_pool


def _max_pool_grad(each: int) -> Callable[..., None]:
    fetch, put = FETCH[each], PUT[each]

    def max_pool_grad(dy, where, dx, images, h, w, channels, window, stride, pad, oh, ow):
        y, x, c = _standing(w, channels, each)
        if y >= h:
            return
        g, total, index = cuda.local.array(each, float32), cuda.local.array(each, float32), cuda.local.array(each, uint8)
        oy0, oy1 = _holders(y, window, stride, pad, oh)
        ox0, ox1 = _holders(x, window, stride, pad, ow)
        image = cuda.blockIdx.y
        while image < images:
            for j in range(each):
                total[j] = 0
            for oy in range(oy0, oy1):
                place = (y + pad - oy * stride) * window + x + pad
                for ox in range(ox0, ox1):
                    at = ((image * oh + oy) * ow + ox) * channels + c
                    fetch(where, at, index, 0)
                    fetch(dy, at, g, 0)
                    for j in range(each):
                        if index[j] == place - ox * stride:
                            total[j] += g[j]
            put(dx, ((image * h + y) * w + x) * channels + c, total, 0)
            image += cuda.gridDim.y

    return max_pool_grad


def _avg_pool(each: int) -> Callable[..., None]:
    fetch, put = FETCH[each], PUT[each]

    def avg_pool(x, y, images, h, w, channels, window, stride, pad, oh, ow):
        oy, ox, c = _standing(ow, channels, each)
        if oy >= oh:
            return
        v, total = cuda.local.array(each, float32), cuda.local.array(each, float32)
        share = float32(1) / float32(window * window)
        y0, u0, u1 = _window(oy, window, stride, pad, h)
        x0, v0, v1 = _window(ox, window, stride, pad, w)
        image = cuda.blockIdx.y
        while image < images:
            for j in range(each):
                total[j] = 0
            for row in range(u0, u1):
                at = ((image * h + y0 + row) * w + x0) * channels + c
                for column in range(v0, v1):
                    fetch(x, at + column * channels, v, 0)
                    for j in range(each):
                        total[j] += v[j]
            for j in range(each):
                total[j] *= share
            put(y, ((image * oh + oy) * ow + ox) * channels + c, total, 0)
            image += cuda.gridDim.y

    return avg_pool


def _avg_pool_grad(each: int) -> Callable[..., None]:
    fetch, put = FETCH[each], PUT[each]

    def avg_pool_grad(dy, dx, images, h, w, channels, window, stride, pad, oh, ow):
        y, x, c = _standing(w, channels, each)
        if y >= h:
            return
        g, total = cuda.local.array(each, float32), cuda.local.array(each, float32)
        share = float32(1) / float32(window * window)
        oy0, oy1 = _holders(y, window, stride, pad, oh)
        ox0, ox1 = _holders(x, window, stride, pad, ow)
        image = cuda.blockIdx.y
        while image < images:
            for j in range(each):
                total[j] = 0
            for oy in range(oy0, oy1):
                for ox in range(ox0, ox1):
                    fetch(dy, ((image * oh + oy) * ow + ox) * channels + c, g, 0)
                    for j in range(each):
                        total[j] += g[j] * share
            put(dx, ((image * h + y) * w + x) * channels + c, total, 0)
            image += cuda.gridDim.y

    return avg_pool_grad


def _kernels(name: str, make: Callable[[int], Callable[..., None]], operands: tuple[object, ...]) -> dict[int, DeviceKernel]:
    types = (*operands, *(WHOLE,) * 9)
    wants = ("ld.global.v4.f32", "st.global.v4.f32")
    return {
        each: DeviceKernel(f"{name}_{each}", make(each), types, threads=THREADS, is_hot=True, wants=wants if each == 4 else ())
        for each in WIDTHS
    }


MAX_POOL = _kernels("max_pool", _max_pool, (F32, F32, U8))
MAX_POOL_GRAD = _kernels("max_pool_grad", _max_pool_grad, (F32, U8, F32))
AVG_POOL = _kernels("avg_pool", _avg_pool, (F32, F32))
AVG_POOL_GRAD = _kernels("avg_pool_grad", _avg_pool_grad, (F32, F32))


def _over(
    kernels: dict[int, DeviceKernel], call: Call, places: Sequence[Place], image: tuple[int, ...], is_gradient: bool = False
) -> list[Launch]:
    """A thread for each place and group of channels of the result; images are shared out over as many rows of blocks as pay."""
    n, h, w, channels = image
    if not math.prod(image):
        return []
    window, stride, pad = (integer("pool", call.attrs, name, 0) for name in ("window", "stride", "pad"))
    oh, ow = ((extent + 2 * pad - window) // stride + 1 for extent in (h, w))
    each = wide_access(channels, places)
    blocks = ceil_div((h * w if is_gradient else oh * ow) * (channels // each), THREADS)
    down = min(n, ceil_div(8 * BLOCKS, blocks))
    extents: tuple[Argument, ...] = (n, h, w, channels, window, stride, pad, oh, ow)
    return [kernels[each].launch((blocks, down), *(p.operand for p in places), *extents)]


def _image(call: Call) -> tuple[int, ...]:
    """The shape of dx."""
    n, _, _, channels = call.types[0].shape
    return n, integer("pool", call.attrs, "height", 1), integer("pool", call.attrs, "width", 1), channels


@cuda_kernel("cuda.max_pool", kernels=MAX_POOL.values())
def max_pool(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The largest of each window, and where it was."""
    return _over(MAX_POOL, call, places[:3], call.types[0].shape)


@cuda_kernel("cuda.max_pool_grad", kernels=MAX_POOL_GRAD.values())
def max_pool_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Every pixel gathers from the windows whose maximum it was."""
    return _over(MAX_POOL_GRAD, call, places[:3], _image(call), is_gradient=True)


@cuda_kernel("cuda.avg_pool", kernels=AVG_POOL.values())
def avg_pool(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The mean of each window."""
    return _over(AVG_POOL, call, places[:2], call.types[0].shape)


@cuda_kernel("cuda.avg_pool_grad", kernels=AVG_POOL_GRAD.values())
def avg_pool_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Every pixel gathers its share from the windows that hold it."""
    return _over(AVG_POOL_GRAD, call, places[:2], _image(call), is_gradient=True)
