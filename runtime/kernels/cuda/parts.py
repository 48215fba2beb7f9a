"""Adding up the parts of sums whose k is split: in their order, with what becomes of a sum."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable

from numba import cuda, float32, types

from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Operand, Place
from runtime.kernels.cuda.operands import ACCUMULATE
from runtime.kernels.cuda.primitives import quotient
from runtime.kernels.cuda.sums import finished
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS

AHEAD = 4
"""Parts that a thread reads before it adds them up."""
MOST_BLOCKS = 2**31 - 1


def _added(width: int) -> Callable[..., None]:
    fetch, put, room = FETCH[width], PUT[width], AHEAD * width

    def function(parts, bias, c, numbers):
        count, area, n, batch, pitch, of_batch, flags = numbers
        whole, at = batch * area, width * cuda.grid(1)
        if at >= whole:
            return
        sums, held = cuda.local.array(width, float32), cuda.local.array(room, float32)
        for e in range(width):
            sums[e] = float32(0)
        p = 0
        while p + (AHEAD - 1) < count:
            for i in range(AHEAD):
                fetch(parts, (p + i) * whole + at, held, i * width)
            for i in range(AHEAD):
                for e in range(width):
                    sums[e] += held[i * width + e]
            p += AHEAD
        while p < count:
            fetch(parts, p * whole + at, held, 0)
            for e in range(width):
                sums[e] += held[e]
            p += 1
        z = quotient(at, area)
        y = quotient(at - z * area, n)
        column = at - z * area - y * n
        to = z * of_batch + y * pitch + column
        for e in range(width):
            sums[e] = finished(sums[e], bias, z * n + column + e, flags)
        if flags & ACCUMULATE:
            fetch(c, to, held, 0)
            for e in range(width):
                sums[e] += held[e]
        put(c, to, sums, 0)

    return function


def _kernel(width: int) -> DeviceKernel:
    wants = ("ld.global.v4", "st.global.v4") if width == 4 else ()
    return DeviceKernel(
        f"parts_added_{width}", _added(width), (F32, F32, F32, types.UniTuple(WHOLE, 7)), is_hot=True, wants=wants
    )


ADDED = {width: _kernel(width) for width in WIDTHS}
"""Elements of a thread -> the kernel."""


def added(
    parts: Operand, bias: Operand, c: Place, count: int, m: int, n: int, batch: int, pitch: int, of_batch: int, flags: int, *,
    is_aligned: bool,
) -> Launch:  # fmt: skip
    """C from so many parts of ``batch * m * n`` sums each, which are aligned or not; see `runtime.kernels.cuda.tile.product` for
    the rest."""
    width = 4 if is_aligned and c.is_aligned and all(x % 4 == 0 for x in (n, pitch, of_batch)) else 1
    numbers = (count, m * n, n, batch, pitch, of_batch, flags)
    return ADDED[width].over(batch * m * n, parts, bias, c.operand, numbers, each=width, most=MOST_BLOCKS)
