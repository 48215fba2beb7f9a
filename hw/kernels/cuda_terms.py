"""What CUDA kernels do, counted from how their problems are cut: the terms that a calibrated GPU is fitted with.

A GPU hands out blocks to its multiprocessors; each holds several at a time, and one more whenever one ends. So with B blocks of s
steps along k the last multiprocessor is done after

    ceil(B / processors) * s    steps of blocks, which share its arithmetic, and
    ceil(B / slots) * s         steps of which each waits for the one before: blocks that stand there together wait together

and both are counted, for every kind of tile of its own. The fit decides how much of either a kernel waits for. Processors and
slots are those of an H100 or H200; a GPU with others has other coefficients, and jumps elsewhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from graph.op import Attrs
from graph.record import record
from hw.kernels.cuda_conv import Windows, forward_cut, grad_input_cut, grad_weight_cut, residues, windows
from hw.kernels.cuda_gemm import GemmCut, are_rounded_first, matmul_cut
from hw.kernels.cuda_sums import THREADS, across, column_parts, rows_of_part, softmax_parts, sum_parts, width
from hw.kernels.tiling import Types, ceil_div

PROCESSORS = 132
"""Multiprocessors of an H100 SXM or H200 (NVIDIA H100 Tensor Core GPU Architecture, table 3)."""
RESIDENT = 512
"""Threads that a multiprocessor holds of kernels that sum in registers: 65,536 registers, 128 of a thread."""
TILE_THREADS = {128: 256, 64: 128, 32: 64}
"""Side of a tile -> threads of its block; of those of 128 for tensor cores, half as many with twice the registers."""
LONE_THREADS = 32
"""Of tiles of 32 for tensor cores."""
FAST = {"": (128, 64), "tf32": (128, 64)}
"""Algorithm -> sides of the tiles whose matrices are read four elements at once; `FAST_ELSE`: of the others."""
FAST_ELSE = (128,)
HALVES = ("bf16", "fp16")
MOST_SINGLE = 64
"""Side of the largest tile whose operands are read one by one."""
SECOND_ROWS = 32
"""Rows of threads that add up the parts of a sum over rows."""


@record
class Tiled:
    """A launch whose blocks step along k.

    Parameters
    ----------
    kind : of its kernel: how operands are read, and the side of a tile; ``"x1"``: element by element; ``"x8"``: rounded ones.
    blocks : of its grid.
    threads : of a block, or as many as would have its registers.
    steps : of the longest block.
    added : sums of parts that a further launch adds up; 0: there is none.
    """

    kind: str
    blocks: int
    threads: int
    steps: int
    added: int = 0


def counted(launches: Iterable[Tiled], further: int = 0) -> dict[str, float]:
    """Terms of a call.

    Parameters
    ----------
    further : launches beside these and those that add up parts.
    """
    found: dict[str, float] = {"further": further - 1, "rounds": 0, "added": 0}
    for t in launches:
        each, rounds = ceil_div(t.blocks, PROCESSORS), ceil_div(t.blocks, PROCESSORS * RESIDENT // t.threads)
        for name, n in ((f"steps_{t.kind}", each * t.steps), (f"waits_{t.kind}", rounds * t.steps)):
            found[name] = found.get(name, 0) + n
        found["rounds"] += rounds
        found["added"] += t.added
        found["further"] += 1 + bool(t.added)
    return {**found, "further": max(found["further"], 0)}


# -------------------------------------------------------------------------------------------------- matrix products


def _tiled(cut: GemmCut, side: int, kind: str, algorithm: str) -> Tiled:
    blocks = ceil_div(cut.m, side) * ceil_div(cut.n, side) * cut.parts * cut.batch
    added = cut.parts * cut.batch * cut.m * cut.n if cut.parts > 1 else 0
    threads = LONE_THREADS if side == LONE_THREADS and algorithm else TILE_THREADS[side]
    return Tiled(kind=kind, blocks=blocks, threads=threads, steps=min(cut.k, cut.chunk), added=added)


def _dense(cut: GemmCut, algorithm: str, in_fours: bool, both_turned: bool = False) -> Tiled:
    """A product of matrices as they lie in memory."""
    if in_fours and not both_turned and cut.tile in FAST.get(algorithm, FAST_ELSE):
        return _tiled(cut, cut.tile, f"dense{cut.tile}", algorithm)
    side = min(cut.tile, MOST_SINGLE)
    return _tiled(cut, side, f"dense{side}x1", algorithm)


def _are_rounded(cut: GemmCut, types: Types, attrs: Attrs, algorithm: str) -> bool:
    lda, ldb = types[0].shape[1], types[1].shape[1]
    return algorithm in HALVES and are_rounded_first(cut, bool(attrs["ta"]), bool(attrs["tb"]), lda, ldb)


def matmul_launches(types: Types, attrs: Attrs, algorithm: str) -> Iterator[Tiled]:
    """Of ``matmul``; none of a product with a vector, which waits for memory alone."""
    cut = matmul_cut(types[:2], attrs)
    if cut.tile and cut.m * cut.n:
        if _are_rounded(cut, types, attrs, algorithm):
            yield _tiled(cut, cut.tile, f"dense{cut.tile}x8", algorithm)
            return
        in_fours = types[0].shape[1] % 4 == 0 and types[1].shape[1] % 4 == 0
        yield _dense(cut, algorithm, in_fours, bool(attrs["ta"]) and bool(attrs["tb"]))


def _convolved(w: Windows, cut: GemmCut, algorithm: str) -> Tiled:
    is_dense = w.is_pointwise and (not w.in_fours or cut.tile in FAST.get(algorithm, FAST_ELSE))
    if is_dense:
        return _dense(cut, algorithm, w.in_fours)
    if not w.in_fours:
        return _tiled(cut, MOST_SINGLE, f"windows{MOST_SINGLE}x1", algorithm)
    side = cut.tile if cut.tile in (128, 64) else MOST_SINGLE
    return _tiled(cut, side, f"windows{side}", algorithm)


def forward_launches(types: Types, attrs: Attrs, algorithm: str) -> Iterator[Tiled]:
    """Of ``conv2d``."""
    w = windows("conv2d", types[:2], attrs)
    yield _convolved(w, forward_cut(w), algorithm)


def grad_weight_launches(types: Types, attrs: Attrs, algorithm: str) -> Iterator[Tiled]:
    """Of ``conv2d_grad_weight``."""
    w = windows("conv2d_grad_weight", types, attrs)
    yield _convolved(w, grad_weight_cut(w), algorithm)


def grad_input_launches(types: Types, attrs: Attrs, algorithm: str) -> Iterator[Tiled]:
    """Of ``conv2d_grad_input``: one for every class of pixels, less the turning of weights."""
    w = windows("conv2d_grad_input", types, attrs)
    for r in residues(w):
        if 0 not in r.extent:
            yield _convolved(w, grad_input_cut(w, r), algorithm)


def turned(types: Types, attrs: Attrs, algorithm: str) -> int:
    """Launches that turn weights."""
    w = windows("conv2d_grad_input", types, attrs)
    classes = [r for r in residues(w) if 0 not in r.extent]
    if all(_convolved(w, grad_input_cut(w, r), algorithm).kind.startswith("dense") for r in classes):
        return 0
    return sum(0 not in r.taps for r in classes) if w.weights else 0


def _matmul(types: Types, attrs: Attrs, algorithm: str) -> dict[str, float]:
    found = list(matmul_launches(types, attrs, algorithm))
    cut = matmul_cut(types[:2], attrs)
    if found or not cut.m * cut.n:
        return counted(found, 2 * _are_rounded(cut, types, attrs, algorithm))
    parts = {"added": cut.parts * cut.m * cut.n, "further": 1} if cut.parts > 1 else {"added": 0, "further": 0}
    return {**counted([]), **parts}


def _grad_input(types: Types, attrs: Attrs, algorithm: str) -> dict[str, float]:
    return counted(grad_input_launches(types, attrs, algorithm), turned(types, attrs, algorithm))


PRODUCTS: Mapping[str, Callable[[Types, Attrs, str], dict[str, float]]] = {
    "matmul": _matmul,
    "conv2d": lambda types, attrs, algorithm: counted(forward_launches(types, attrs, algorithm)),
    "conv2d_grad_weight": lambda types, attrs, algorithm: counted(grad_weight_launches(types, attrs, algorithm)),
    "conv2d_grad_input": _grad_input,
}
"""Operator -> terms beside calls, operations and bytes, by operands and algorithm."""


# -------------------------------------------------------------------------------------------------- sums over rows


def _rows(types: Types, second: bool) -> dict[str, float]:
    """Of a sum over the rows: rows that a thread takes one after the other, and whether parts are added up."""
    columns = types[0].shape[-1]
    rows = types[0].size // columns if columns else 0
    parts = column_parts(rows, columns)
    _, wide = across(columns, width(columns))
    chain = ceil_div(min(rows_of_part(rows, columns), rows), THREADS // wide)
    return {"chain": chain + (ceil_div(parts, SECOND_ROWS) if parts > 1 else 0), "further": int(parts > 1) + int(second)}


SUMS: Mapping[str, Callable[[Types, Attrs], dict[str, float]]] = {
    "bias_grad": lambda types, attrs: _rows(types, False),
    "batch_norm": lambda types, attrs: _rows(types, True),
    "batch_norm_grad": lambda types, attrs: _rows(types, True),
    "dot": lambda types, attrs: {"further": int(sum_parts(types[0].size) > 1)},
    "softmax_cross_entropy": lambda types, attrs: {"further": int(softmax_parts(*types[0].shape) > 1)},
    "concat": lambda types, attrs: {"further": sum(t.size > 0 for t in types) - 1},
    "input": lambda types, attrs: {"further": len(types) - 1},
}
"""Operator -> terms beside calls, operations and bytes."""
