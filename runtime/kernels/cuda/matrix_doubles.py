"""Doubles of the primitives of matrix products, bit by bit: lanes of a warp exchange what they hold through shared memory.

Every thread of the block must come along, as it does in kernels that keep to the instructions' rule for warps.
"""

# mypy: disable-error-code="no-untyped-def"

import threading

import numpy as np
from numba import cuda, float32, int32

SHARED_ALIGNMENT: int | None = None
"""The simulator aligns as NumPy does."""
_MOST, _WARP = 1024, 32


def copy4_or_zero(shared, to, array, at, is_there):
    """Copy an element, or write a zero."""
    shared[to] = array[at] if is_there else 0


def copy16_or_zero(shared, to, array, at, is_there):
    """Copy 16 bytes, or write zeros."""
    for i in range(16 // array.dtype.itemsize):
        shared[to + i] = array[at + i] if is_there else 0


def load2(array, at):
    """Two elements."""
    return array[at], array[at + 1]


def store2(array, at, a, b):
    """Write two elements."""
    array[at], array[at + 1] = a, b


def _bf16(x):
    """The bits of a number rounded to bf16."""
    bits = int(np.float32(x).view(np.uint32))
    if x != x:
        return np.uint16(0x7FFF).view(np.int16)
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).view(np.int16)


def _fp16(x):
    """The bits of a number rounded to fp16."""
    return np.float16(x).view(np.int16)


def put_bf16(shared, at, a):
    """Round a number and store it."""
    shared[at] = _bf16(a)


def put_fp16(shared, at, a):
    """Round a number and store it."""
    shared[at] = _fp16(a)


def put4_bf16(shared, at, a, b, c, d):
    """Round four numbers and store them."""
    for i, x in enumerate((a, b, c, d)):
        shared[at + i] = _bf16(x)


def put4_fp16(shared, at, a, b, c, d):
    """Round four numbers and store them."""
    for i, x in enumerate((a, b, c, d)):
        shared[at + i] = _fp16(x)


def tf32(number):
    """An f32 number, or the word that holds it, rounded to tf32, as a word; to nearest, ties to even."""
    bits = int((np.float32(number) if isinstance(number, np.floating) else np.int32(number)).view(np.uint32))
    if bits & 0x7FFFFFFF > 0x7F800000:
        return np.uint32(0x7FFFE000).view(np.int32)
    return np.uint32(bits + 0xFFF + (bits >> 13 & 1) & 0xFFFFE000).view(np.int32)


def _gathered(mine):
    """What the lanes of this warp hold, (32, words): each tells the others. There are two boards in turn, so that nobody writes
    on one that somebody still reads."""
    boards, me, thread = cuda.shared.array((2, _MOST, 6), int32), cuda.threadIdx.x, threading.current_thread()
    turn = thread.__dict__["turn"] = 1 - thread.__dict__.get("turn", 0)
    boards[turn, me, : len(mine)] = mine
    cuda.syncthreads()
    return boards[turn, me // _WARP * _WARP : (me // _WARP + 1) * _WARP, : len(mine)]


def _rows(shared, at):
    """The rows of the four matrices of a warp: (4, 8, 16 bytes)."""
    starts = _gathered([int(at)])[:, 0].reshape(4, 8)
    if (starts * shared.itemsize % 16).any():
        raise ValueError("a row of a fragment is not aligned to 16 bytes")
    of = 16 // shared.itemsize
    return np.array([[shared[r : r + of] for r in matrix] for matrix in starts])


@cuda.jit(device=True)
def fragments4(shared, at):
    """Word l % 4 of row l // 4 of each of four matrices."""
    lane = cuda.threadIdx.x % _WARP
    return tuple(_rows(shared, at)[:, lane // 4].view(np.int32)[:, lane % 4])


@cuda.jit(device=True)
def fragments4_turned(shared, at):
    """Elements 2 (l % 4) and the next of column l // 4 of each of four matrices of 16-bit numbers."""
    lane = cuda.threadIdx.x % _WARP
    turned = np.ascontiguousarray(_rows(shared, at).transpose(0, 2, 1))
    return tuple(turned[:, lane // 4].view(np.int32)[:, lane % 4])


def _tf32_of(words):
    if (words & 0x1FFF).any():
        raise ValueError("a product's operand is not rounded to tf32")
    return np.ascontiguousarray(words).view(np.float32)[..., None]


def _bf16_of(words):
    halves = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 2)
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _fp16_of(words):
    return np.ascontiguousarray(words).view(np.float16).reshape(*words.shape, 2).astype(np.float32)


def _multiplied(numbers, words, sums):
    """This lane's four sums of the product of fragments; layouts of PTX ISA's m16n8k8 and m16n8k16.

    Lane 4 g + t holds of A rows g and g + 8, of B column g, of C rows g and g + 8 and columns 2 t and the next; of k it holds, of
    a word's numbers, those from t times their count, and as many further on by four words.
    """
    held = numbers(_gathered([int(w) for w in words]))
    each = held.shape[2]
    a = held[:, :4].reshape(8, 4, 2, 2, each)  # g, t, upper k, lower row, within a word
    a = a.transpose(3, 0, 2, 1, 4).reshape(16, 8 * each)
    b = held[:, 4:].reshape(8, 4, 2, each).transpose(0, 2, 1, 3).reshape(8, 8 * each)
    lane = cuda.threadIdx.x % _WARP
    g, t = lane // 4, lane % 4
    found = a[[g, g + 8]].astype(np.float64) @ b[[2 * t, 2 * t + 1]].astype(np.float64).T
    return tuple(float32(c + float(x)) for c, x in zip(sums, found.flat, strict=True))


@cuda.jit(device=True)
def multiply_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 8 times 8 x 8."""
    return _multiplied(_tf32_of, (a0, a1, a2, a3, b0, b1), (c0, c1, c2, c3))


@cuda.jit(device=True)
def multiply_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 16 times 16 x 8."""
    return _multiplied(_bf16_of, (a0, a1, a2, a3, b0, b1), (c0, c1, c2, c3))


@cuda.jit(device=True)
def multiply_fp16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 16 times 16 x 8."""
    return _multiplied(_fp16_of, (a0, a1, a2, a3, b0, b1), (c0, c1, c2, c3))
