"""Convolution of NHWC images with HWIO kernels, and its gradients, on the register tile. No column matrix in the forward pass.

Forward: a tile's rows are output pixels of a stack of images, anywhere (their offsets are a table in the argument block); it
reduces over kernel rows (blocks) and ``kw * ic`` contiguous floats of an image row (steps). Weight gradient: rows are
weights, the reduction runs over output rows of the stack (blocks) and their pixels (steps). With few output channels, both
treat neighbouring pixels as one (`hw.kernels.tiling.ConvCut`). Input gradient: either
``col2im`` (any stride): columns = dy @ transposed weights, then each input pixel gathers its taps; or ``flip`` (stride 1): the
forward kernel on padded dy with flipped weights. Groups of channels are convolutions one after the other, on copies of their
channels. Cuts and stacks: `hw.kernels.tiling`.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from itertools import product

import numpy as np

from hw.kernels.record import Call
from hw.kernels.tiling import (
    TOGETHER,
    ConvCut,
    aligned,
    aligned_to,
    flipped_cut,
    forward_cut,
    forward_workspace,
    input_cut,
    input_workspace,
    panel_width,
    weight_cut,
    weight_workspace,
)
from runtime.errors import RunError
from runtime.kernels.cpu.matmul import epilogue_flags, tile_rows
from runtime.kernels.cpu.tile import ACCUMULATE, BIAS, call_panel, call_transpose, copy_rows
from runtime.kernels.emit import GEOMETRY, LANES, call_address, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import first_lanes, get_int, load_masked, mask_if, splat, store_masked, zero_bytes
from runtime.kernels.table import address, kernel

_ZERO = np.float32(0)


def _pixel_rows(cut: ConvCut) -> list[int]:
    """Offset of the first tap of every output pixel of a stack."""
    return [
        ((n * cut.hp + y * cut.stride) * cut.wp + x * cut.joined * cut.stride) * cut.ic
        for n, y, x in product(range(cut.stack), range(cut.oh), range(cut.ow))
    ]


@inlined
def _pad(to, x, images, h, w, ic, pad_y, pad_x):
    """Copy images into the middle of the padded ones; the border is zero already."""
    row, padded_row = w * ic, (w + 2 * pad_x) * ic
    to += 4 * (pad_y * padded_row + pad_x * ic)
    for _ in range(images):
        copy_rows(to, padded_row, x, row, h, row)
        to += 4 * (h + 2 * pad_y) * padded_row
        x += 4 * h * row


@inlined
def _pad_group(to, x, images, h, w, ic, groups, pad_y, pad_x):
    """Likewise, one group's channels, pixel by pixel."""
    wp = w + 2 * pad_x
    for n in range(images):
        for y in range(h):
            at = to + 4 * ((n * (h + 2 * pad_y) + pad_y + y) * wp + pad_x) * ic
            copy_rows(at, ic, x + 4 * (n * h + y) * w * ic * groups, ic * groups, w, ic)


@inlined
def _join(to, weights, joined, shift, kh, line, oc):
    """Weights of `joined` pixels that lie `shift` floats apart, beside each other in windows with `line` floats a row."""
    single, taps = oc // joined, line - (joined - 1) * shift
    zero_bytes(to, 4 * kh * line * oc)
    for ky in range(kh):
        for k in range(joined):
            at = to + 4 * ((ky * line + k * shift) * oc + k * single)
            copy_rows(at, oc, weights + 4 * ky * taps * single, single, taps, single)


@inlined
def _fold(dw, joint, joined, shift, kh, line, oc):
    """The sums over joined pixels of the gradients of their weights."""
    single, taps = oc // joined, line - (joined - 1) * shift
    m = first_lanes(single)
    for ky in range(kh):
        for t in range(taps):
            at = joint + 4 * (ky * line + t) * oc
            total = load_masked(at, m)
            for _ in range(joined - 1):
                at += 4 * (shift * oc + single)
                total = total + load_masked(at, m)
            store_masked(dw + 4 * (ky * taps + t) * single, total, m)


def _panels(cut: ConvCut) -> tuple[int, int]:
    """Columns of a panel, and of the last panel."""
    pw = panel_width(cut.oc, GEOMETRY)
    return pw, cut.oc % pw or pw


def _forward_block(cut: ConvCut, x: int, w: int, bias: int, y: int, workspace: int, flags: int) -> list[int]:
    images, panels = forward_workspace(cut, GEOMETRY)
    pw, last = _panels(cut)
    head = [address("helper.panel"), x, w, bias, y, workspace, workspace + 4 * images, int(panels > 0 and cut.joined == 1), flags]
    head += [cut.b, cut.h, cut.w, cut.ic, cut.kh, cut.kw, cut.oc, cut.pad_y, cut.pad_x, cut.pixels, cut.stack, pw]
    head += [cut.joined, cut.stride * cut.ic, aligned(cut.taps * cut.oc), cut.groups]
    line = cut.kw * cut.ic  # weights of one kernel row and output channel
    tables = [ky * width for width in (cut.wp * cut.ic, line * cut.row_out, line * last, line * pw) for ky in range(cut.kh)]
    return head + tables + _pixel_rows(cut)


def _pack_forward(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    flags = epilogue_flags(call)
    x, w, *rest = ptrs
    y, workspace = rest[-2:]
    return _forward_block(forward_cut(call.types, call.attrs), x, w, rest[0] if flags & BIAS else 0, y, workspace, flags)


_FORWARD = 25
_read_forward, _read_more = words(15), words(_FORWARD - 15)


@kernel("cpu.conv2d.direct", pack=_pack_forward)
def conv2d(p):
    """Behind the fixed words: offsets of the kernel's rows in an image, the weights, the last and other panels; of pixels."""
    f, x, weights, bias, y, images, panels, split, flags, b, h, w, ic, kh, kw = _read_forward(p)
    oc, pad_y, pad_x, pixels, stack, pw, joined, shift, joint, groups = _read_more(p + 8 * 15)
    at_a = p + 8 * _FORWARD
    at_b, at_last, at_panel, rows = at_a + 8 * kh, at_a + 16 * kh, at_a + 24 * kh, at_a + 32 * kh
    taps, row = kw * ic, oc * groups
    if joined > 1:
        _join(panels, weights, joined, shift, kh, taps, oc)
        if flags & BIAS:
            copy_rows(panels + 4 * joint, oc // joined, bias, 0, joined, oc // joined)
        weights, bias = panels, panels + 4 * joint
    if pad_y + pad_x:
        zero_bytes(images, 4 * (h + 2 * pad_y) * (w + 2 * pad_x) * ic * min(stack, b))
    for g in range(groups):
        filters = weights + 4 * g * oc
        if split:
            for j0 in range(0, oc, pw):
                wide = min(pw, oc - j0)
                copy_rows(panels + 4 * j0 * kh * taps, wide, filters + 4 * j0, row, kh * taps, wide)
        for n0 in range(0, b, stack):
            n = min(stack, b - n0)
            source = x + 4 * (n0 * h * w * groups + g) * ic
            if groups > 1:
                _pad_group(images, source, n, h, w, ic, groups, pad_y, pad_x)
                source = images
            elif pad_y + pad_x:
                _pad(images, source, n, h, w, ic, pad_y, pad_x)
                source = images
            for j0 in range(0, oc, pw):
                wide = min(pw, oc - j0)
                to, above = y + 4 * (n0 * pixels * row + g * oc + j0), bias + 4 * (g * oc + j0)
                at, table, ld = filters + 4 * j0, at_b, row
                if split:
                    at, table, ld = panels + 4 * j0 * kh * taps, at_panel if wide == pw else at_last, wide
                call_panel(f, n * pixels, wide, kh, taps, source, rows, 1, 0, 1, at_a, at, table, ld, to, row, flags, above)


def _pack_weight(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    cut = weight_cut(call.types, call.attrs)
    x, dy, dw, workspace = ptrs
    images, panel = weight_workspace(cut, GEOMETRY)
    pw, last = _panels(cut)
    head = [address("helper.panel"), x, dy, dw, workspace, workspace + 4 * images, int(panel > 0 and cut.joined == 1)]
    head += [cut.b, cut.h, cut.w, cut.ic, cut.taps, cut.oc, cut.stride, cut.pad_y, cut.pad_x, cut.oh, cut.ow, cut.stack, pw]
    head += [cut.joined, cut.kh, cut.groups]
    lines = list(product(range(cut.stack), range(cut.oh)))
    at_a = [(n * cut.hp + y * cut.stride) * cut.wp * cut.ic for n, y in lines]
    at_b = [(n * cut.oh + y) * cut.ow * ld for ld in (cut.row_out, last, pw) for n, y in lines]
    rows = [(ky * cut.wp + kx) * cut.ic + c for ky, kx, c in product(range(cut.kh), range(cut.kw), range(cut.ic))]
    return head + at_a + at_b + rows


_WEIGHT = 23
_read_weight, _read_join = words(_WEIGHT - 3), words(3)


@kernel("cpu.conv2d_grad_weight.direct", pack=_pack_weight)
def conv2d_grad_weight(p):
    """Behind the fixed words: offsets of output rows in the images, in dy, in its last and other panels; offsets of weights."""
    f, x, dy, dw, images, panel, split, b, h, w, ic, taps, oc, stride, pad_y, pad_x, oh, ow, stack, pw = _read_weight(p)
    joined, kh, groups = _read_join(p + 8 * (_WEIGHT - 3))
    lines = stack * oh
    at_a = p + 8 * _WEIGHT
    at_b, at_last, at_panel, rows = at_a + 8 * lines, at_a + 16 * lines, at_a + 24 * lines, at_a + 32 * lines
    pixels, row = oh * ow, oc * groups
    line, shift, single = taps // kh, stride * ic, oc // joined
    if b * pixels == 0:
        zero_bytes(dw, 4 * kh * (line - (joined - 1) * shift) * single * groups)
        return
    result = panel if joined > 1 else dw
    if pad_y + pad_x:
        zero_bytes(images, 4 * (h + 2 * pad_y) * (w + 2 * pad_x) * ic * min(stack, b))
    for g in range(groups):
        for n0 in range(0, b, stack):
            n = min(stack, b - n0)
            flags = ACCUMULATE if n0 else 0
            source, grad = x + 4 * (n0 * h * w * groups + g) * ic, dy + 4 * (n0 * pixels * row + g * oc)
            if groups > 1:
                _pad_group(images, source, n, h, w, ic, groups, pad_y, pad_x)
                source = images
            elif pad_y + pad_x:
                _pad(images, source, n, h, w, ic, pad_y, pad_x)
                source = images
            for j0 in range(0, oc, pw):
                wide = min(pw, oc - j0)
                at, table, ld = grad + 4 * j0, at_b, row
                if split:
                    copy_rows(panel, wide, at, row, n * pixels, wide)
                    at, table, ld = panel, at_panel if wide == pw else at_last, wide
                to, step = result + 4 * (g * oc + j0), joined * shift
                call_panel(f, taps, wide, n * oh, ow, source, rows, 1, 0, step, at_a, at, table, ld, to, row, flags, 0)
    if joined > 1:
        _fold(dw, panel, joined, shift, kh, line, oc)


def _lines(cut: ConvCut) -> list[int]:
    """For each row of an image: how many kernel rows reach it, and the byte offset in columns of the first of them."""
    found: list[int] = []
    for y in range(cut.h):
        reach = [k for k in range(cut.kh) if _place(y, k, cut.pad_y, cut.stride, cut.oh) >= 0]
        found += [len(reach), 4 * _at(cut, _place(y, reach[0], cut.pad_y, cut.stride, cut.oh), reach[0]) if reach else 0]
    return found


def _place(at: int, tap: int, pad: int, stride: int, out: int) -> int:
    """The output place from which a tap reaches input place `at`, or -1."""
    place, rest = divmod(at + pad - tap, stride)
    return place if rest == 0 and 0 <= place < out else -1


def _at(cut: ConvCut, line: int, ky: int) -> int:
    return line * cut.ow * cut.taps + ky * cut.kw * cut.ic


def _reach(cut: ConvCut) -> list[int]:
    """For each pixel of a row (rounded up to `TOGETHER`) and each kernel column: byte offset in a line of columns, or -1."""
    found = []
    for x, kx in product(range(aligned_to(cut.w, TOGETHER)), range(cut.kw)):
        place = _place(x, kx, cut.pad_x, cut.stride, cut.ow) if x < cut.w else -1
        found.append(4 * (place * cut.taps + kx * cut.ic) if place >= 0 else -1)
    return found


def _pack_columns(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    cut = input_cut(call.types, call.attrs)
    dy, w, dx, workspace = ptrs
    turned, _ = input_workspace(cut)
    head = [address("helper.panel"), address("helper.transpose"), dy, w, dx, workspace, workspace + 4 * turned]
    head += [cut.b, cut.h, cut.w, cut.ic, cut.kw, cut.taps, cut.oc, cut.pixels, cut.stack, panel_width(cut.taps, GEOMETRY)]
    step = 4 * (_at(cut, -1, 0) + _at(cut, 0, cut.stride))
    lines = _lines(cut)
    head += [step, _COLUMNS + len(lines) + len(tile_rows(0)), cut.groups, 0]
    return [*head, *lines, *tile_rows(cut.row_out), *_reach(cut)]


_COLUMNS = 21
_read_columns = words(_COLUMNS - 1)


@inlined
def _gather(dx, columns, h, w, ic, row, kw, lines, reach, step):
    """One image, four pixels of `row` floats at a time: each adds up what its taps hold, kernel row by kernel row."""
    for y in range(h):
        ny, first = get_int(lines + 16 * y), columns + get_int(lines + 16 * y + 8)
        for x in range(0, w, 4):
            for c in range(0, ic, LANES):
                m = first_lanes(ic - c)
                t0 = splat(_ZERO)
                t1, t2, t3 = t0, t0, t0
                line = first + 4 * c
                for _ in range(ny):
                    at = reach + 8 * x * kw
                    for _ in range(kw):
                        o0, o1, o2, o3 = get_int(at), get_int(at + 8 * kw), get_int(at + 16 * kw), get_int(at + 24 * kw)
                        t0 = t0 + load_masked(line + o0, mask_if(m, o0 >= 0))
                        t1 = t1 + load_masked(line + o1, mask_if(m, o1 >= 0))
                        t2 = t2 + load_masked(line + o2, mask_if(m, o2 >= 0))
                        t3 = t3 + load_masked(line + o3, mask_if(m, o3 >= 0))
                        at += 8
                    line += step
                to = dx + 4 * ((y * w + x) * row + c)
                store_masked(to, t0, m)
                store_masked(to + 4 * row, t1, mask_if(m, x + 1 < w))
                store_masked(to + 8 * row, t2, mask_if(m, x + 2 < w))
                store_masked(to + 12 * row, t3, mask_if(m, x + 3 < w))


@kernel("cpu.conv2d_grad_input.col2im", pack=_pack_columns)
def conv2d_grad_input_columns(p):
    """The last fixed word is a table of one zero; then lines, then the row offsets of a tile, then reach."""
    f, turn, dy, weights, dx, turned, cols, b, h, w, ic, kw, taps, oc, pixels, stack, pw, step, reach, groups = _read_columns(p)
    zero, lines = p + 8 * (_COLUMNS - 1), p + 8 * _COLUMNS
    rows, row_in, row_out = lines + 16 * h, ic * groups, oc * groups
    for g in range(groups):
        call_transpose(turn, weights + 4 * g * oc, row_out, taps, oc, turned, taps)
        for n0 in range(0, b, stack):
            n = min(stack, b - n0)
            grad = dy + 4 * (n0 * pixels * row_out + g * oc)
            for j0 in range(0, taps, pw):
                wide = min(pw, taps - j0)
                at, to = turned + 4 * j0, cols + 4 * j0
                call_panel(f, n * pixels, wide, 1, oc, grad, rows, 0, row_out, 1, zero, at, zero, taps, to, taps, 0, 0)
            for k in range(n):
                image = dx + 4 * ((n0 + k) * h * w * groups + g) * ic
                _gather(image, cols + 4 * k * pixels * taps, h, w, ic, row_in, kw, lines, p + 8 * reach, step)


def _pack_flip(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    cut = flipped_cut(call.types, call.attrs)
    if cut is None:
        raise RunError(f"{call.kernel} wants stride 1 and a pad below the kernel's extent; take algorithm 'col2im'")
    dy, w, dx, workspace = ptrs
    flipped = workspace + 4 * sum(forward_workspace(cut, GEOMETRY))
    head = [address("helper.transpose"), address("cpu.conv2d.direct"), w, flipped]
    head += [cut.kh * cut.kw_single, cut.oc_single, cut.ic, cut.groups]
    return head + _forward_block(cut, dy, flipped, 0, dx, workspace, 0)


_FLIP = 8
_read_flip = words(_FLIP)


@kernel("cpu.conv2d_grad_input.flip", pack=_pack_flip)
def conv2d_grad_input_flip(p):
    """Flipped, turned weights go behind the forward kernel's workspace; its argument block follows the fixed words."""
    turn, forward, weights, flipped, places, ic, oc, groups = _read_flip(p)
    for k in range(places):
        for g in range(groups):
            source = weights + 4 * ((places - 1 - k) * ic * groups + g) * oc
            call_transpose(turn, source, oc * groups, ic, oc, flipped + 4 * (k * oc * groups + g) * ic, ic * groups)
    call_address(forward, p + 8 * _FLIP)
