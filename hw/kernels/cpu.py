"""Records of the CPU kernels whose loops are worth counting; `hw.kernels.automatic` makes the others.

`terms` follow the loops of `runtime.kernels.cpu` one by one, through the same cuts (`hw.kernels.tiling`); what each term
counts is said in `hw.kernels.count`. The sizes are the calibration grid: none occurs in the zoo.
"""

from collections.abc import Callable, Iterable, Mapping

from graph.op import OPS, Attrs, Size
from graph.tensor_type import TensorType, f32
from hw.errors import HwError
from hw.kernels.count import Terms
from hw.kernels.geometry import host_geometry
from hw.kernels.record import KernelRecord, Platform
from hw.kernels.tiling import (
    TOGETHER,
    ConvCut,
    Types,
    aligned_to,
    blocks,
    ceil_div,
    flipped_cut,
    forward_cut,
    forward_workspace,
    input_cut,
    input_workspace,
    is_split,
    matmul_cut,
    panel_width,
    weight_cut,
    weight_workspace,
)

Counts = Callable[[Types, Attrs], Mapping[str, float]]
EPILOGUES = ("", "add_bias", "add_bias+relu")


def operands(op: str, types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """Operands and results of a call; `types` may hold a bias last."""
    plain = {k: v for k, v in attrs.items() if k != "epilogue"}
    return (*types, *OPS[op].infer(types[: len(OPS[op].inputs)], plain))


# --- matrix product ---


def _matmul_terms(types: Types, attrs: Attrs) -> Terms:
    cut, g, t = matmul_cut(types, attrs), host_geometry(), Terms()
    for k in blocks(cut.k, cut.kb) if cut.k else (0,):
        for m in blocks(cut.m, cut.mb):
            t.panels(m, cut.n, cut.pw, k, 1, g)
            for w in blocks(cut.n, cut.pw) if cut.packed else ():
                t.turn(w, k, g) if attrs["tb"] else t.copy_rows(k, w, g)
    return t.traffic(operands("matmul", types, attrs))


_MATMUL = (  # m, n, k; forward, then as its two gradients
    (7, 9, 11),
    (12, 7, 50),
    (20, 12, 36),
    (24, 13, 100),
    (30, 10, 150),
    (48, 11, 70),
    (50, 30, 60),
    (72, 8, 96),
    (96, 14, 200),
    (90, 45, 30),
    (40, 100, 90),
    (100, 75, 110),
    (56, 130, 220),
    (150, 96, 75),
    (220, 11, 90),
    (200, 60, 300),
    (110, 150, 450),
    (280, 90, 130),
    (36, 260, 620),
    (160, 200, 250),
    (300, 240, 100),
    (10, 60, 40),
    (14, 90, 110),
    (18, 130, 70),
    (26, 70, 130),
    (110, 1100, 70),
    (700, 170, 430),
)


def _matmul_sizes() -> Iterable[Size]:
    for i, (m, n, k) in enumerate(_MATMUL):
        a, b, bias = f32(m, k), f32(k, n), f32(n)
        epilogue = EPILOGUES[i % 3]
        yield Size(types=(a, b, bias) if epilogue else (a, b), attrs={"ta": False, "tb": False, "epilogue": epilogue})
        yield Size(types=(a, f32(m, n)), attrs={"ta": True, "tb": False, "epilogue": ""})
        yield Size(types=(f32(m, n), b), attrs={"ta": False, "tb": True, "epilogue": ""})


# --- convolution ---


def _pad_terms(t: Terms, cut: ConvCut) -> None:
    """The padded copies of all images, group by group."""
    if cut.is_padded:
        t["zeroed"] += 4 * cut.hp * cut.wp * cut.ic * min(cut.group, cut.b)
        t.copy_rows(cut.b * cut.h, cut.w * cut.ic, host_geometry())


def _forward_loops(t: Terms, cut: ConvCut, *, biased: bool = False) -> None:
    g, pw = host_geometry(), panel_width(cut.oc, host_geometry())
    if cut.joined > 1:
        t["zeroed"] += 4 * cut.taps * cut.oc
        t.copy_rows(cut.joined * (cut.taps_single + biased), cut.oc_single, g)
    if is_split(cut.oc, g):
        for w in blocks(cut.oc, pw):
            t.copy_rows(cut.taps, w, g)
    _pad_terms(t, cut)
    for n in cut.groups:
        t.panels(n * cut.pixels, cut.oc, pw, cut.kw * cut.ic, cut.kh, g)


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
        t["zeroed"] += 4 * cut.taps_single * cut.oc_single
    if cut.joined > 1 and cut.b * cut.pixels:
        t["folded"] = cut.joined * cut.taps_single
    for n in cut.groups:
        t.panels(cut.taps, cut.oc, pw, cut.ow, n * cut.oh, g)
        for w in blocks(cut.oc, pw) if is_split(cut.oc, g) else ():
            t.copy_rows(n * cut.pixels, w, g)
    return t.traffic(operands("conv2d_grad_weight", types, attrs))


def _reaching(extent: int, taps: int, out: int, stride: int, pad: int) -> int:
    """(place, tap) pairs along an axis that an output place reaches."""
    return sum(0 <= (x + pad - k) // stride < out for x in range(extent) for k in range(taps) if (x + pad - k) % stride == 0)


def _columns_terms(types: Types, attrs: Attrs) -> Terms:
    cut, g, t = input_cut(types, attrs), host_geometry(), Terms()
    t.turn(cut.taps, cut.oc, g)
    for n in cut.groups:
        t.panels(n * cut.pixels, cut.taps, panel_width(cut.taps, g), cut.oc, 1, g)
    chunks, quads = ceil_div(cut.ic, g.lanes), ceil_div(cut.w, TOGETHER)
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
    t.turn(cut.oc_single, cut.ic, host_geometry(), times=cut.kh * cut.kw_single)
    return t.traffic(operands("conv2d_grad_input", types, attrs))


def _flip_workspace(types: Types, attrs: Attrs) -> int:
    cut = flipped_cut(types, attrs)
    return 4 * (sum(forward_workspace(cut, host_geometry())) + cut.taps_single * cut.oc_single) if cut else 0


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


def _conv_sizes(op: str) -> Callable[[], Iterable[Size]]:
    def sizes() -> Iterable[Size]:
        for i, (x, k, oc, stride, pad) in enumerate(_CONV):
            b, h, w, ic = x
            out = ((h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1)
            y, weights, geometry = f32(b, *out, oc), f32(k, k, ic, oc), {"stride": stride, "pad": pad}
            if op == "conv2d":
                epilogue = EPILOGUES[i % 3]
                types = (f32(*x), weights, f32(oc)) if epilogue else (f32(*x), weights)
                yield Size(types=types, attrs={**geometry, "epilogue": epilogue})
            elif op == "conv2d_grad_weight":
                yield Size(types=(f32(*x), y), attrs={**geometry, "kh": k, "kw": k})
            elif op == "flip":
                if stride == 1:
                    yield Size(types=(y, weights), attrs={**geometry, "height": h, "width": w})
            else:
                yield Size(types=(y, weights), attrs={**geometry, "height": h, "width": w})

    return sizes


# --- pooling ---


def _pooled(image: tuple[int, int, int, int], attrs: Attrs) -> tuple[int, int, int, int, int]:
    """(window, stride, rows, columns of the result, vectors of channels)"""
    window, stride = int(attrs["window"]), int(attrs["stride"])  # type: ignore[arg-type]
    oh, ow = ((n - window) // stride + 1 for n in image[1:3])
    return window, stride, oh, ow, ceil_div(image[3], host_geometry().lanes)


def _pool_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        b, h, w, c = types[0].shape
        window, _, oh, ow, chunks = _pooled((b, h, w, c), attrs)
        t["pixel"] = b * oh * ow * chunks
        t["tap"] = t["pixel"] * window * window
        return t.traffic(operands(op, types, attrs))

    return terms


def _holding(extent: int, window: int, stride: int, out: int) -> int:
    """(place, window that holds it) pairs along an axis."""
    return sum(o * stride <= x < o * stride + window for x in range(extent) for o in range(out))


def _pool_grad_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        b, c = types[0].shape[0], types[0].shape[3]
        h, w = int(attrs["height"]), int(attrs["width"])  # type: ignore[arg-type]
        window, stride, oh, ow, chunks = _pooled((b, h, w, c), attrs)
        if stride >= window and op == "max_pool_grad":
            t["pixel"] = b * oh * ow * chunks
            t["tap"] = t["pixel"] * window * window
            if stride > window or (oh * window, ow * window) != (h, w):
                t["zeroed"] = 4 * b * h * w * c
        else:
            t["gathered"] = b * h * w * chunks
            t["held"] = b * chunks * _holding(h, window, stride, oh) * _holding(w, window, stride, ow)
        return t.traffic(operands(op, types, attrs))

    return terms


# --- rows ---


def _row_terms(op: str) -> Counts:
    """Kernels that go through a matrix row by row, a vector at a time."""

    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        columns = types[0].shape[-1]
        t["row"] = types[0].size // columns if columns else 0
        t["vector"] = t["row"] * ceil_div(columns, host_geometry().lanes)
        return t.traffic(operands(op, types, attrs))

    return terms


def _dropout_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t, lanes = Terms(), host_geometry().lanes
        rows = types[0].shape[0]
        columns = types[0].size // rows if rows else 0
        t["row"] = rows
        t["draw"] = rows * ceil_div(columns, 4 * lanes)
        t["vector"] = rows * ceil_div(columns, lanes)
        return t.traffic(operands(op, types, attrs))

    return terms


def _bias_grad_terms(types: Types, attrs: Attrs) -> Terms:
    t = Terms()
    columns = types[0].shape[-1]
    t["panel"] = ceil_div(columns, host_geometry().lanes)
    t["vector"] = t["panel"] * (types[0].size // columns if columns else 0)
    return t.traffic(operands("bias_grad", types, attrs))


# --- buffers ---


def _input_terms(types: Types, attrs: Attrs) -> Terms:
    return Terms().traffic(2 * tuple(f32(aligned_to(t.nbytes, 64) // 4) for t in types))


def _accumulate_terms(types: Types, attrs: Attrs) -> Terms:
    return Terms().traffic((*types, types[0]))


_BUFFERS = (500, 1_700, 6_100, 21_000, 73_000, 180_000, 510_000)


def _input_sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(n),), attrs={}) for n in _BUFFERS)


def _accumulate_sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(n), f32(n)), attrs={}) for n in _BUFFERS)


def nothing(types: Types, attrs: Attrs) -> int:
    """No workspace."""
    return 0


def _record(
    name: str,
    op: str,
    terms: Counts,
    sizes: Callable[[], Iterable[Size]] | None = None,
    workspace: Callable[[Types, Attrs], int] = nothing,
    epilogue: tuple[str, ...] = (),
) -> KernelRecord:
    return KernelRecord(
        name=f"cpu.{name}",
        platform=Platform.CPU,
        op=op,
        epilogue=epilogue,
        workspace=workspace,
        terms=terms,
        sizes=sizes or OPS[op].sizes,
    )


_FUSED = ("add_bias", "relu")


def _forward_bytes(types: Types, attrs: Attrs) -> int:
    return 4 * sum(forward_workspace(forward_cut(types, attrs), host_geometry()))


def _weight_bytes(types: Types, attrs: Attrs) -> int:
    return 4 * sum(weight_workspace(weight_cut(types, attrs), host_geometry()))


def _matmul_bytes(types: Types, attrs: Attrs) -> int:
    return matmul_cut(types, attrs).workspace


RECORDS = (
    _record("matmul", "matmul", _matmul_terms, _matmul_sizes, _matmul_bytes, _FUSED),
    _record("conv2d.direct", "conv2d", _forward_terms, _conv_sizes("conv2d"), _forward_bytes, _FUSED),
    _record("conv2d_grad_input.col2im", "conv2d_grad_input", _columns_terms, _conv_sizes("col2im"), _columns_workspace),
    _record("conv2d_grad_input.flip", "conv2d_grad_input", _flip_terms, _conv_sizes("flip"), _flip_workspace),
    _record("conv2d_grad_weight.direct", "conv2d_grad_weight", _weight_terms, _conv_sizes("conv2d_grad_weight"), _weight_bytes),
    _record("max_pool", "max_pool", _pool_terms("max_pool")),
    _record("avg_pool", "avg_pool", _pool_terms("avg_pool")),
    _record("max_pool_grad", "max_pool_grad", _pool_grad_terms("max_pool_grad")),
    _record("avg_pool_grad", "avg_pool_grad", _pool_grad_terms("avg_pool_grad")),
    _record("add_bias", "add_bias", _row_terms("add_bias")),
    _record("bias_grad", "bias_grad", _bias_grad_terms),
    _record("softmax_cross_entropy", "softmax_cross_entropy", _row_terms("softmax_cross_entropy")),
    _record("softmax_cross_entropy_grad", "softmax_cross_entropy_grad", _row_terms("softmax_cross_entropy_grad")),
    _record("dropout", "dropout", _dropout_terms("dropout")),
    _record("dropout_grad", "dropout_grad", _dropout_terms("dropout_grad")),
    _record("input", "input", _input_terms, _input_sizes),
    _record("accumulate", "accumulate", _accumulate_terms, _accumulate_sizes),
)
"""In order of preference where an operator has several algorithms."""
