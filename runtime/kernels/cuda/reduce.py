"""The bias, its gradient, and the sum of products."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable, Sequence

from numba import cuda, float32

from hw.kernels.cuda_sums import THREADS, column_parts, rows_of_part, sum_parts
from hw.kernels.record import Call
from runtime.kernels.cuda.column_sums import COLUMN_SUMS, TOTAL, first_stage, scratch, second_stage, total
from runtime.kernels.cuda.kernel import F32, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import SCRATCH, block_sum
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS, standing, sweep, wide_access


def _add_bias(each: int) -> Callable[..., None]:
    fetch, put, two = FETCH[each], PUT[each], 2 * each

    def add_bias(x, b, y, rows, columns, wide):
        row, tall, c = standing(wide, each)
        if row >= tall or c >= columns:
            return
        bias, v = cuda.local.array(each, float32), cuda.local.array(two, float32)
        for j in range(each):
            bias[j] = b[c + j]
        r, step = cuda.blockIdx.y * tall + row, cuda.gridDim.y * tall
        while r < rows:
            more = r + step < rows
            fetch(x, r * columns + c, v, 0)
            if more:
                fetch(x, (r + step) * columns + c, v, each)
            for j in range(each):
                v[j] += bias[j]
                v[each + j] += bias[j]
            put(y, r * columns + c, v, 0)
            if more:
                put(y, (r + step) * columns + c, v, each)
            r += 2 * step

    return add_bias


ADD_BIAS = {
    each: DeviceKernel(
        f"add_bias_{each}",
        _add_bias(each),
        (F32, F32, F32, WHOLE, WHOLE, WHOLE),
        threads=THREADS,
        is_hot=True,
        wants=("ld.global.v4", "st.global.v4") if each == 4 else (),
    )
    for each in WIDTHS
}


@cuda_kernel("cuda.add_bias", kernels=ADD_BIAS.values())
def add_bias(call: Call, places: Sequence[Place]) -> list[Launch]:
    """x + b along the last axis: a thread keeps its bias and walks down the rows."""
    x, b, y = places[:3]
    if not x.size:
        return []
    rows, each = x.size // b.size, wide_access(b.size, (x, y))
    grid, wide = sweep(rows, b.size, each)
    return [ADD_BIAS[each].launch(grid, x.operand, b.operand, y.operand, rows, b.size, wide)]


@cuda_kernel("cuda.bias_grad", kernels=COLUMN_SUMS.values())
def bias_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Sums over all axes but the last; of no rows it is 0."""
    dy, db, workspace = places[:3]
    columns = db.size
    if not columns:
        return []
    rows, each = dy.size // columns, wide_access(columns, (dy,))
    part, parts = rows_of_part(rows, columns), column_parts(rows, columns)
    grid, wide = first_stage(columns, each, parts)
    if parts == 1:
        return [COLUMN_SUMS[each].launch(grid, dy.operand, db.operand, rows, columns, part, wide)]
    between = scratch(workspace, parts * columns)
    last, narrow = second_stage(columns)
    return [
        COLUMN_SUMS[each].launch(grid, dy.operand, between, rows, columns, part, wide),
        COLUMN_SUMS[1].launch(last, between, db.operand, parts, columns, parts, narrow),
    ]


def _dot(each: int) -> Callable[..., None]:
    fetch = FETCH[each]

    def dot(x, y, to, n):
        shared = cuda.shared.array(SCRATCH, float32)
        a, b, s = cuda.local.array(each, float32), cuda.local.array(each, float32), cuda.local.array(each, float32)
        for j in range(each):
            s[j] = 0
        i, step = cuda.grid(1) * each, cuda.gridsize(1) * each
        while i < n:
            fetch(x, i, a, 0)
            fetch(y, i, b, 0)
            for j in range(each):
                s[j] += a[j] * b[j]
            i += step
        for j in range(1, each):
            s[0] += s[j]
        found = block_sum(s[0], shared)
        if cuda.threadIdx.x == 0:
            to[cuda.blockIdx.x] = found

    return dot


DOT = {
    each: DeviceKernel(
        f"dot_{each}",
        _dot(each),
        (F32, F32, F32, WHOLE),
        threads=THREADS,
        is_hot=True,
        wants=("shfl.sync", "ld.global.v4") if each == 4 else ("shfl.sync",),
    )
    for each in WIDTHS
}


@cuda_kernel("cuda.dot", kernels=(*DOT.values(), TOTAL))
def dot(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The sum of all products; of nothing it is 0."""
    x, y, to, workspace = places[:4]
    each, parts = wide_access(x.size, (x, y)), sum_parts(x.size)
    if parts == 1:
        return [DOT[each].launch(1, x.operand, y.operand, to.operand, x.size)]
    between = scratch(workspace, parts)
    return [DOT[each].launch(parts, x.operand, y.operand, between, x.size), total(between, to.operand)]
