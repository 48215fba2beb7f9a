"""Matrix products ``C = op(A) op(B)``, with a bias and a ReLU on the way out.

Transposed operands are read in place. One row or one column is a product of a matrix and a vector (`matrix_vector`), in f32
whatever the algorithm: it waits for memory, not for arithmetic. Everything else is cut into tiles (`tile`), as
`hw.kernels.cuda_gemm` says; operands that 128-bit copies cannot read take the kernel that copies element by element.
"""

from collections.abc import Callable, Sequence

from hw.kernels.cuda_gemm import GemmCut, matmul_cut
from hw.kernels.record import Call
from runtime.kernels.cuda import matrix_vector
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.operands import LARGE, MEDIUM, RELU, SMALL, Precision, Tile, dense
from runtime.kernels.cuda.parts import ADDED
from runtime.kernels.cuda.tile import gemm, product, retiled

DEEP, WIDE = dense(is_deep=True, width=4), dense(is_deep=False, width=4)
ANY = (dense(is_deep=True, width=1), dense(is_deep=False, width=1))
"""Reads whatever strides: best when A is adjacent along k and B along its columns."""
FAST = {(False, False): (DEEP, WIDE), (False, True): (DEEP, DEEP), (True, False): (WIDE, WIDE)}
"""(A transposed, B transposed) -> how they are read, four elements at once. Both transposed is rare."""
TILES = {128: LARGE, 64: MEDIUM, 32: SMALL}
"""Side of the cut's tile -> the tile."""
FAST_TILES = {Precision.F32: (LARGE, MEDIUM), Precision.TF32: (LARGE,), Precision.BF16: (LARGE,), Precision.FP16: (LARGE,)}


def _fast(tile: Tile, precision: Precision, ta: bool, tb: bool) -> DeviceKernel:
    """Older architectures take large tiles as they are, and smaller ones element by element."""
    return gemm(tile, precision, *FAST[ta, tb], older=None if tile is LARGE else ANY)


def kernels(precision: Precision) -> tuple[DeviceKernel, ...]:
    """Every kernel that may be launched."""
    tiled = [_fast(tile, precision, *how) for tile in FAST_TILES[precision] for how in FAST]
    tiled += [gemm(tile, precision, *ANY) for tile in (MEDIUM, SMALL)]
    older = dict.fromkeys(k.older for k in tiled if k.older is not None)
    return (*tiled, *older, ADDED, *matrix_vector.KERNELS)


def tiled_kernel(precision: Precision, cut: GemmCut, ta: bool, tb: bool, is_fast: bool) -> tuple[DeviceKernel, Tile]:
    """The kernel for a cut, and its tile, which may be smaller than the cut's."""
    tile = TILES[cut.tile]
    if is_fast and tile in FAST_TILES[precision] and (ta, tb) in FAST:
        return _fast(tile, precision, ta, tb), tile
    tile = MEDIUM if tile is LARGE else tile
    return gemm(tile, precision, *ANY), tile


def matrices(
    precision: Precision,
    cut: GemmCut,
    a: Place,
    b: Place,
    c: Place,
    workspace: Place,
    *,
    ta: bool,
    tb: bool,
    lda: int,
    ldb: int,
    bias: Place | None = None,
    flags: int = 0,
) -> list[Launch]:
    """What to launch for ``C = op(A) op(B)`` with matrices whose rows lie `lda` and `ldb` elements apart."""
    is_fast = a.is_aligned and b.is_aligned and lda % 4 == 0 and ldb % 4 == 0
    kernel, tile = tiled_kernel(precision, cut, ta, tb, is_fast)
    return product(
        kernel,
        retiled(cut, tile),
        a,
        b,
        c,
        workspace,
        numbers_a=(1, lda) if ta else (lda, 1),
        numbers_b=(ldb, 1) if tb else (1, ldb),
        pitch=cut.n,
        bias=bias,
        flags=flags,
    )


def _launches(precision: Precision) -> Callable[[Call, Sequence[Place]], list[Launch]]:
    def launches(call: Call, places: Sequence[Place]) -> list[Launch]:
        cut, ta, tb = matmul_cut(call.types, call.attrs), bool(call.attrs["ta"]), bool(call.attrs["tb"])
        epilogue = str(call.attrs.get("epilogue", ""))
        a, b, *rest, c, workspace = places
        bias, flags = (rest[0] if epilogue else None), (RELU if epilogue.endswith("relu") else 0)
        if not cut.m * cut.n:
            return []
        if cut.m == 1:
            return matrix_vector.vector_product(cut, b, a, c, workspace, is_deep=tb, bias=bias, flags=flags)
        if cut.n == 1:
            return matrix_vector.vector_product(cut, a, b, c, workspace, is_deep=not ta, bias=bias, flags=flags)
        lda, ldb = call.types[0].shape[1], call.types[1].shape[1]
        return matrices(precision, cut, a, b, c, workspace, ta=ta, tb=tb, lda=lda, ldb=ldb, bias=bias, flags=flags)

    return launches


ALGORITHMS = {"": Precision.F32, ".tf32": Precision.TF32, ".bf16": Precision.BF16, ".fp16": Precision.FP16}
"""What follows the operator in a record's name -> precision."""

for _name, _precision in ALGORITHMS.items():
    cuda_kernel(f"cuda.matmul{_name}", kernels=kernels(_precision))(_launches(_precision))
