"""Values side by side along the last axis, and a run of it: rows are copied, four elements at once where all of them allow it."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from typing import Any

from numba import cuda

from hw.kernels.record import Call
from runtime.kernels.cuda.flat import MOST_BLOCKS, WIDE
from runtime.kernels.cuda.kernel import F32, VECTOR, WHOLE, DeviceKernel, Launch, Operand, Place, cuda_kernel
from runtime.kernels.cuda.primitives import load4, quotient, store4


def _rows(x, y, wide, x_step, y_step, n):
    i = cuda.grid(1)
    if i < n:
        row = quotient(i, wide)
        column = i - row * wide
        y[row * y_step + column] = x[row * x_step + column]


def _rows4(x, y, wide, x_step, y_step, n):
    i = cuda.grid(1)
    if i < n:
        row = quotient(i, wide)
        column = i - row * wide
        a, b, c, d = load4(x, 4 * (row * x_step + column))
        store4(y, 4 * (row * y_step + column), a, b, c, d)


_TYPES = (F32, F32, WHOLE, WHOLE, WHOLE, WHOLE)
ROWS = DeviceKernel("copy_rows", _rows, _TYPES)
ROWS4 = DeviceKernel("copy_rows_4", _rows4, _TYPES, is_hot=True, wants=WIDE)


def _copy(x: Place, x_first: int, x_step: int, y: Place, y_first: int, y_step: int, wide: int) -> list[Launch]:
    """Columns of rows that lie so many elements apart; each from a first one on, so many of each row."""
    if not (wide and x.size and y.size):
        return []
    rows = x.size // x_step
    operands = [Operand(index=p.index, dtype=p.dtype, first=k, size=p.size - k) for p, k in ((x, x_first), (y, y_first))]
    starts = (p.address + k * p.dtype.itemsize for p, k in ((x, x_first), (y, y_first)))
    extents = (wide, x_step, y_step, rows * wide)
    if not any(n % 4 for n in extents) and not any(at % VECTOR for at in starts):
        return [ROWS4.over(rows * wide // 4, *operands, *(n // 4 for n in extents), most=MOST_BLOCKS)]
    return [ROWS.over(rows * wide, *operands, *extents, most=MOST_BLOCKS)]


@cuda_kernel("cuda.concat", kernels=(ROWS, ROWS4))
def concat(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Part by part."""
    parts = [t.shape[-1] for t in call.types]
    y, columns, first, found = places[len(parts)], sum(parts), 0, []
    for x, wide in zip(places, parts):
        found += _copy(x, 0, wide, y, first, columns, wide)
        first += wide
    return found


@cuda_kernel("cuda.slice_last", kernels=(ROWS, ROWS4))
def slice_last(call: Call, places: Sequence[Place]) -> list[Launch]:
    """A run of the last axis."""
    attrs: Any = call.attrs
    x, y = places[:2]
    return _copy(x, attrs["first"], call.types[0].shape[-1], y, 0, attrs["count"], attrs["count"])
