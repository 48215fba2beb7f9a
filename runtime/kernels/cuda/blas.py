"""Matrix products by cuBLAS, through nvmath-python's binding, in exact f32: multiply-adds of f32, no tf32, no emulation.

cuBLAS has columns adjacent, this project rows. A matrix of r rows and c columns that lies row by row is, column by column, its
transpose, with a leading dimension of c. So ``C = op(A) op(B)`` is computed as ``C' = op(B)' op(A)'``: operands change places,
each with its flag.

Scalars lie on the host and are read when a call is made. The stream is set first, then the workspace, since setting the stream
gives up the workspace (cublasSetStream); with a workspace of its own cuBLAS allocates nothing, so that a stream can be captured.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from graph.record import record
from hw.kernels.cuda_vendor import ALIGN, LIBRARY
from runtime.kernels.cuda.library import Bound, Flat, Library, aligned, spread

F32 = 0  # CUDA_R_32F of library_types.h
ONE, ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)


@record
class Gemm:
    """``C = op(A) op(B)`` as BLAS means it, columns adjacent (Dongarra et al., ACM TOMS 16(1), 1990: DGEMM).

    Parameters
    ----------
    ta, tb : op transposes.
    m, n, k : rows of C, columns of C, terms of each sum.
    lda, ldb, ldc : elements from one column to the next, of A, B and C as they lie.
    """

    ta: bool
    tb: bool
    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int


def row_major(m: int, n: int, k: int, ta: bool, tb: bool) -> Gemm:
    """The call for matrices whose rows are adjacent: its A is our B, its B our A.

    Parameters
    ----------
    m, n, k : of our product.
    ta, tb : our A lies as k x m, our B as n x k.
    """
    return Gemm(
        ta=tb, tb=ta, m=n, n=m, k=k, lda=max(k if tb else n, 1), ldb=max(m if ta else k, 1), ldc=max(n, 1)
    )  # fmt: skip


def double(g: Gemm, arrays: Sequence[Flat]) -> None:
    """What cuBLAS does, on flat arrays: A, B, C."""
    a, b, c = arrays
    lies_a, lies_b = (g.k, g.m) if g.ta else (g.m, g.k), (g.n, g.k) if g.tb else (g.k, g.n)
    first, second = spread(a, lies_a, (1, g.lda)), spread(b, lies_b, (1, g.ldb))
    spread(c, (g.m, g.n), (1, g.ldc))[...] = (first.T if g.ta else first) @ (second.T if g.tb else second)


def bind(g: Gemm, addresses: Sequence[int], workspace_nbytes: int) -> Bound:
    """Tell cuBLAS of a call, for A, B, C and workspace at these addresses in device memory."""
    from nvmath.bindings import cublas

    handle, (a, b, c, work) = _handle(), addresses
    work, room = aligned(work, workspace_nbytes, ALIGN)
    nbytes = min(room, LIBRARY)  # as much wherever it lies: what cuBLAS does may depend on it
    op = cublas.Operation
    how = (int(op.T if g.ta else op.N), int(op.T if g.tb else op.N), g.m, g.n, g.k)
    scaled = (ONE.ctypes.data, a, F32, g.lda, b, F32, g.ldb, ZERO.ctypes.data, c, F32, g.ldc)
    exact = (int(cublas.ComputeType.COMPUTE_32F), int(cublas.GemmAlgo.DFALT))

    def go(stream: int) -> None:
        cublas.set_stream(handle, stream)
        cublas.set_workspace(handle, work, nbytes)
        cublas.gemm_ex(handle, *how, *scaled, *exact)

    return go


@cache
def _handle() -> int:
    """Of this process and its device; scalars on the host, products as the type of computation says."""
    from nvmath.bindings import cublas

    handle = int(cublas.create())
    cublas.set_pointer_mode(handle, int(cublas.PointerMode.HOST))
    cublas.set_math_mode(handle, int(cublas.Math.DEFAULT_MATH))
    return handle


def _probe() -> Any:
    from nvmath.bindings import cublas

    return cublas.get_property(0)  # the first number of its version


CUBLAS = Library(title="cuBLAS", probe=_probe)
