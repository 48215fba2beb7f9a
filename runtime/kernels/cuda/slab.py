"""Slabs: the piece of an operand that a block of threads holds in shared memory for one step along k.

Where products want columns (f32), or an operand is adjacent in memory along its rows, element (row, k) lies at ``k * stride +
row``; else, on tensor cores, at ``row * stride + k``. Strides are padded so that the lanes of a warp meet different banks.

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


@record
class Slab:
    """How a block moves slabs of an operand.

    Parameters
    ----------
    size : elements of shared memory.
    stride : elements from one row (or one k) to the next.
    is_deep : k is adjacent in shared memory, else rows are.
    states, held : what a thread keeps: numbers of its rows, and fetched elements.
    begin : (state, numbers, batch, first row, rows): fills the state.
    copy : (state, shared, to, operand, numbers, first row, rows, first k, last k): asks for the copies.
    fetch : (state, held, operand, numbers, first row, rows, first k, last k)
    put : (held, shared, to)
    """

    size: int
    stride: int
    is_deep: bool
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
    padding = {Precision.F32: 4, Precision.TF32: 4 if is_deep else 8}.get(precision, 8)
    stride = (depth if is_deep else rows) + padding
    along = (depth if loader.is_deep else rows) // loader.width
    across = tile.threads // along
    copies = rows * depth // loader.width // tile.threads
    where = _places(loader, along, across)
    return Slab(
        size=(rows if is_deep else depth) * stride,
        stride=stride,
        is_deep=is_deep,
        states=STATE * (copies if loader.is_deep else 1),
        held=copies * loader.width,
        begin=_begin(loader, where, copies),
        copy=_copy(loader, where, copies, stride, is_deep),
        fetch=_fetch(loader, where, copies),
        put=_put(loader, where, copies, stride, is_deep, precision),
    )


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


def _copy(loader, where, copies, stride, is_deep):
    width, along = loader.width, loader.is_deep == is_deep
    index = _index(loader, where)

    @device_function
    def copy(state, shared, to, operand, numbers, first, rows, k0, last):
        for i in range(copies):
            found, is_there = index(state, i, numbers, first, rows, k0, last)
            row, k = where(i)
            place = int64(int32(to + (row * stride + k if is_deep else k * stride + row)))
            if width == 1:
                copy4_or_zero(shared, place, operand, found, is_there)
            elif along:
                copy16_or_zero(shared, place, operand, found, is_there)
            else:
                for e in range(4):
                    copy4_or_zero(shared, place + e * stride, operand, int64(found) + e, is_there)

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


def _put(loader, where, copies, stride, is_deep, precision):
    width, along = loader.width, loader.is_deep == is_deep
    if precision.is_half:
        one, four = (put_bf16, put4_bf16) if precision is Precision.BF16 else (put_fp16, put4_fp16)
    else:
        one, four = _put_f32, store4

    @device_function
    def put(held, shared, to):
        for i in range(copies):
            row, k = where(i)
            place = int64(int32(to + (row * stride + k if is_deep else k * stride + row)))
            if width == 4 and along:
                four(shared, place, held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3])
            else:
                for e in range(width):
                    one(shared, place + e * stride, held[width * i + e])

    return put


@device_function
def _put_f32(shared, at, x):
    shared[uint64(at)] = x
