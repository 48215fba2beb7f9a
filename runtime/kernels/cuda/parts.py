"""Adding up the parts of sums whose k is split: in their order, with what becomes of a sum."""

# mypy: disable-error-code="no-untyped-def"

from numba import cuda, float32, types

from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Operand, Place
from runtime.kernels.cuda.operands import ACCUMULATE, BIAS, RELU


def _added(parts, bias, c, numbers):
    count, area, n, batch, pitch, of_batch, flags = numbers
    for i in range(cuda.grid(1), batch * area, cuda.gridsize(1)):
        x = float32(0)
        for p in range(count):
            x += parts[p * batch * area + i]
        z, y, column = i // area, i % area // n, i % n
        if flags & BIAS:
            x += bias[z * n + column]
        if flags & RELU and x < float32(0):
            x = float32(0)
        at = z * of_batch + y * pitch + column
        if flags & ACCUMULATE:
            x += c[at]
        c[at] = x


ADDED = DeviceKernel("parts_added", _added, (F32, F32, F32, types.UniTuple(WHOLE, 7)), is_hot=True)


def added(
    parts: Operand, bias: Operand, c: Place, count: int, m: int, n: int, batch: int, pitch: int, of_batch: int, flags: int
) -> Launch:
    """C from so many parts of ``batch * m * n`` sums each; see `runtime.kernels.cuda.tile.product` for the rest."""
    return ADDED.over(batch * m * n, parts, bias, c.operand, (count, m * n, n, batch, pitch, of_batch, flags))
