"""How the CUDA kernels of sums and normalizations cut their problems: kernels follow it, records know the workspace from it.

A matrix of rows with the columns (channels) innermost is cut among blocks of threads: a block's threads stand in rows of `wide`,
each with one column or with four, so that neighbours read neighbouring addresses. A sum over many rows has two stages: each block
adds up its own rows into the workspace, then the parts are added up, always in the same order. Numbers of blocks depend on the
problem only, not on the device, and so do the sums' bits.
"""

from graph.op import Attrs
from hw.kernels.tiling import Types, ceil_div

THREADS = 256
"""Of a block."""
WIDE = 32
"""Most threads side by side along the columns: a warp."""
BLOCKS = 1024
"""Most blocks of a first stage: about as many as a large GPU keeps at once (132 multiprocessors with 2048 threads each)."""
ROWS = 32
"""Rows that a thread adds up before a further part is worth its second stage."""
ELEMENTS = 32
"""Elements that a thread of a sum over everything adds up before a further block is worth its second stage."""
LANES_CLASSES = 256
"""Most classes of a softmax whose rows are a warp's or a part of one; longer ones are a block's."""
LANES_TURNS = 4
"""Turns of a block of such rows before a further block is worth its second stage."""
FLOAT = 4


def width(columns: int) -> int:
    """Columns of a thread where everything is aligned: four if rows stay aligned, else one."""
    return 1 if columns % 4 else 4


def across(columns: int, each: int) -> tuple[int, int]:
    """(blocks side by side, threads side by side in each) for threads of so many columns; as even as possible."""
    groups = max(ceil_div(columns, each), 1)
    n = ceil_div(groups, WIDE)
    return n, ceil_div(groups, n)


def rows_of_part(rows: int, columns: int) -> int:
    """Rows of each part of a sum over the rows, the last one maybe less; at least 1."""
    blocks, wide = across(columns, width(columns))
    parts = min(ceil_div(rows, (THREADS // wide) * ROWS), max(BLOCKS // blocks, 1))
    return max(ceil_div(rows, max(parts, 1)), 1)


def column_parts(rows: int, columns: int) -> int:
    """Parts of a sum over the rows; at least 1."""
    return max(ceil_div(rows, rows_of_part(rows, columns)), 1)


def sum_parts(n: int) -> int:
    """Parts of a sum over everything; at least 1."""
    return min(max(ceil_div(n, THREADS * ELEMENTS), 1), BLOCKS)


def row_lanes(classes: int) -> int:
    """Threads of a row of a softmax of at most `LANES_CLASSES` classes: a power of two up to a warp."""
    return min(1 << max(classes - 1, 0).bit_length(), 32)


def softmax_parts(rows: int, classes: int) -> int:
    """Blocks of a softmax, each with its part of the loss; at least 1."""
    at_once = THREADS // row_lanes(classes) if classes <= LANES_CLASSES else 1
    if classes <= LANES_CLASSES and rows <= LANES_TURNS * at_once:
        return 1
    return min(max(ceil_div(rows, at_once), 1), BLOCKS)


def _floats(parts: int, each: int = 1) -> int:
    """Bytes of the parts; a single part is the result."""
    return FLOAT * parts * each if parts > 1 else 0


def _matrix(types: Types) -> tuple[int, int]:
    """(rows, columns) of the first operand."""
    columns = types[0].shape[-1]
    return types[0].size // columns if columns else 0, columns


def column_sum_workspace(types: Types, attrs: Attrs) -> int:
    """One sum a column and part."""
    rows, columns = _matrix(types)
    return _floats(column_parts(rows, columns), columns)


def batch_norm_workspace(types: Types, attrs: Attrs) -> int:
    """Two sums a column and part: means and squares, or those of the gradient."""
    return 2 * column_sum_workspace(types, attrs)


def dot_workspace(types: Types, attrs: Attrs) -> int:
    """One sum a part."""
    return _floats(sum_parts(types[0].size))


def softmax_workspace(types: Types, attrs: Attrs) -> int:
    """One loss a part."""
    return _floats(softmax_parts(*_matrix(types)))
