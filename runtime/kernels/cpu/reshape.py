"""Transposition: where the last axis stays, runs of it are copied, else matrices of it and the new last one are turned."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from hw.kernels.record import Call
from hw.kernels.tiling import OUTER, transpose_cut
from runtime.kernels.cpu.tile import call_transpose, copy_floats
from runtime.kernels.emit import words
from runtime.kernels.table import address, kernel

_FIXED = 8
_read_head, _read_outer = words(_FIXED), words(3 * OUTER)


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    """Addresses; the run or, if it is 0, rows and columns; then extent, stride and stride in the result of each outer axis."""
    cut = transpose_cut(call.types, call.attrs)
    head = [address("helper.transpose"), *ptrs[:2], cut.run, cut.rows, cut.row_step, cut.columns, cut.column_step]
    return [*head, *(n for axis in cut.outer for n in axis)]


@kernel("cpu.transpose", pack=_pack)
def transpose(p):
    """Four loops over the other axes."""
    turn, x, y, run, rows, lds, columns, ldd = _read_head(p)
    n0, s0, d0, n1, s1, d1, n2, s2, d2, n3, s3, d3 = _read_outer(p + 8 * _FIXED)
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                source, to = x + 4 * (i * s0 + j * s1 + k * s2), y + 4 * (i * d0 + j * d1 + k * d2)
                for _ in range(n3):
                    if run:
                        copy_floats(to, source, run)
                    else:
                        call_transpose(turn, source, lds, rows, columns, to, ldd)
                    source += 4 * s3
                    to += 4 * d3
