"""Convolution with kernels of its own at every place of the result.

Every weight meets one pixel of every image, so such layers are bound by the memory that their weights lie in. A thread computes
one output channel, or four beside each other, at one place, for `IMAGES` images at once: it reads a weight once for all of them,
threads side by side read weights side by side, and all threads of a place read the same pixels.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from functools import cache

from numba import cuda, float32

from graph.ops.common import integer
from graph.ops.conv import pads
from hw.kernels.record import Call
from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, store4

IMAGES = 8
"""Images that a thread treats at once, when there are more than one."""
THREADS = 128


@cache
def local(images: int) -> DeviceKernel:
    """One channel a thread, `images` images."""

    def function(x, w, y, b, height, width, ic, oh, ow, kh, kw, oc, stride, pad_y, pad_x):
        at, first = cuda.grid(1), cuda.blockIdx.y * images
        if at >= oh * ow * oc:
            return
        place, o = at // oc, at % oc
        top, left = (place // ow) * stride - pad_y, (place % ow) * stride - pad_x
        image = height * width * ic
        sums = cuda.local.array(images, float32)
        for n in range(images):
            sums[n] = float32(0)
        v0, v1 = max(0, -left), min(kw, width - left)
        for u in range(max(0, -top), min(kh, height - top)):
            taps, pixel = ((place * kh + u) * kw + v0) * ic, ((top + u) * width + left + v0) * ic
            for c in range((v1 - v0) * ic):
                weight = w[(taps + c) * oc + o]
                for n in range(images):
                    sums[n] += weight * x[min(first + n, b - 1) * image + pixel + c]
        for n in range(images):
            if first + n < b:
                y[((first + n) * oh * ow + place) * oc + o] = sums[n]

    return DeviceKernel(f"local_conv2d_{images}", function, (F32, F32, F32, *(WHOLE,) * 12), threads=THREADS, is_hot=True)


@cache
def local4(images: int) -> DeviceKernel:
    """Four channels a thread, `images` images."""

    def function(x, w, y, b, height, width, ic, oh, ow, kh, kw, oc, stride, pad_y, pad_x):
        at, first = cuda.grid(1), cuda.blockIdx.y * images
        if at >= oh * ow * (oc // 4):
            return
        place, o = at // (oc // 4), at % (oc // 4) * 4
        top, left = (place // ow) * stride - pad_y, (place % ow) * stride - pad_x
        image = height * width * ic
        sums = cuda.local.array((images, 4), float32)
        for n in range(images):
            for k in range(4):
                sums[n, k] = float32(0)
        v0, v1 = max(0, -left), min(kw, width - left)
        for u in range(max(0, -top), min(kh, height - top)):
            taps, pixel = ((place * kh + u) * kw + v0) * ic, ((top + u) * width + left + v0) * ic
            for c in range((v1 - v0) * ic):
                w0, w1, w2, w3 = load4(w, (taps + c) * oc + o)
                for n in range(images):
                    value = x[min(first + n, b - 1) * image + pixel + c]
                    sums[n, 0] += w0 * value
                    sums[n, 1] += w1 * value
                    sums[n, 2] += w2 * value
                    sums[n, 3] += w3 * value
        for n in range(images):
            if first + n < b:
                store4(y, ((first + n) * oh * ow + place) * oc + o, sums[n, 0], sums[n, 1], sums[n, 2], sums[n, 3])

    wants = ("ld.global.v4", "st.global.v4")
    types = (F32, F32, F32, *(WHOLE,) * 12)
    return DeviceKernel(f"local_conv2d_{images}_4", function, types, threads=THREADS, is_hot=True, wants=wants)


@cuda_kernel("cuda.local_conv2d", kernels=[make(images) for make in (local, local4) for images in (1, IMAGES)])
def local_conv2d(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Blocks along places and channels, and along runs of images."""
    x, w, y = places[:3]
    b, height, width, ic = call.types[0].shape
    oh, ow, kh, kw, _, oc = call.types[1].shape
    if y.size == 0:
        return []
    stride = integer("local_conv2d", call.attrs, "stride", 1)
    images = 1 if b == 1 else IMAGES
    is_wide = oc % 4 == 0 and w.is_aligned and y.is_aligned
    kernel, threads = (local4(images), oh * ow * oc // 4) if is_wide else (local(images), oh * ow * oc)
    grid = (-(-threads // THREADS), -(-b // images))
    numbers = (b, height, width, ic, oh, ow, kh, kw, oc, stride, *pads("local_conv2d", call.attrs))
    return [kernel.launch(grid, x.operand, w.operand, y.operand, *numbers)]
