"""Values side by side along the last axis, and a run of it: rows are copied."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from hw.kernels.record import Call
from runtime.kernels.cpu.tile import copy_rows
from runtime.kernels.emit import words
from runtime.kernels.simd import get_int
from runtime.kernels.table import kernel, whole

_read4, _read5 = words(4), words(5)


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    """Address of the result, its rows and columns; how many parts; the address and columns of each part."""
    parts = [t.shape[-1] for t in call.types]
    columns = sum(parts)
    rows = sum(t.size for t in call.types) // columns if columns else 0
    table = [n for pair in zip(ptrs, parts) for n in pair]
    return [ptrs[len(parts)], rows, columns, len(parts), *table]


@kernel("cpu.concat", pack=_pack)
def concat(p):
    """Part by part."""
    y, rows, columns, parts = _read4(p)
    part = p + 32
    for _ in range(parts):
        wide = get_int(part + 8)
        copy_rows(y, columns, get_int(part), wide, rows, wide)
        y += 4 * wide
        part += 16


def _pack_slice(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    x, y, _ = ptrs
    columns = call.types[0].shape[-1]
    rows = call.types[0].size // columns if columns else 0
    return [x + 4 * whole(call, "first"), y, rows, columns, whole(call, "count")]


@kernel("cpu.slice_last", pack=_pack_slice)
def slice_last(p):
    """A run of the last axis."""
    x, y, rows, columns, wide = _read5(p)
    copy_rows(y, wide, x, columns, rows, wide)
