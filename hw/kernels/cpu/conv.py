"""Records of the convolution's kernels: two algorithms for the gradient of the input."""

from collections.abc import Callable, Iterable
from typing import Any

from graph.op import OPS, Attr, Attrs, Size
from graph.tensor_type import TensorType, f32
from hw.errors import HwError
from hw.kernels.count import Terms
from hw.kernels.cpu.common import EPILOGUES, FUSED, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import (
    TOGETHER,
    ConvCut,
    Types,
    blocks,
    ceil_div,
    flipped_cut,
    forward_cut,
    forward_workspace,
    input_cut,
    input_workspace,
    is_split,
    panel_width,
    weight_cut,
    weight_workspace,
)


def _pad_terms(t: Terms, cut: ConvCut) -> None:
    """The padded copies of all images, stack by stack and group by group."""
    if cut.is_padded:
        t["zeroed"] += 4 * cut.hp * cut.wp * cut.ic * min(cut.stack, cut.b)
    if cut.groups > 1:
        t.copy_rows(cut.groups * cut.b * cut.h * cut.w, cut.ic, host_geometry())
    elif cut.is_padded:
        t.copy_rows(cut.b * cut.h, cut.w * cut.ic, host_geometry())


def _forward_loops(t: Terms, cut: ConvCut, *, biased: bool = False) -> None:
    g, pw = host_geometry(), panel_width(cut.oc, host_geometry())
    if cut.joined > 1:
        t["zeroed"] += 4 * cut.taps * cut.oc
        t.copy_rows(cut.joined * (cut.taps_single + biased), cut.oc_single, g)
    if is_split(cut.oc, g):
        for w in blocks(cut.oc, pw):
            t.copy_rows(cut.groups * cut.taps, w, g)
    _pad_terms(t, cut)
    for n in cut.stacks:
        t.panels(n * cut.pixels, cut.oc, pw, cut.kw * cut.ic, cut.kh, g, cut.groups)


def _forward_terms(types: Types, attrs: Attrs) -> Terms:
    t = Terms()
    _forward_loops(t, forward_cut(types, attrs), biased="add_bias" in str(attrs.get("epilogue", "")))
    return t.traffic(operands("conv2d", types, attrs))


def _weight_terms(types: Types, attrs: Attrs) -> Terms:
    cut, g, t = weight_cut(types, attrs), host_geometry(), Terms()
    pw = panel_width(cut.oc, g)
    if cut.b * cut.pixels:
        _pad_terms(t, cut)
    else:
        t["zeroed"] += 4 * cut.taps_single * cut.oc_single * cut.groups
    if cut.joined > 1 and cut.b * cut.pixels:
        t["folded"] = cut.joined * cut.taps_single
    for n in cut.stacks:
        t.panels(cut.taps, cut.oc, pw, cut.ow, n * cut.oh, g, cut.groups)
        for w in blocks(cut.oc, pw) if is_split(cut.oc, g) else ():
            t.copy_rows(cut.groups * n * cut.pixels, w, g)
    return t.traffic(operands("conv2d_grad_weight", types, attrs))


def _reaching(extent: int, taps: int, out: int, stride: int, pad: int) -> int:
    """(place, tap) pairs along an axis that an output place reaches."""
    return sum(0 <= (x + pad - k) // stride < out for x in range(extent) for k in range(taps) if (x + pad - k) % stride == 0)


def _columns_terms(types: Types, attrs: Attrs) -> Terms:
    cut, g, t = input_cut(types, attrs), host_geometry(), Terms()
    t.turn(cut.taps, cut.oc, g, cut.groups)
    for n in cut.stacks:
        t.panels(n * cut.pixels, cut.taps, panel_width(cut.taps, g), cut.oc, 1, g, cut.groups)
    chunks, quads = cut.groups * ceil_div(cut.ic, g.lanes), ceil_div(cut.w, TOGETHER)
    t["quad"] = cut.b * cut.h * quads * chunks
    t["line"] = cut.b * quads * chunks * _reaching(cut.h, cut.kh, cut.oh, cut.stride, cut.pad_y)
    t["tap"] = TOGETHER * cut.kw * t["line"]
    return t.traffic(operands("conv2d_grad_input", types, attrs))


def _columns_workspace(types: Types, attrs: Attrs) -> int:
    return 4 * sum(input_workspace(input_cut(types, attrs)))


def _flip_terms(types: Types, attrs: Attrs) -> Terms:
    cut, t = flipped_cut(types, attrs), Terms()
    if cut is None:
        raise HwError("conv2d_grad_input.flip wants stride 1 and a pad below the kernel's extent; take algorithm 'col2im'")
    _forward_loops(t, cut)
    t.turn(cut.oc_single, cut.ic, host_geometry(), times=cut.groups * cut.kh * cut.kw_single)
    return t.traffic(operands("conv2d_grad_input", types, attrs))


def _flip_workspace(types: Types, attrs: Attrs) -> int:
    cut = flipped_cut(types, attrs)
    return 4 * (sum(forward_workspace(cut, host_geometry())) + cut.taps_single * cut.oc_single * cut.groups) if cut else 0


_CONV = (  # images [b, h, w, ic], kernel, oc, stride, pad
    ((7, 6, 6, 3), 3, 5, 1, 1),
    ((20, 7, 7, 1), 3, 7, 1, 1),
    ((48, 10, 10, 1), 3, 5, 1, 1),
    ((100, 9, 9, 1), 3, 11, 1, 1),
    ((200, 7, 7, 1), 3, 4, 1, 1),
    ((30, 5, 5, 5), 3, 10, 1, 1),
    ((90, 5, 5, 4), 3, 12, 1, 1),
    ((50, 6, 6, 7), 3, 20, 1, 1),
    ((150, 5, 5, 10), 3, 24, 1, 1),
    ((24, 6, 6, 14), 3, 40, 1, 1),
    ((12, 22, 22, 1), 5, 7, 1, 2),
    ((40, 20, 20, 1), 5, 5, 1, 2),
    ((20, 12, 12, 5), 5, 14, 1, 0),
    ((36, 11, 11, 7), 5, 18, 1, 0),
    ((10, 15, 15, 9), 3, 30, 2, 1),
    ((5, 10, 10, 18), 3, 70, 1, 1),
    ((16, 12, 12, 24), 1, 36, 1, 0),
    ((14, 9, 9, 1), 3, 7, 1, 1),
    ((14, 5, 5, 7), 3, 18, 1, 1),
    ((28, 5, 5, 5), 3, 14, 1, 1),
    ((130, 24, 24, 1), 5, 9, 1, 2),
    ((60, 14, 14, 13), 3, 26, 1, 1),
)


_MORE = (  # images, kernel rows and columns, oc, stride, pad, groups: borders of two widths, and groups of channels
    ((12, 8, 8, 22), (1, 5), 18, 1, (0, 2), 1),
    ((20, 9, 9, 10), (3, 3), 26, 1, 1, 2),
    ((9, 11, 11, 36), (3, 3), 140, 2, 1, 2),
    ((30, 7, 7, 12), (2, 2), 20, 1, 0, 4),
)


def _cases() -> Iterable[tuple[TensorType, TensorType, TensorType, dict[str, Attr]]]:
    """(images, weights, result, geometry) of each row of the two tables."""
    rows: tuple[Any, ...] = (*((x, (k, k), oc, stride, pad, 1) for x, k, oc, stride, pad in _CONV), *_MORE)
    for x, (kh, kw), oc, stride, pad, groups in rows:
        geometry = {"stride": stride, "pad": pad, "groups": groups}
        image, weights = f32(*x), f32(kh, kw, x[3] // groups, oc)
        (y,) = OPS["conv2d"].infer((image, weights), geometry)
        yield image, weights, y, geometry


def _conv_sizes(op: str) -> Callable[[], Iterable[Size]]:
    def sizes() -> Iterable[Size]:
        for i, (x, w, y, geometry) in enumerate(_cases()):
            image = {"height": x.shape[1], "width": x.shape[2]}
            if op == "conv2d":
                epilogue = EPILOGUES[i % 3]
                yield Size(types=(x, w, f32(w.shape[3])) if epilogue else (x, w), attrs={**geometry, "epilogue": epilogue})
            elif op == "conv2d_grad_weight":
                yield Size(types=(x, y), attrs={**geometry, "kh": w.shape[0], "kw": w.shape[1]})
            elif op == "col2im" or flipped_cut((y, w), geometry) is not None:
                yield Size(types=(y, w), attrs={**geometry, **image})

    return sizes


def _forward_bytes(types: Types, attrs: Attrs) -> int:
    return 4 * sum(forward_workspace(forward_cut(types, attrs), host_geometry()))


def _weight_bytes(types: Types, attrs: Attrs) -> int:
    return 4 * sum(weight_workspace(weight_cut(types, attrs), host_geometry()))


CONV = (
    cpu_record("conv2d.direct", "conv2d", _forward_terms, _conv_sizes("conv2d"), _forward_bytes, FUSED),
    cpu_record("conv2d_grad_input.col2im", "conv2d_grad_input", _columns_terms, _conv_sizes("col2im"), _columns_workspace),
    cpu_record("conv2d_grad_input.flip", "conv2d_grad_input", _flip_terms, _conv_sizes("flip"), _flip_workspace),
    cpu_record(
        "conv2d_grad_weight.direct", "conv2d_grad_weight", _weight_terms, _conv_sizes("conv2d_grad_weight"), _weight_bytes
    ),
)
"""In order of preference where an operator has several algorithms."""
