"""Convolution of NHWC images with HWIO kernels and its gradients, as matrix products that gather their left operand.

Which product each of the three is, and how it is cut: `hw.kernels.cuda_conv`; loaders: `runtime.kernels.cuda.windows`; products:
`runtime.kernels.cuda.tile`. Where channels come in fours, 128-bit copies gather four of a pixel at once; else elements are
gathered one by one, in f32 whatever the algorithm, since tensor cores would wait for them. Kernels of 1 x 1 without stride, pad
and groups are products of matrices as they lie in memory (`matmul`).

The gradient of the images runs the kernels of the forward pass on the gradient of the results and on turned weights (in and out
exchanged), once for every class of pixels that meet the same taps. Turning costs as much as reading and writing the weights once.
The gradient of the weights has few rows and columns and sums over all pixels: blocks share the sum, and parts are added up in
their order.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from numba import cuda, float32

from graph.tensor_type import DType
from hw.kernels.cuda_conv import Residue, Windows, forward_cut, grad_input_cut, grad_weight_cut, residues, unsplit, windows
from hw.kernels.cuda_gemm import GemmCut
from hw.kernels.record import Call
from hw.kernels.tiling import aligned
from runtime.kernels.cuda import matmul
from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.operands import ACCUMULATE, LARGE, MEDIUM, RELU, Loader, Precision, Tile
from runtime.kernels.cuda.parts import ADDED
from runtime.kernels.cuda.tile import MOST, gemm, product, retiled
from runtime.kernels.cuda.windows import MOST as MOST_PIXELS
from runtime.kernels.cuda.windows import SIDE_BY_SIDE, SPREAD, gradient_windows, group, image_rows, image_windows, pixels, taps

Launches = Callable[[Call, Sequence[Place]], list[Launch]]
Gather = Callable[[int], Loader]
"""Width of copies -> how images are read."""
ROOM = 1024
"""Rows of a tile may pass the last pixel by fewer."""


def tiled_kernel(precision: Precision, gather: Gather, cut: GemmCut, in_fours: bool) -> tuple[DeviceKernel, Tile]:
    """The kernel for a cut, and its tile."""
    either = gather(1), group(1)
    if not in_fours:
        return gemm(MEDIUM, Precision.F32, *either, older=either, to=SPREAD), MEDIUM
    tile = matmul.TILES[precision][max(cut.tile, MEDIUM.rows)]
    return gemm(tile, precision, gather(4), group(4), older=either, to=SPREAD), tile


def tiled_kernels(precision: Precision, gather: Gather) -> tuple[DeviceKernel, ...]:
    """All that `tiled_kernel` may answer, what stands in for it on older devices, and the sum of parts."""
    cuts = [GemmCut(m=1, n=1, k=1, tile=t.rows, parts=1, chunk=1) for t in (LARGE, MEDIUM)]
    found = [tiled_kernel(precision, gather, c, in_fours)[0] for c in cuts for in_fours in (True, False)]
    return tuple(dict.fromkeys([*found, *(k.older for k in found if k.older is not None), *ADDED.values()]))


def convolved(
    precision: Precision,
    gather: Gather,
    w: Windows,
    cut: GemmCut,
    a: Place,
    b: Place,
    c: Place,
    workspace: Place,
    *,
    numbers_a: tuple[int, ...],
    numbers_b: tuple[int, int],
    pitch: int,
    bias: Place | None = None,
    flags: int = 0,
    rows: tuple[int, ...] = SIDE_BY_SIDE,
) -> list[Launch]:
    """What to launch for a convolution or a gradient: see `runtime.kernels.cuda.tile.product`."""
    kernel, tile = tiled_kernel(precision, gather, cut, w.in_fours and a.is_aligned and b.is_aligned)
    of_batch = cut.n if cut.batch > 1 else 0
    return product(
        kernel, retiled(cut, tile), a, b, c, workspace, numbers_a=numbers_a, numbers_b=numbers_b, pitch=pitch, of_batch=of_batch,
        bias=bias, flags=flags, rows=rows,
    )  # fmt: skip


def is_matrix_product(precision: Precision, w: Windows, cut: GemmCut) -> bool:
    """Kernels of matrix products do it, and no slower."""
    return w.is_pointwise and (not w.in_fours or cut.tile >= matmul.LEAST_FAST[precision])


def stacks(w: Windows) -> Iterator[tuple[int, Windows]]:
    """(first image, convolution of so many images from there on), so that 32 bits number all elements of each.

    The workspace is that of all images together: for fewer, sums that are not over pixels may not be split.
    """
    image, result = w.image[0] * w.image[1], w.result[0] * w.result[1]
    largest = max(image * w.channels * w.groups, result * w.filters * w.groups, 1)
    most = max(min(MOST // largest, (MOST_PIXELS - ROOM) // max(image, result, 1)), 1)
    for first in range(0, w.images, most):
        yield first, replace(w, images=min(most, w.images - first))


def of_images(place: Place, first: int, count: int, images: int) -> Place:
    """So many images of all."""
    each = place.size // images
    return place.part(place.dtype, first * each, count * each)


def _forward(precision: Precision) -> Launches:
    def launches(call: Call, places: Sequence[Place]) -> list[Launch]:
        epilogue = str(call.attrs.get("epilogue", ""))
        x, weights, *rest, y, workspace = places
        bias, flags = (rest[0] if epilogue else None), (RELU if epilogue.endswith("relu") else 0)
        whole, found = windows("conv2d", call.types[:2], call.attrs), list[Launch]()
        out = whole.filters * whole.groups
        for first, w in stacks(whole) if y.size else ():
            cut = forward_cut(w) if w == whole else unsplit(forward_cut(w))
            images, results = (of_images(p, first, w.images, whole.images) for p in (x, y))
            if is_matrix_product(precision, w, cut):
                found += matmul.matrices(
                    precision, cut, images, weights, results, workspace, ta=False, tb=False, lda=w.channels, ldb=out, bias=bias,
                    flags=flags,
                )  # fmt: skip
            else:
                found += convolved(
                    precision, pixels, w, cut, images, weights, results, workspace, numbers_a=image_windows(w),
                    numbers_b=(out, w.filters), pitch=out, bias=bias, flags=flags,
                )  # fmt: skip
        return found

    return launches


SIDE, TALL = 32, 4
"""Matrices are turned in squares; so many rows of one are copied at once."""
SQUARE = (SIDE, SIDE + 1)
"""A square in shared memory, padded so that the lanes of a warp meet different banks along both axes."""


def _turned(w, to, channels, filters, out, kw, tap, stride, columns, before):
    """Weights of one class: ``to[tap][o][c] = w[tap][c][o]``, for all groups; blocks stand channels x filters x rows of taps."""
    square = cuda.shared.array(SQUARE, float32)
    x, y = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
    across = (filters + SIDE - 1) // SIDE
    g, o0, c0 = cuda.blockIdx.y // across, cuda.blockIdx.y % across * SIDE, cuda.blockIdx.x * SIDE
    u, groups = cuda.blockIdx.z, out // filters
    for v in range(columns):
        source = (tap + (u * kw + v) * stride) * channels
        for i in range(y, SIDE, TALL):
            if c0 + i < channels and o0 + x < filters:
                square[i, x] = w[(source + c0 + i) * out + g * filters + o0 + x]
        cuda.syncthreads()
        place = (before + u * columns + v) * filters
        for i in range(y, SIDE, TALL):
            if o0 + i < filters and c0 + x < channels:
                to[((place + o0 + i) * groups + g) * channels + c0 + x] = square[x, i]
        cuda.syncthreads()


TURNED = DeviceKernel("conv2d_turned_weights", _turned, (F32, F32, *(WHOLE,) * 8), threads=SIDE * TALL, is_hot=True)


def _turn(w: Windows, r: Residue, weights: Place, turned: Place) -> Launch:
    grid = (-(-w.channels // SIDE), -(-w.filters // SIDE) * w.groups, r.taps[0])
    tap = r.tap[0] * w.kernel[1] + r.tap[1]
    numbers = (w.channels, w.filters, w.filters * w.groups, w.kernel[1], tap, w.stride, r.taps[1], r.before)
    return TURNED.launch(grid, weights.operand, turned.operand, *numbers)


def _grad_input(precision: Precision) -> Launches:
    def launches(call: Call, places: Sequence[Place]) -> list[Launch]:
        dy, weights, dx, workspace = places
        whole, found = windows("conv2d_grad_input", call.types, call.attrs), list[Launch]()
        if not dx.size:
            return []
        size = aligned(whole.weights)
        turned, parts = workspace.part(DType.F32, 0, size), workspace.part(DType.U8, 4 * size, workspace.size - 4 * size)
        classes = [r for r in residues(whole) if 0 not in r.extent]
        channels, out = whole.channels * whole.groups, whole.filters * whole.groups
        if not all(is_matrix_product(precision, w, grad_input_cut(w, r)) for _, w in stacks(whole) for r in classes):
            found += [_turn(whole, r, weights, turned) for r in classes if 0 not in r.taps and whole.weights]
        for first, w in stacks(whole):
            dys, dxs = (of_images(p, first, w.images, whole.images) for p in (dy, dx))
            for r in classes:
                cut = grad_input_cut(w, r) if w == whole else unsplit(grad_input_cut(w, r))
                if is_matrix_product(precision, w, cut):
                    found += matmul.matrices(precision, cut, dys, weights, dxs, parts, ta=False, tb=True, lda=out, ldb=out)
                    continue
                step = w.filters * channels
                of_class = turned.part(DType.F32, r.before * step, r.taps[0] * r.taps[1] * step)
                found += convolved(
                    precision, pixels, w, cut, dys, of_class, dxs, parts, numbers_a=gradient_windows(w, r),
                    numbers_b=(channels, w.channels), pitch=channels, rows=image_rows(w, r),
                )  # fmt: skip
        return found

    return launches


def _grad_weight(precision: Precision) -> Launches:
    def launches(call: Call, places: Sequence[Place]) -> list[Launch]:
        x, dy, dw, workspace = places
        whole, found = windows("conv2d_grad_weight", call.types, call.attrs), list[Launch]()
        out = whole.filters * whole.groups
        for first, w in list(stacks(whole)) or [(0, whole)]:
            cut, flags = grad_weight_cut(w), ACCUMULATE if first else 0
            xs, dys = (of_images(p, first, w.images, max(whole.images, 1)) for p in (x, dy))
            if is_matrix_product(precision, w, cut):
                found += matmul.matrices(
                    precision, cut, xs, dys, dw, workspace, ta=True, tb=False, lda=w.channels, ldb=out, flags=flags
                )  # fmt: skip
            else:
                found += convolved(
                    precision, taps, w, cut, xs, dys, dw, workspace, numbers_a=image_windows(w), numbers_b=(out, w.filters),
                    pitch=out, flags=flags,
                )  # fmt: skip
        return found

    return launches


_MAKERS = {
    "conv2d": (_forward, pixels, ()),
    "conv2d_grad_input": (_grad_input, pixels, (TURNED,)),
    "conv2d_grad_weight": (_grad_weight, taps, ()),
}
for _algorithm, _precision in matmul.ALGORITHMS.items():
    for _op, (_make, _gather, _more) in _MAKERS.items():
        _kernels = (*tiled_kernels(_precision, _gather), *matmul.kernels(_precision), *_more)
        cuda_kernel(f"cuda.{_op}{_algorithm}", kernels=_kernels)(_make(_precision))
