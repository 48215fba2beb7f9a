"""How CUDA kernels cut matrix products: the kernels follow it, their records know the workspace from it.

What is decided depends on shapes alone, never on the device, so that a plan means the same sums in the same order everywhere.
"""

from collections.abc import Sequence

from graph.op import Attrs
from graph.ops.matmul import extents
from graph.record import record
from graph.tensor_type import TensorType
from hw.kernels.tiling import aligned, aligned_to, ceil_div

Types = Sequence[TensorType]

TILES = (128, 64, 32)
"""Rows, and as many columns, of the tiles of C that a block of threads computes."""
ENOUGH = 96
"""So many blocks occupy a GPU: of tiles that give fewer the next smaller ones are taken."""
WANTED = 256
"""Where there are fewer blocks k is split into parts, until there are so many."""
LEAST_K = 128
"""Steps of k of a part, at least: below, adding up the parts costs more than what they bring."""
MOST_PARTS = 64
MULTIPLE = 32
"""Parts begin at a multiple of so many steps."""


@record
class GemmCut:
    """How a matrix product is cut.

    Parameters
    ----------
    m, n, k : extents of C and of the sum.
    batch : products beside each other, all of the same extents.
    tile : rows and columns of a block's tile; 0: a product with a vector.
    parts : of k, summed apart and added up in their order.
    chunk : steps of k of each part but the last.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    tile: int
    parts: int
    chunk: int

    @property
    def tiles(self) -> int:
        """Of one product."""
        return ceil_div(self.m, self.tile) * ceil_div(self.n, self.tile)

    @property
    def workspace(self) -> int:
        """Bytes for the sums of the parts."""
        return 4 * self.parts * self.batch * self.m * self.n if self.parts > 1 else 0


def parts_of(k: int, blocks: int) -> tuple[int, int]:
    """(parts, steps of each) of a sum of k steps that is computed by so many blocks, unless it is split."""
    parts = max(min(WANTED // max(blocks, 1), k // LEAST_K, MOST_PARTS), 1)
    chunk = aligned_to(max(ceil_div(k, parts), 1), MULTIPLE)
    return max(ceil_div(k, chunk), 1), chunk


def gemm_cut(m: int, n: int, k: int, batch: int = 1, tiles: Sequence[int] = TILES) -> GemmCut:
    """Large tiles where they are filled and occupy a GPU, else smaller ones; then k is split until there are blocks enough."""
    for tile in tiles:
        blocks = ceil_div(m, tile) * ceil_div(n, tile) * batch
        if tile == tiles[-1] or (blocks >= ENOUGH and min(m, n) > tile // 2):
            break
    parts, chunk = parts_of(k, blocks)
    return GemmCut(m=m, n=n, k=k, batch=batch, tile=tile, parts=parts, chunk=chunk)


DOTS = 4
"""Outputs of a block that multiplies a matrix adjacent along k by a vector."""
VECTOR_THREADS = 128
"""Threads of a block of such products."""


def vector_cut(m: int, n: int, k: int, is_deep: bool) -> GemmCut:
    """Of a product with one row or one column, whose matrix is adjacent along k or along the outputs."""
    parts, chunk = parts_of(k, ceil_div(m * n, DOTS if is_deep else VECTOR_THREADS // 2))
    return GemmCut(m=m, n=n, k=k, tile=0, parts=parts, chunk=chunk)


def matmul_cut(types: Types, attrs: Attrs) -> GemmCut:
    """Of the operator ``matmul``."""
    m, n, k = extents(types, attrs)
    if m == 1:
        return vector_cut(m, n, k, bool(attrs["tb"]))
    return vector_cut(m, n, k, not attrs["ta"]) if n == 1 else gemm_cut(m, n, k)


LEAST_ROUNDED_FIRST = 512
"""Rows and columns from which on operands of 16-bit products are rounded beforehand: each element is read by as many tiles of
128 as that has, and what is saved on each outweighs reading, writing and reading it once more."""


def are_rounded_first(cut: GemmCut, ta: bool, tb: bool, lda: int, ldb: int) -> bool:
    """Products of 16-bit numbers round their operands beforehand, into the workspace: rows lie so many elements apart, and eight
    rounded ones are read at once."""
    return cut.tile == TILES[0] and min(cut.m, cut.n) >= LEAST_ROUNDED_FIRST and lda % 8 == ldb % 8 == 0 and not (ta and tb)


def matmul_workspace(types: Types, attrs: Attrs) -> int:
    """Bytes that ``matmul`` needs for the sums of the parts."""
    return matmul_cut(types[:2], attrs).workspace


def rounded_matmul_workspace(types: Types, attrs: Attrs) -> int:
    """Of algorithms with 16-bit numbers: for the sums of the parts, then for rounded operands."""
    cut, (a, b) = matmul_cut(types[:2], attrs), types[:2]
    if are_rounded_first(cut, bool(attrs["ta"]), bool(attrs["tb"]), a.shape[1], b.shape[1]):
        return 4 * (aligned(cut.workspace // 4) + aligned(a.size // 2) + aligned(b.size // 2))
    return cut.workspace
