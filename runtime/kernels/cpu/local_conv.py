"""Convolution with kernels of its own at every place of the result, on the register tile.

Place by place: a tile's rows are the images of the batch, so each weight is read from memory once for all of them; it reduces
over kernel rows (blocks) and the floats of an image row below them (steps), both cut at the image's edge. Nothing is copied.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from graph.ops.conv import pads
from hw.kernels.record import Call
from hw.kernels.tiling import panel_width
from runtime.kernels.cpu.matmul import tile_rows
from runtime.kernels.cpu.tile import call_panel
from runtime.kernels.emit import GEOMETRY, words
from runtime.kernels.table import address, kernel, whole

_FIXED = 17
_read = words(_FIXED)


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, w, y, _ = ptrs
    b, height, width, ic = call.types[0].shape
    oh, ow, kh, kw, _, oc = call.types[1].shape
    head = [address("helper.panel"), x, w, y, b, height, width, ic, oh, ow, kh, kw, oc]
    head += [whole(call, "stride"), *pads("local_conv2d", call.attrs), panel_width(oc, GEOMETRY)]
    tables = [ky * step for step in (width * ic, kw * ic * oc) for ky in range(kh)]
    return head + tables + tile_rows(height * width * ic)


@kernel("cpu.local_conv2d", pack=_pack)
def local_conv2d(p):
    """Behind the fixed words: offsets of the kernel's rows in an image, in the weights of a place; of the images of a tile."""
    f, x, weights, y, b, height, width, ic, oh, ow, kh, kw, oc, stride, pad_y, pad_x, pw = _read(p)
    at_a, at_b, rows = p + 8 * _FIXED, p + 8 * (_FIXED + kh), p + 8 * (_FIXED + 2 * kh)
    image, result = height * width * ic, oh * ow * oc
    for i in range(oh):
        top = i * stride - pad_y
        u = max(0, -top)
        lines = min(kh, height - top) - u
        for j in range(ow):
            left = j * stride - pad_x
            v = max(0, -left)
            taps = (min(kw, width - left) - v) * ic
            source = x + 4 * (top * width + left + v) * ic
            own = weights + 4 * ((i * ow + j) * kh * kw + v) * ic * oc
            to = y + 4 * (i * ow + j) * oc
            for j0 in range(0, oc, pw):
                wide, at = min(pw, oc - j0), own + 4 * j0
                ta, tb = at_a + 8 * u, at_b + 8 * u
                call_panel(f, b, wide, lines, taps, source, rows, 0, image, 1, ta, at, tb, oc, to + 4 * j0, result, 0, 0)
