"""Kernels that are a vendor's libraries: cuBLAS for matrix products, cuDNN for convolutions (algorithm ``vendor``).

They are taken only where a scenario asks for them. No code of ours multiplies in them; weights are turned around a convolution
into the order that cuDNN wants (`hw.kernels.cuda_vendor`), which also aligns them. What has an empty operand has nothing to call
a library for: its result is zeros.
"""

from collections.abc import Callable, Sequence

from graph.ops.matmul import extents
from graph.tensor_type import DType
from hw.kernels.cuda_conv import windows
from hw.kernels.cuda_vendor import ALIGN, turned_nbytes
from hw.kernels.record import VENDOR, Call
from runtime.kernels.cuda import blas, dnn
from runtime.kernels.cuda.conv import SIDE, TURNED
from runtime.kernels.cuda.elementwise import FILL
from runtime.kernels.cuda.kernel import AnyLaunch, Launch, Place, cuda_kernel
from runtime.kernels.cuda.library import LibraryLaunch


def _zeros(y: Place) -> list[AnyLaunch]:
    """A result whose sums have no terms."""
    return [FILL.over(y.size, y.operand, 0.0, y.size, min(-(y.address // 4) % 4, y.size), each=4)] if y.size else []


@cuda_kernel(f"cuda.matmul.{VENDOR}", kernels=(FILL,), library=blas.CUBLAS)
def matmul(call: Call, places: Sequence[Place]) -> list[AnyLaunch]:
    """cublasGemmEx"""
    a, b, c, workspace = places
    if not (a.size and b.size):
        return _zeros(c)
    g = blas.row_major(*extents(call.types, call.attrs), bool(call.attrs["ta"]), bool(call.attrs["tb"]))
    return [
        LibraryLaunch(
            name="cublasGemmEx",
            library=blas.CUBLAS,
            operands=(b.operand, a.operand, c.operand, workspace.operand),
            bind=lambda addresses: blas.bind(g, addresses, workspace.size),
            double=lambda arrays: blas.double(g, arrays),
        )
    ]


def turned(rows: int, columns: int, source: Place, to: Place) -> Launch:
    """A matrix of so many rows and columns, written column by column."""
    grid = (-(-rows // SIDE), -(-columns // SIDE), 1)
    return TURNED.launch(grid, source.operand, to.operand, rows, columns, columns, 1, 0, 1, 1, 0)


def _convolution(op: str) -> Callable[[Call, Sequence[Place]], list[AnyLaunch]]:
    def launches(call: Call, places: Sequence[Place]) -> list[AnyLaunch]:
        """cuDNN, its weights turned before or after"""
        first, second, y, workspace = places
        if not (first.size and second.size):
            return _zeros(y)
        w = windows(op, call.types, call.attrs)
        skipped, held = -workspace.address % ALIGN, turned_nbytes(call.types, call.attrs, op)
        rows, columns = w.taps * w.channels, w.filters * w.groups
        weights = workspace.part(DType.U8, skipped, held).part(DType.F32, 0, rows * columns)
        rest = workspace.part(DType.U8, skipped + held, call.workspace - ALIGN - held)  # as much wherever it lies
        c = dnn.conv_of(op, w)
        is_weight = c.kind is dnn.Kind.GRAD_WEIGHT
        read, written = (second, weights) if is_weight else (weights, y)
        called = LibraryLaunch(
            name=f"cuDNN {op}",
            library=dnn.CUDNN,
            operands=(first.operand, read.operand, written.operand, rest.operand),
            bind=lambda addresses: dnn.bind(c, addresses, rest.size),
            double=lambda arrays: dnn.double(c, arrays),
        )
        return [called, turned(columns, rows, weights, y)] if is_weight else [turned(rows, columns, second, weights), called]

    return launches


for _op in dnn.Kind:
    cuda_kernel(f"cuda.{_op.value}.{VENDOR}", kernels=(FILL, TURNED), library=dnn.CUDNN)(_convolution(_op.value))
