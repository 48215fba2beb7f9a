"""Batch normalization: one pass over the images for the statistics, one more for the result.

Means and squares about them are taken of four rows at a time, in registers, and merged pair by pair (Chan, Golub and LeVeque,
"Updating formulae and a pairwise algorithm for computing sample variances", 1979). All of it counts from the channel's first
value: so means are near 0 however far from 0 the images are, and lose no digits; where the first value is far from all others,
merging still never takes the square of a value that is not centred. The order of merging depends on the problem only.
"""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Callable, Sequence

from numba import cuda, float32

from graph.ops.common import number
from hw.kernels.cuda_sums import THREADS, column_parts, rows_of_part
from hw.kernels.record import Call
from runtime.kernels.cuda.column_sums import first_stage, folding, scratch, second_stage
from runtime.kernels.cuda.kernel import F32, NUMBER, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS, standing, sweep, wide_access


@cuda.jit(device=True, inline="always")
def _rstd(variance, epsilon):
    return float32(1) / math.sqrt(variance + epsilon)


@cuda.jit(device=True, inline="always")
def _merge(mean, square, k, weight, n, other, others_square):
    """Take in values with their mean and squares about it; `weight` is their share of all, `n` how many there are already."""
    apart = other - mean[k]
    mean[k] += apart * weight
    square[k] += others_square + apart * apart * (n * weight)


def _folding(each: int) -> Callable[..., None]:
    """A device function: the statistics of all threads of a column end in its thread of the first row.

    ``numbers``, ``means``, ``squares`` are shared, one number and `each` of the others for every thread.
    """

    @cuda.jit(device=True, inline="always")
    def fold(n, mean, square, numbers, means, squares, row, tall, wide):
        me = cuda.threadIdx.x
        numbers[me] = n
        for j in range(each):
            means[j * THREADS + me] = mean[j]
            squares[j * THREADS + me] = square[j]
        cuda.syncthreads()
        rest = tall
        while rest > 1:
            half = (rest + 1) // 2
            more = float32(0)
            if row + half < rest:
                more = numbers[me + half * wide]
            if more > 0:
                n = numbers[me]
                weight = more / (n + more)
                for j in range(each):
                    at = j * THREADS + me
                    _merge(means, squares, at, weight, n, means[at + half * wide], squares[at + half * wide])
                numbers[me] = n + more
            cuda.syncthreads()
            rest = half
        for j in range(each):
            mean[j] = means[j * THREADS + me]
            square[j] = squares[j * THREADS + me]

    return fold  # type: ignore[no-any-return]


def _moments(each: int) -> Callable[..., None]:
    fetch, fold, four, space = FETCH[each], _folding(each), 4 * each, each * THREADS

    def moments(x, to_mean, to_square, rows, columns, part, wide, is_last):
        """Of every part of the rows: the mean, less the first row, and squares about it; of the last one: mean and variance."""
        row, tall, c = standing(wide, each)
        numbers = cuda.shared.array(THREADS, float32)  # a line each, since the simulator tells them apart by their lines
        means = cuda.shared.array(space, float32)
        squares = cuda.shared.array(space, float32)
        v, base = cuda.local.array(four, float32), cuda.local.array(each, float32)
        mean, square = cuda.local.array(each, float32), cuda.local.array(each, float32)
        for j in range(each):
            mean[j], square[j], base[j] = 0, 0, 0
        n = float32(0)
        r, last = cuda.blockIdx.y * part + row, min((cuda.blockIdx.y + 1) * part, rows)
        if row < tall and c < columns:
            fetch(x, c, base, 0)
            while r + 3 * tall < last:
                for k in range(4):
                    fetch(x, (r + k * tall) * columns + c, v, k * each)
                weight = float32(4) / (n + float32(4))
                for j in range(each):
                    for k in range(4):
                        v[k * each + j] -= base[j]
                    middle = ((v[j] + v[each + j]) + (v[2 * each + j] + v[3 * each + j])) * float32(0.25)
                    own = float32(0)
                    for k in range(4):
                        own += (v[k * each + j] - middle) * (v[k * each + j] - middle)
                    _merge(mean, square, j, weight, n, middle, own)
                n += float32(4)
                r += 4 * tall
            while r < last:
                fetch(x, r * columns + c, v, 0)
                weight = float32(1) / (n + float32(1))
                for j in range(each):
                    _merge(mean, square, j, weight, n, v[j] - base[j], float32(0))
                n += float32(1)
                r += tall
        fold(n, mean, square, numbers, means, squares, row, tall, wide)
        if row == 0 and c < columns:
            for j in range(each):
                to_mean[cuda.blockIdx.y * columns + c + j] = base[j] + mean[j] if is_last else mean[j]
                to_square[cuda.blockIdx.y * columns + c + j] = square[j] / float32(rows) if is_last else square[j]

    return moments


def _merged() -> Callable[..., None]:
    fold = _folding(1)

    def merged(x, from_mean, from_square, mean, variance, rows, columns, part, parts, wide):
        """The statistics of all parts, of `part` rows each, the last one of what is left."""
        row, tall, c = standing(wide, 1)
        numbers = cuda.shared.array(THREADS, float32)  # a line each, as above
        means = cuda.shared.array(THREADS, float32)
        squares = cuda.shared.array(THREADS, float32)
        middle, square = cuda.local.array(1, float32), cuda.local.array(1, float32)
        middle[0], square[0], n = 0, 0, float32(0)
        if row < tall and c < columns:
            p = row
            while p < parts:
                more = float32(min(part, rows - p * part))
                _merge(middle, square, 0, more / (n + more), n, from_mean[p * columns + c], from_square[p * columns + c])
                n += more
                p += tall
        fold(n, middle, square, numbers, means, squares, row, tall, wide)
        if row == 0 and c < columns:
            mean[c] = x[c] + middle[0]
            variance[c] = square[0] / float32(rows)

    return merged


def _normalized(each: int) -> Callable[..., None]:
    fetch, put, two = FETCH[each], PUT[each], 2 * each

    def normalized(x, scale, shift, mean, variance, y, rows, columns, wide, epsilon):
        """A thread keeps what it needs of its channels and walks down the rows."""
        row, tall, c = standing(wide, each)
        if row >= tall or c >= columns:
            return
        v, factor = cuda.local.array(two, float32), cuda.local.array(each, float32)
        centre, above = cuda.local.array(each, float32), cuda.local.array(each, float32)
        for j in range(each):
            factor[j] = scale[c + j] * _rstd(variance[c + j], epsilon)
            centre[j], above[j] = mean[c + j], shift[c + j]
        r, step = cuda.blockIdx.y * tall + row, cuda.gridDim.y * tall
        while r < rows:
            more = r + step < rows
            fetch(x, r * columns + c, v, 0)
            if more:
                fetch(x, (r + step) * columns + c, v, each)
            for j in range(each):
                v[j] = (v[j] - centre[j]) * factor[j] + above[j]
                v[each + j] = (v[each + j] - centre[j]) * factor[j] + above[j]
            put(y, r * columns + c, v, 0)
            if more:
                put(y, (r + step) * columns + c, v, each)
            r += 2 * step

    return normalized


def _gradient_sums(each: int) -> Callable[..., None]:
    fetch, fold, two, space = FETCH[each], folding(2 * each), 2 * each, 2 * each * THREADS

    def gradient_sums(dy, x, mean, variance, to_scale, to_shift, rows, columns, part, wide, epsilon, is_last):
        """Of every part of the rows: the sum of dy * (x - mean), times 1 / deviation when it is the last, and that of dy."""
        row, tall, c = standing(wide, each)
        shared = cuda.shared.array(space, float32)
        g, v = cuda.local.array(two, float32), cuda.local.array(two, float32)
        centre, sums = cuda.local.array(each, float32), cuda.local.array(two, float32)
        for j in range(two):
            sums[j] = 0
        r, last = cuda.blockIdx.y * part + row, min((cuda.blockIdx.y + 1) * part, rows)
        if row < tall and c < columns:
            for j in range(each):
                centre[j] = mean[c + j]
            while r + tall < last:
                for k in range(2):
                    fetch(dy, (r + k * tall) * columns + c, g, k * each)
                    fetch(x, (r + k * tall) * columns + c, v, k * each)
                for j in range(each):
                    sums[j] += g[j] * (v[j] - centre[j]) + g[each + j] * (v[each + j] - centre[j])
                    sums[each + j] += g[j] + g[each + j]
                r += 2 * tall
            if r < last:
                fetch(dy, r * columns + c, g, 0)
                fetch(x, r * columns + c, v, 0)
                for j in range(each):
                    sums[j] += g[j] * (v[j] - centre[j])
                    sums[each + j] += g[j]
        fold(sums, shared, row, tall, wide)
        if row == 0 and c < columns:
            for j in range(each):
                factor = float32(1)
                if is_last:
                    factor = _rstd(variance[c + j], epsilon)
                to_scale[cuda.blockIdx.y * columns + c + j] = sums[j] * factor
                to_shift[cuda.blockIdx.y * columns + c + j] = sums[each + j]

    return gradient_sums


def _gradient_total() -> Callable[..., None]:
    fold, space = folding(2), 2 * THREADS

    def gradient_total(from_scale, from_shift, variance, dscale, dshift, columns, parts, wide, epsilon):
        row, tall, c = standing(wide, 1)
        shared, sums = cuda.shared.array(space, float32), cuda.local.array(2, float32)
        sums[0], sums[1] = 0, 0
        if row < tall and c < columns:
            p = row
            while p < parts:
                sums[0] += from_scale[p * columns + c]
                sums[1] += from_shift[p * columns + c]
                p += tall
        fold(sums, shared, row, tall, wide)
        if row == 0 and c < columns:
            dscale[c] = sums[0] * _rstd(variance[c], epsilon)
            dshift[c] = sums[1]

    return gradient_total


def _gradient(each: int) -> Callable[..., None]:
    fetch, put, two = FETCH[each], PUT[each], 2 * each

    def gradient(dy, x, scale, mean, variance, dscale, dshift, dx, rows, columns, wide, epsilon):
        """``dx = (dy - dshift / n - (x - mean) * dscale * rstd / n) * scale * rstd`` with ``rstd = 1 / deviation``"""
        row, tall, c = standing(wide, each)
        if row >= tall or c >= columns:
            return
        g, v, factor = cuda.local.array(two, float32), cuda.local.array(two, float32), cuda.local.array(each, float32)
        centre, slope = cuda.local.array(each, float32), cuda.local.array(each, float32)
        level = cuda.local.array(each, float32)
        for j in range(each):
            rstd = _rstd(variance[c + j], epsilon)
            factor[j], slope[j] = scale[c + j] * rstd, dscale[c + j] * rstd / float32(rows)
            centre[j], level[j] = mean[c + j], dshift[c + j] / float32(rows)
        r, step = cuda.blockIdx.y * tall + row, cuda.gridDim.y * tall
        while r < rows:
            more = r + step < rows
            fetch(dy, r * columns + c, g, 0)
            fetch(x, r * columns + c, v, 0)
            if more:
                fetch(dy, (r + step) * columns + c, g, each)
                fetch(x, (r + step) * columns + c, v, each)
            for j in range(each):
                g[j] = (g[j] - level[j] - (v[j] - centre[j]) * slope[j]) * factor[j]
                g[each + j] = (g[each + j] - level[j] - (v[each + j] - centre[j]) * slope[j]) * factor[j]
            put(dx, r * columns + c, g, 0)
            if more:
                put(dx, (r + step) * columns + c, g, each)
            r += 2 * step

    return gradient


def _kernels(
    name: str, make: Callable[[int], Callable[..., None]], types: tuple[object, ...], writes: bool
) -> dict[int, DeviceKernel]:
    wants = ("ld.global.v4", "st.global.v4") if writes else ("ld.global.v4",)
    return {
        each: DeviceKernel(f"{name}_{each}", make(each), types, threads=THREADS, is_hot=True, wants=wants if each == 4 else ())
        for each in WIDTHS
    }


MOMENTS = _kernels("moments", _moments, (F32,) * 3 + (WHOLE,) * 5, False)
MERGED = DeviceKernel("moments_merged", _merged(), (F32,) * 5 + (WHOLE,) * 5, threads=THREADS)
NORMALIZED = _kernels("normalized", _normalized, (F32,) * 6 + (WHOLE,) * 3 + (NUMBER,), True)
GRADIENT_SUMS = _kernels("batch_norm_sums", _gradient_sums, (F32,) * 6 + (WHOLE,) * 4 + (NUMBER, WHOLE), False)
GRADIENT_TOTAL = DeviceKernel("batch_norm_total", _gradient_total(), (F32,) * 5 + (WHOLE,) * 3 + (NUMBER,), threads=THREADS)
GRADIENT = _kernels("batch_norm_grad", _gradient, (F32,) * 8 + (WHOLE,) * 3 + (NUMBER,), True)


def _normalize(places: Sequence[Place], rows: int, columns: int, epsilon: float) -> Launch:
    """Places: x, scale, shift, mean, variance, y."""
    each = wide_access(columns, (places[0], places[5]))
    grid, wide = sweep(rows, columns, each)
    return NORMALIZED[each].launch(grid, *(p.operand for p in places), rows, columns, wide, epsilon)


@cuda_kernel("cuda.batch_norm", kernels=(*MOMENTS.values(), MERGED, *NORMALIZED.values()))
def batch_norm(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Statistics of parts of the rows, merged, then the result; of a single part the statistics are done at once."""
    x, scale, shift, y, mean, variance, workspace = places
    columns = mean.size
    if not columns:
        return []
    rows, each = x.size // columns, wide_access(columns, (x,))
    part, parts = rows_of_part(rows, columns), column_parts(rows, columns)
    grid, wide = first_stage(columns, each, parts)
    last = _normalize((x, scale, shift, mean, variance, y), rows, columns, number("batch_norm", call.attrs, "epsilon"))
    if parts == 1:
        own = MOMENTS[each].launch(grid, x.operand, mean.operand, variance.operand, rows, columns, part, wide, 1)
        return [own, last]
    size = parts * columns
    between = scratch(workspace, size), scratch(workspace, size, size)
    first = MOMENTS[each].launch(grid, x.operand, *between, rows, columns, part, wide, 0)
    grid, wide = second_stage(columns)
    return [
        first,
        MERGED.launch(grid, x.operand, *between, mean.operand, variance.operand, rows, columns, part, parts, wide),
        last,
    ]


@cuda_kernel("cuda.batch_norm_inference", kernels=NORMALIZED.values())
def batch_norm_inference(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The result, with statistics that are given."""
    x, columns = places[0], places[1].size
    if not x.size:
        return []
    return [_normalize(places[:6], x.size // columns, columns, number("batch_norm_inference", call.attrs, "epsilon"))]


@cuda_kernel("cuda.batch_norm_grad", kernels=(*GRADIENT_SUMS.values(), GRADIENT_TOTAL, *GRADIENT.values()))
def batch_norm_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """The two sums, in parts and together, then the gradient of x."""
    dy, x, scale, mean, variance, dx, dscale, dshift, workspace = places
    columns, epsilon = scale.size, number("batch_norm_grad", call.attrs, "epsilon")
    if not columns:
        return []
    rows, each = x.size // columns, wide_access(columns, (dy, x))
    part, parts = rows_of_part(rows, columns), column_parts(rows, columns)
    grid, wide = first_stage(columns, each, parts)
    size = parts * columns
    totals = dscale.operand, dshift.operand
    sums = totals if parts == 1 else (scratch(workspace, size), scratch(workspace, size, size))
    given = dy.operand, x.operand, mean.operand, variance.operand
    launches = [GRADIENT_SUMS[each].launch(grid, *given, *sums, rows, columns, part, wide, epsilon, int(parts == 1))]
    if parts > 1:
        grid, wide = second_stage(columns)
        launches.append(GRADIENT_TOTAL.launch(grid, *sums, variance.operand, *totals, columns, parts, wide, epsilon))
    each = wide_access(columns, (dy, x, dx))
    grid, wide = sweep(rows, columns, each)
    images, channels = (dy.operand, x.operand), (scale.operand, mean.operand, variance.operand)
    launches.append(GRADIENT[each].launch(grid, *images, *channels, *totals, dx.operand, rows, columns, wide, epsilon))
    return launches
