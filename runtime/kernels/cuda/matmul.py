"""Matrix products ``C = op(A) op(B)``, with a bias and a ReLU on the way out.

Transposed operands are read in place. One row or one column is a product of a matrix and a vector (`matrix_vector`), in f32
whatever the algorithm: it waits for memory, not for arithmetic. Everything else is cut into tiles (`tile`), as
`hw.kernels.cuda_gemm` says; operands that 128-bit copies cannot read take the kernel that copies element by element.

Where many tiles read an element, 16-bit numbers are rounded once beforehand (`halves`): tensor cores multiply faster than the
second-level cache can bring f32. Elsewhere they are rounded on their way to shared memory.
"""

from collections.abc import Callable, Sequence

from hw.kernels.cuda_gemm import GemmCut, are_rounded_first, matmul_cut
from hw.kernels.record import Call
from runtime.kernels.cuda import matrix_vector
from runtime.kernels.cuda.halves import HALVED, halved
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.operands import CHUNK, LARGE, LONE, MEDIUM, RELU, SMALL, SQUARE, Loader, Precision, Tile, dense
from runtime.kernels.cuda.parts import ADDED
from runtime.kernels.cuda.tile import gemm, product, retiled

ANY = (dense(is_deep=True, width=1), dense(is_deep=False, width=1))
"""Reads whatever strides: best when A is adjacent along k and B along its columns."""


def _fast(width: int) -> dict[tuple[bool, bool], tuple[Loader, Loader]]:
    deep, wide = dense(is_deep=True, width=width), dense(is_deep=False, width=width)
    return {(False, False): (deep, wide), (False, True): (deep, deep), (True, False): (wide, wide)}


FAST, HALF = _fast(4), _fast(CHUNK)
"""(A transposed, B transposed) -> how they are read, 16 bytes at once. Both transposed is rare."""
TILES = {
    Precision.F32: {128: LARGE, 64: MEDIUM, 32: SMALL},
    Precision.TF32: {128: SQUARE, 64: MEDIUM, 32: LONE},
    Precision.BF16: {128: LARGE, 64: MEDIUM, 32: LONE},
    Precision.FP16: {128: LARGE, 64: MEDIUM, 32: LONE},
}
"""Precision -> side of the cut's tile -> the tile. What is rounded on its way holds registers: its tiles have more threads."""
LEAST_FAST = {Precision.F32: 64, Precision.TF32: 64, Precision.BF16: 128, Precision.FP16: 128}
"""Side of the smallest tile that is read 16 bytes at once."""


def _fast_kernel(tile: Tile, precision: Precision, ta: bool, tb: bool) -> DeviceKernel:
    """Older architectures take large tiles as they are, and smaller ones element by element."""
    return gemm(tile, precision, *FAST[ta, tb], older=None if tile is LARGE else ANY)


def kernels(precision: Precision) -> tuple[DeviceKernel, ...]:
    """Every kernel that may be launched."""
    sides = TILES[precision]
    tiled = [_fast_kernel(tile, precision, *how) for side, tile in sides.items() if side >= LEAST_FAST[precision] for how in FAST]
    tiled += [gemm(sides[side], precision, *ANY) for side in (64, 32)]
    if precision.is_half:
        tiled += [*(gemm(SQUARE, precision, *how) for how in HALF.values()), HALVED[precision]]
    older = dict.fromkeys(k.older for k in tiled if k.older is not None)
    return (*tiled, *older, *ADDED.values(), *matrix_vector.KERNELS)


def tiled_kernel(precision: Precision, cut: GemmCut, ta: bool, tb: bool, is_fast: bool) -> tuple[DeviceKernel, Tile]:
    """The kernel for a cut, and its tile, which may be smaller than the cut's."""
    if is_fast and cut.tile >= LEAST_FAST[precision] and (ta, tb) in FAST:
        tile = TILES[precision][cut.tile]
        return _fast_kernel(tile, precision, ta, tb), tile
    tile = TILES[precision][min(cut.tile, 64)]
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
    has_room: bool = False,
) -> list[Launch]:
    """What to launch for ``C = op(A) op(B)`` with matrices whose rows lie `lda` and `ldb` elements apart. Whether the workspace
    has room for rounded operands behind the sums of parts: `hw.kernels.cuda_gemm.rounded_matmul_workspace`."""
    first: list[Launch] = []
    if has_room and precision.is_half and are_rounded_first(cut, ta, tb, lda, ldb) and a.is_aligned and b.is_aligned:
        (a, b), first = halved(precision, (a, b), workspace, cut.workspace)
        kernel, tile = gemm(SQUARE, precision, *HALF[ta, tb]), SQUARE
    else:
        is_fast = a.is_aligned and b.is_aligned and lda % 4 == 0 and ldb % 4 == 0
        kernel, tile = tiled_kernel(precision, cut, ta, tb, is_fast)
    return first + product(
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
        return matrices(
            precision, cut, a, b, c, workspace, ta=ta, tb=tb, lda=lda, ldb=ldb, bias=bias, flags=flags, has_room=True
        )  # fmt: skip

    return launches


ALGORITHMS = {"": Precision.F32, ".tf32": Precision.TF32, ".bf16": Precision.BF16, ".fp16": Precision.FP16}
"""What follows the operator in a record's name -> precision."""

for _name, _precision in ALGORITHMS.items():
    cuda_kernel(f"cuda.matmul{_name}", kernels=kernels(_precision))(_launches(_precision))
