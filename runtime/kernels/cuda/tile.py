"""The skeleton of every matrix product: ``C[m, n] = sum over k of A[m, k] B[n, k]``, whatever A and B are.

A block of threads computes a tile of C. Step by step along k it copies a slab of A and one of B into shared memory (`slab`),
while it multiplies slabs that have arrived (`sums`). Where an element of A or B lies, a *loader* says: `operands.dense` reads
matrices as they are and transposed ones, a convolution brings loaders of its own that gather from images. What becomes of a sum
(a bias, a ReLU, adding it to what is there) is told by numbers of the launch.

    kernel = gemm(MEDIUM, Precision.F32, dense(is_deep=True, width=4), dense(is_deep=False, width=4))     # made once
    launches = product(kernel, cut, a, b, c, workspace, ...)                          # one, or two where k is split

A loader is a record of two device functions (`device.device_function`) and what they promise:

    begin(numbers, batch, row) -> (s0, s1, s2)        once for every row that a thread copies: what is known of it before k is
    at(numbers, s0, s1, s2, k) -> index               for every k: the element of the flat operand; -1, with `has_holes`: a zero

`row` is a row of C for A and a column of C for B; `numbers` is the tuple of 32-bit whole numbers that the launch passes for this
operand; `batch` is the block's z (the group of a convolution). Both may also be asked for rows and k a little past the problem:
they must not fail, what they answer is not used. `width` 4 says that elements come in aligned fours, along k where `is_deep`,
else along rows: `at` is asked for the first, the rest follow it in memory, a hole has all four. Extents, addresses and numbers
must then be multiples of 4 along that axis. With `width` 1 `is_deep` says which of the axes neighbouring threads take, so that
they read neighbouring memory. Arithmetic is to stay 32 bits wide: wrap it in `int32(...)`. So no operand has 2^31 elements or
more; `product` refuses them.

f32 multiplies and adds exactly (FFMA). Other precisions round operands on their way to the tensor cores and sum in f32. Operands
that are 16-bit numbers already (`halves`) are read in eights, `width` 8.
"""

# mypy: disable-error-code="no-untyped-def"

from dataclasses import replace
from functools import cache
from typing import Any

from numba import cuda, float32, int16, int32, types

from hw.kernels.cuda_gemm import GemmCut
from runtime.errors import RunError
from runtime.kernels.cuda.device import device_function
from runtime.kernels.cuda.kernel import F32, I16, DeviceKernel, Launch, Place
from runtime.kernels.cuda.operands import (
    BIAS,
    CHUNK,
    IN_ORDER,
    SIZES,
    WIDE,
    Loader,
    Precision,
    Rows,
    Tile,
)  # fmt: skip
from runtime.kernels.cuda.parts import added
from runtime.kernels.cuda.primitives import SHARED_ALIGNMENT, commit, quotient, wait
from runtime.kernels.cuda.slab import slab
from runtime.kernels.cuda.sums import sums

COPIED, STAGED = 4, 2
"""Chunks of 16 bytes along k between two meetings of a block: where slabs are copied behind the back of the registers, and where
they pass them by."""
STAGES = {Precision.F32: 2}
"""Slabs that a block holds of each operand where they are copied, if not three: one is multiplied, the others arrive. f32 is slow
enough that one is ahead of time."""
GROUP = 8
"""Rows of tiles that neighbouring blocks share, so that what they read stays in the cache."""
MOST = 2**31 - 1
"""Elements of an operand."""


def numbers(count: int) -> Any:
    """The type of a tuple of so many 32-bit whole numbers."""
    return types.UniTuple(types.int32, count)


@device_function
def _origin(rows, columns, high, broad):
    """First row and first column of the block's tile: tiles are taken in groups of rows, column by column."""
    down, beside = int32((rows + high - 1) // high), int32((columns + broad - 1) // broad)
    at = int32(cuda.blockIdx.x)
    group = quotient(at, int32(GROUP * beside))
    tall = min(int32(down - group * GROUP), int32(GROUP))
    rest = int32(at - group * GROUP * beside)
    column = quotient(rest, tall)
    return int32((group * GROUP + rest - column * tall) * high), int32(column * broad)


@cache
def gemm(
    tile: Tile,
    precision: Precision,
    a: Loader,
    b: Loader,
    *,
    is_async: bool | None = None,
    older: tuple[Loader, Loader] | None = None,
    to: Rows = IN_ORDER,
) -> DeviceKernel:
    """The kernel of a tile.

    Parameters
    ----------
    is_async : copies to shared memory pass registers by; by default where nothing has to be rounded on the way. Such a kernel has
        an older one beside it for architectures that cannot.
    older : how that one reads A and B, from the same numbers; by default as this one does.
    to : where the rows of C lie.
    """
    are_rounded = precision.is_half and a.width == b.width == CHUNK
    if is_async is None:
        is_async = are_rounded or not precision.is_half
    if is_async and precision.is_half and not are_rounded:
        raise RunError("operands are rounded on their way to shared memory: they cannot be copied there asynchronously")
    depth, stages = (COPIED if is_async else STAGED) * precision.of_chunk, STAGES.get(precision, 3) if is_async else 2
    left, right = slab(a, tile.rows, depth, tile, precision), slab(b, tile.columns, depth, tile, precision)
    summed = sums(tile, depth, precision, left, right, to.place)
    make = _asynchronous if is_async else _staged
    is_tensor, is_wide = precision is not Precision.F32, 4 in (a.width, b.width)
    wants = ["mma.sync" if is_tensor else "ld.shared.v4"]
    if is_async:
        wants += ["cp.async"]
    elif is_wide:
        wants += ["ld.global.v4"]
    if is_tensor and (precision.is_half or left.is_deep or right.is_deep):
        wants += ["ldmatrix"]
    name = f"gemm_{precision}_{tile.rows}x{tile.columns}_{a.name}_{b.name}{to.name}" + (
        "" if is_async or precision.is_half else "_plain"
    )
    has_older = is_async and precision is Precision.F32
    return DeviceKernel(
        name,
        make(tile, depth, stages, left, right, summed, int16 if precision.is_half else float32),
        (*(I16 if are_rounded else F32,) * 2, F32, F32, numbers(SIZES + to.numbers), numbers(a.numbers), numbers(b.numbers)),
        threads=tile.threads,
        least=(8, 0) if is_async or is_tensor else (7, 5),
        is_hot=True,
        wants=wants,
        older=gemm(tile, precision, *(older or (a, b)), is_async=False, to=to) if has_older else None,
    )


def retiled(cut: GemmCut, tile: Tile) -> GemmCut:
    """The cut with another tile; its parts stay."""
    return replace(cut, tile=tile.rows)


def product(
    kernel: DeviceKernel,
    cut: GemmCut,
    a: Place,
    b: Place,
    c: Place,
    workspace: Place,
    *,
    numbers_a: tuple[int, ...],
    numbers_b: tuple[int, ...],
    pitch: int,
    of_batch: int = 0,
    bias: Place | None = None,
    flags: int = 0,
    rows: tuple[int, ...] = (),
) -> list[Launch]:
    """What to launch for C: the kernel, and where k is split the sum of the parts.

    Parameters
    ----------
    kernel : of `gemm`, with the cut's tile.
    numbers_a, numbers_b : of the loaders.
    pitch, of_batch : elements from one row of C to the next, and from one batch to the next. The bias of batch i begins at ``i *
        n``.
    flags : `RELU`, `ACCUMULATE`; `BIAS` goes without saying where there is one.
    rows : numbers of the kernel's `Rows`, which lie a multiple of `pitch` apart; all 0 where sums are split.

    Raises
    ------
    RunError : an operand has more elements than 32 bits can number.
    """
    most = max(a.size, b.size, c.size, cut.workspace // 4)
    if most > MOST:
        raise RunError(f"kernel {kernel.name!r} numbers elements with 32 bits: at most {MOST} of an operand, got {most}")
    m, n, batch, area = cut.m, cut.n, cut.batch, cut.m * cut.n
    if not area * batch:
        return []
    flags |= BIAS if bias is not None else 0
    shape = (cut.tiles, cut.parts, batch)
    on_bias = (bias or c).operand
    if cut.parts == 1:
        flags |= WIDE if c.is_aligned and all(x % 4 == 0 for x in (n, pitch, of_batch)) else 0
        sizes = (m, n, cut.k, cut.chunk, pitch, of_batch, 0, flags, *rows)
        return [kernel.launch(shape, a.operand, b.operand, on_bias, c.operand, sizes, numbers_a, numbers_b)]
    if any(rows):
        raise RunError(f"kernel {kernel.name!r}: rows of parts of sums lie one after the other, got {rows}")
    parts = workspace.part(c.dtype, 0, cut.parts * batch * area).operand
    is_wide = workspace.is_aligned and n % 4 == 0
    sizes = (m, n, cut.k, cut.chunk, n, area, batch * area, WIDE if is_wide else 0, *rows)
    return [
        kernel.launch(shape, a.operand, b.operand, on_bias, parts, sizes, numbers_a, numbers_b),
        added(parts, on_bias, c, cut.parts, m, n, batch, pitch, of_batch, flags, is_aligned=workspace.is_aligned),
    ]


def _asynchronous(tile, depth, stages, left, right, summed, kind):
    both, ahead = left.size + right.size, stages - 1
    room, size, states_a, states_b, count = stages * both, left.size, left.states, right.states, summed.count
    begin_a, begin_b, copy_a, copy_b, multiply, finish = (
        left.begin,
        right.begin,
        left.copy,
        right.copy,
        summed.multiply,
        summed.finish,
    )
    high, broad, late = tile.rows, tile.columns, stages - 2

    def function(a, b, bias, c, sizes, numbers_a, numbers_b):
        shared = cuda.shared.array(room, kind, SHARED_ALIGNMENT)
        known_a, known_b = cuda.local.array(states_a, int32), cuda.local.array(states_b, int32)
        found = cuda.local.array(count, float32)
        m, n, k, chunk, _, of_batch, of_part, flags = sizes[:SIZES]
        row, column = _origin(m, n, high, broad)
        part, batch = int32(cuda.blockIdx.y), int32(cuda.blockIdx.z)
        k0 = int32(part * chunk)
        last = min(k, int32(k0 + chunk))
        begin_a(known_a, numbers_a, batch, row, m)
        begin_b(known_b, numbers_b, batch, column, n)
        for i in range(count):
            found[i] = float32(0)
        for s in range(ahead):
            at = int32(k0 + s * depth)
            if at < last:
                copy_a(known_a, shared, s * both, a, numbers_a, row, m, at, last)
                copy_b(known_b, shared, s * both + size, b, numbers_b, column, n, at, last)
            commit()
        here, there = int32(0), int32(ahead * both)
        while k0 < last:
            wait(late)
            cuda.syncthreads()
            at = int32(k0 + ahead * depth)
            if at < last:
                copy_a(known_a, shared, there, a, numbers_a, row, m, at, last)
                copy_b(known_b, shared, int32(there + size), b, numbers_b, column, n, at, last)
            commit()
            multiply(found, shared, here, int32(here + size))
            there = here
            here = int32(here + both) if here + both < room else int32(0)
            k0 = int32(k0 + depth)
        finish(found, bias, c, row, column, m, n, int32(part * of_part + batch * of_batch), sizes, int32(batch * n), flags)

    return function


def _staged(tile, depth, stages, left, right, summed, kind):
    both = left.size + right.size
    room, size, states_a, states_b, count = stages * both, left.size, left.states, right.states, summed.count
    held_a, held_b = left.held, right.held
    begin_a, begin_b, fetch_a, fetch_b, put_a, put_b = left.begin, right.begin, left.fetch, right.fetch, left.put, right.put
    multiply, finish, high, broad = summed.multiply, summed.finish, tile.rows, tile.columns

    def function(a, b, bias, c, sizes, numbers_a, numbers_b):
        shared = cuda.shared.array(room, kind, SHARED_ALIGNMENT)
        known_a, known_b = cuda.local.array(states_a, int32), cuda.local.array(states_b, int32)
        next_a, next_b = cuda.local.array(held_a, float32), cuda.local.array(held_b, float32)
        found = cuda.local.array(count, float32)
        m, n, k, chunk, _, of_batch, of_part, flags = sizes[:SIZES]
        row, column = _origin(m, n, high, broad)
        part, batch = int32(cuda.blockIdx.y), int32(cuda.blockIdx.z)
        k0 = int32(part * chunk)
        last = min(k, int32(k0 + chunk))
        begin_a(known_a, numbers_a, batch, row, m)
        begin_b(known_b, numbers_b, batch, column, n)
        for i in range(count):
            found[i] = float32(0)
        fetch_a(known_a, next_a, a, numbers_a, row, m, k0, last)
        fetch_b(known_b, next_b, b, numbers_b, column, n, k0, last)
        put_a(next_a, shared, 0)
        put_b(next_b, shared, size)
        here = int32(0)
        while k0 < last:
            cuda.syncthreads()
            k0 = int32(k0 + depth)
            if k0 < last:
                fetch_a(known_a, next_a, a, numbers_a, row, m, k0, last)
                fetch_b(known_b, next_b, b, numbers_b, column, n, k0, last)
            multiply(found, shared, here, int32(here + size))
            here = int32(both - here)
            if k0 < last:
                put_a(next_a, shared, here)
                put_b(next_b, shared, int32(here + size))
        finish(found, bias, c, row, column, m, n, int32(part * of_part + batch * of_batch), sizes, int32(batch * n), flags)

    return function
