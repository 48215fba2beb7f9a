"""Slabs: the piece of an operand that a block of threads holds in shared memory for one step along k.

f32: columns of the operand lie one after the other, element (row, k) at ``k * stride + row``; the stride is padded, so that
threads that write along k meet different banks. Tensor cores: as the operand lies in memory, adjacent along k or along rows, in
chunks of 16 bytes. In every line of chunks they are exchanged, chunk c is at c xor something of the line, so that the eight
chunks of eight lines that a warp reads at once lie in different banks; nothing is padded.

A slab is copied behind the back of the registers (`copy`, architecture 8.0), or fetched into registers early (`fetch`) and
stored, rounded, late (`put`).
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda, float32, int32, int64, uint32, uint64

from graph.record import record
from runtime.kernels.cuda.device import device_function
from runtime.kernels.cuda.operands import Loader, Precision, Tile
from runtime.kernels.cuda.primitives import (
    copy4_or_zero,
    copy16_or_zero,
    load4,
    put4_bf16,
    put4_fp16,
    put_bf16,
    put_fp16,
    store4,
)

STATE = 3
"""Numbers that a loader knows of a row."""
PADDING = 4
"""Elements between columns of f32."""
BANKS = 8
"""Chunks that lie in different banks."""


@record
class Slab:
    """How a block moves slabs of an operand.

    Parameters
    ----------
    size : elements of shared memory.
    line : elements from one row (or one k) to the next.
    is_deep : k is adjacent in shared memory, else rows are.
    place : device function: (row, k) -> element, from where the slab begins.
    states, held : what a thread keeps: numbers of its rows, and fetched elements.
    begin : (state, numbers, batch, first row, rows): fills the state.
    copy : (state, shared, to, operand, numbers, first row, rows, first k, last k): asks for the copies.
    fetch : (state, held, operand, numbers, first row, rows, first k, last k)
    put : (held, shared, to)
    """

    size: int
    line: int
    is_deep: bool
    place: Callable[..., Any]
    states: int
    held: int
    begin: Callable[..., Any]
    copy: Callable[..., Any]
    fetch: Callable[..., Any]
    put: Callable[..., Any]


@cache
def slab(loader: Loader, rows: int, depth: int, tile: Tile, precision: Precision) -> Slab:
    """Slabs of so many rows and steps of k of an operand."""
    is_deep = loader.is_deep and precision is not Precision.F32
    along = (depth if loader.is_deep else rows) // loader.width
    across = tile.threads // along
    copies = rows * depth // loader.width // tile.threads
    where = _places(loader, along, across)
    line = depth if is_deep else rows + (PADDING if precision is Precision.F32 else 0)
    place = _columns(line) if precision is Precision.F32 else _chunks(line, is_deep, precision)
    return Slab(
        size=(rows if is_deep else depth) * line,
        line=line,
        is_deep=is_deep,
        place=place,
        states=STATE * (copies if loader.is_deep else 1),
        held=copies * loader.width,
        begin=_begin(loader, where, copies),
        copy=_copy(loader, where, copies, place, is_deep),
        fetch=_fetch(loader, where, copies),
        put=_put(loader, where, copies, place, is_deep, precision),
    )


@cache
def _columns(line):
    @device_function
    def place(row, k):
        return int32(k * line + row)

    return place


@cache
def _chunks(line, is_deep, precision):
    """Chunk c of line i is at ``c xor exchange(i)``.

    Lines along k are read eight at a time, and so are those of 16-bit numbers along rows: where there are n < 8 chunks in a line,
    8 / n lines meet all banks. Of lines of words along rows a warp reads two neighbouring chunks of four lines.
    """
    each = precision.of_chunk
    chunks = line // each
    lines, factor = (1, 2) if not (is_deep or precision.is_half) else (max(BANKS // chunks, 1), 1)
    most = min(chunks, BANKS)

    @device_function
    def place(row, k):
        i, x = (row, k) if is_deep else (k, row)
        return int32(i * line + (x // each ^ i // lines * factor % most) * each + x % each)

    return place


def _places(loader, along, across):
    """(copy of a thread) -> the row and the k of its first element, within the slab."""
    deep, width = loader.is_deep, loader.width

    @device_function
    def where(i):
        t = cuda.threadIdx.x
        first, other = int32(t % along * width), int32(t // along + i * across)
        if deep:
            return other, first
        return first, other

    return where


def _begin(loader, where, copies):
    known, several = loader.begin, copies if loader.is_deep else 1

    @device_function
    def begin(state, numbers, batch, first, rows):
        for i in range(several):
            row, _ = where(i)
            s0, s1, s2 = known(numbers, batch, int32(first + row))
            state[STATE * i], state[STATE * i + 1], state[STATE * i + 2] = s0, s1, s2

    return begin


def _index(loader, where):
    """(state, copy, ...) -> index of the first element, whether it is there."""
    deep, holes, at = loader.is_deep, loader.has_holes, loader.at

    @device_function
    def index(state, i, numbers, first, rows, k0, last):
        row, k = where(i)
        s = STATE * i if deep else 0
        found = at(numbers, state[s], state[s + 1], state[s + 2], int32(k0 + k))
        is_there = (int32(first + row) < rows) & (int32(k0 + k) < last)
        if holes:
            is_there = is_there & (found >= 0)
        return found if is_there else int32(0), is_there

    return index


def _copy(loader, where, copies, place, is_deep):
    width, along = loader.width, loader.is_deep == is_deep
    index = _index(loader, where)

    @device_function
    def copy(state, shared, to, operand, numbers, first, rows, k0, last):
        for i in range(copies):
            found, is_there = index(state, i, numbers, first, rows, k0, last)
            row, k = where(i)
            if width == 1:
                copy4_or_zero(shared, int64(int32(to + place(row, k))), operand, found, is_there)
            elif along:
                copy16_or_zero(shared, int64(int32(to + place(row, k))), operand, found, is_there)
            else:
                for e in range(4):
                    copy4_or_zero(shared, int64(int32(to + place(row, k + e))), operand, int64(found) + e, is_there)

    return copy


def _fetch(loader, where, copies):
    width = loader.width
    index = _index(loader, where)

    @device_function
    def fetch(state, held, operand, numbers, first, rows, k0, last):
        for i in range(copies):
            found, is_there = index(state, i, numbers, first, rows, k0, last)
            for e in range(width):
                held[width * i + e] = float32(0)
            if is_there:
                if width == 4:
                    held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3] = load4(operand, found)
                else:
                    held[i] = operand[uint32(found)]

    return fetch


def _put(loader, where, copies, place, is_deep, precision):
    width, along = loader.width, loader.is_deep == is_deep
    if precision.is_half:
        one, four = (put_bf16, put4_bf16) if precision is Precision.BF16 else (put_fp16, put4_fp16)
    else:
        one, four = _put_f32, store4

    @device_function
    def put(held, shared, to):
        for i in range(copies):
            row, k = where(i)
            if width == 4 and along:
                at = int64(int32(to + place(row, k)))
                four(shared, at, held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3])
            else:
                for e in range(width):
                    one(shared, int64(int32(to + place(row, k + e))), held[width * i + e])

    return put


@device_function
def _put_f32(shared, at, x):
    shared[uint64(at)] = x
