"""Products of a matrix and a vector, as they are in inference with a batch of one: all that counts is to read the matrix once, at
full width.

The matrix is adjacent in memory either along k ("dots": a block takes a few outputs, its threads stand along k) or along the
outputs ("columns": threads stand along the outputs, rows of a block along k). Where there are few outputs k is split into parts.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, float32, types, uint64

from hw.kernels.cuda_gemm import DOTS, VECTOR_THREADS, GemmCut
from runtime.kernels.cuda.device import device_function
from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Operand, Place
from runtime.kernels.cuda.operands import BIAS
from runtime.kernels.cuda.parts import added
from runtime.kernels.cuda.primitives import SCRATCH, block_sum, load4
from runtime.kernels.cuda.sums import finished

SLICES = 8
"""Threads of a block that share an output, each with its own k."""
LANES = VECTOR_THREADS // SLICES
AHEAD = 4
"""Rows of the matrix that a thread reads before it adds them up."""


def _dots(width: int) -> Callable[..., None]:
    def function(matrix, x, bias, y, numbers):
        scratch = cuda.shared.array(SCRATCH, float32)
        outputs, k, chunk, ld, spread, flags = numbers
        sums = cuda.local.array(DOTS, float32)
        first, begin = cuda.blockIdx.x * DOTS, cuda.blockIdx.y * chunk
        end = min(k, begin + chunk)
        for i in range(DOTS):
            sums[i] = float32(0)
        for at in range(begin + width * cuda.threadIdx.x, end, width * VECTOR_THREADS):
            if width == 4:
                p, q, r, s = load4(x, at)
                for i in range(DOTS):
                    e, f, g, h = load4(matrix, min(first + i, outputs - 1) * ld + at)
                    sums[i] += e * p + f * q + (g * r + h * s)
            else:
                p = x[at]
                for i in range(DOTS):
                    sums[i] += matrix[min(first + i, outputs - 1) * ld + at] * p
        for i in range(DOTS):
            total = block_sum(sums[i], scratch)
            if cuda.threadIdx.x == 0 and first + i < outputs:
                at = first + i
                y[cuda.blockIdx.y * outputs + at] = finished(total, bias, at * spread, flags)

    return function


def _row_added(width: int) -> Any:
    @device_function
    def row_added(sums, matrix, x, k, ld, first):
        p, at = x[uint64(k)], k * ld + first
        if width == 4:
            e, f, g, h = load4(matrix, at)
            sums[0] += p * e
            sums[1] += p * f
            sums[2] += p * g
            sums[3] += p * h
        else:
            sums[0] += p * matrix[uint64(at)]

    return row_added


def _columns(width: int) -> Callable[..., None]:
    room, row_added = VECTOR_THREADS * width, _row_added(width)

    def function(matrix, x, bias, y, numbers):
        partial = cuda.shared.array(room, float32)
        outputs, k, chunk, ld, spread, flags = numbers
        lane, own = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        first, begin = (cuda.blockIdx.x * LANES + lane) * width, cuda.blockIdx.y * chunk
        end = min(k, begin + chunk)
        sums = cuda.local.array(width, float32)
        for e in range(width):
            sums[e] = float32(0)
        if first < outputs:
            at = begin + own
            while at + (AHEAD - 1) * SLICES < end:
                for i in range(AHEAD):
                    row_added(sums, matrix, x, at + i * SLICES, ld, first)
                at += AHEAD * SLICES
            while at < end:
                row_added(sums, matrix, x, at, ld, first)
                at += SLICES
        for e in range(width):
            partial[(own * LANES + lane) * width + e] = sums[e]
        cuda.syncthreads()
        for o in range(cuda.threadIdx.x, LANES * width, VECTOR_THREADS):
            at = cuda.blockIdx.x * LANES * width + o
            if at < outputs:
                total = float32(0)
                for i in range(SLICES):
                    total += partial[i * LANES * width + o]
                y[cuda.blockIdx.y * outputs + at] = finished(total, bias, at * spread, flags)

    return function


@cache
def matrix_vector(is_deep: bool, width: int) -> DeviceKernel:
    """The kernel for a matrix that is adjacent along k, or along the outputs, read by so many elements at once."""
    name = f"matrix_vector_{'dots' if is_deep else 'columns'}_{width}"
    function: Any = _dots(width) if is_deep else _columns(width)
    wants = ("ld.global.v4",) if width == 4 else ()
    types_ = (F32, F32, F32, F32, types.UniTuple(WHOLE, 6))
    return DeviceKernel(name, function, types_, threads=VECTOR_THREADS, is_hot=True, wants=wants)


KERNELS = tuple(matrix_vector(is_deep, width) for is_deep in (True, False) for width in (4, 1))


def vector_product(
    cut: GemmCut, matrix: Place, x: Place, y: Place, workspace: Place, *, is_deep: bool, bias: Place | None, flags: int
) -> list[Launch]:
    """What to launch for a product with one row (a bias of each output) or one column (the same bias for all)."""
    outputs, of_block = cut.m * cut.n, DOTS
    ld = cut.k if is_deep else outputs
    width = 4 if matrix.is_aligned and ld % 4 == 0 and (x.is_aligned or not is_deep) else 1
    if not is_deep:
        of_block = LANES * width
    kernel, on_bias = matrix_vector(is_deep, width), (bias or y).operand
    flags |= BIAS if bias is not None else 0
    grid = (-(-outputs // of_block), cut.parts)
    head, spread = (outputs, cut.k, cut.chunk, ld), int(cut.m == 1)
    if cut.parts == 1:
        return [kernel.launch(grid, matrix.operand, x.operand, on_bias, y.operand, (*head, spread, flags))]
    parts = Operand(index=workspace.index, dtype=y.dtype, size=cut.parts * outputs)
    return [
        kernel.launch(grid, matrix.operand, x.operand, on_bias, parts, (*head, spread, 0)),
        added(parts, on_bias, y, cut.parts, cut.m, cut.n, 1, cut.n, 0, flags, is_aligned=workspace.is_aligned),
    ]
