"""Kernels that go over flat arrays element by element: what they share.

Each computation has two kernels. The wide one has threads that handle four elements with 128-bit accesses; those before the first
boundary of 128 bits and after the last one are done singly, so that any number of elements will do. It serves where all operands
lie equally far from a boundary, which those of one layout do even when they are packed; the plain one serves everywhere.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable, Sequence
from typing import Any

from numba import cuda

from graph.record import record
from graph.tensor_type import DType
from runtime.kernels.cuda.kernel import F32, I32, NUMBER, SIMULATED, U8, WHOLE, Argument, DeviceKernel, Launch, Operand, Place
from runtime.kernels.cuda.primitives import load4, store4

WIDE = ("ld.global.v4", "st.global.v4")
WORD = 4
MOST_BLOCKS = 2**31 - 1
"""Of a grid along its first axis."""
Function = Callable[..., Any]


def inlined(f: Function) -> Function:
    """Decorator: a function of numbers that kernels call."""
    return f if SIMULATED else cuda.jit(device=True, inline="always")(f)


def head_of(places: Sequence[Place]) -> int | None:
    """Elements (of 4 bytes or less) before the first four that can be accessed at once; None: places differ in that."""
    heads = {-p.address % (4 * p.dtype.itemsize) / p.dtype.itemsize for p in places}
    head = heads.pop()
    return int(head) if not heads and head.is_integer() else None


@record
class Flat:
    """A computation of an element: its two kernels.

    Parameters
    ----------
    plain : takes arrays, numbers and how many elements there are.
    wide : takes also how many there are before the first boundary.
    each : elements that a thread of the wide one handles.
    """

    plain: DeviceKernel
    wide: DeviceKernel
    each: int = 4

    @property
    def kernels(self) -> tuple[DeviceKernel, DeviceKernel]:
        """Both."""
        return self.plain, self.wide

    def over(self, places: Sequence[Place], *numbers: float, also: Sequence[Place] = ()) -> list[Launch]:
        """Launch on places of as many elements each; `also` are passed after them, and not gone over."""
        n, head = places[0].size, head_of(places)
        if not n:
            return []
        arguments: list[Argument] = [*(p.operand for p in (*places, *also)), *numbers, n]
        if head is None:
            return [self.plain.over(n, *arguments, most=MOST_BLOCKS)]
        return [self.wide.over(n, *arguments, min(head, n), each=self.each, most=MOST_BLOCKS)]


def unary(name: str, f: Function) -> Flat:
    """``y = f(x, s)``; arrays x, y, a number s."""

    def plain(x, y, s, n):
        i = cuda.grid(1)
        if i < n:
            y[i] = f(x[i], s)

    def wide(x, y, s, n, head):
        me, body = cuda.grid(1), (n - head) >> 2
        i = me + cuda.blockIdx.x * cuda.blockDim.x
        k = i + cuda.blockDim.x
        if k < body:
            a, b, c, d = load4(x, head + 4 * i)
            p, q, r, t = load4(x, head + 4 * k)
            store4(y, head + 4 * i, f(a, s), f(b, s), f(c, s), f(d, s))
            store4(y, head + 4 * k, f(p, s), f(q, s), f(r, s), f(t, s))
        elif i < body:
            a, b, c, d = load4(x, head + 4 * i)
            store4(y, head + 4 * i, f(a, s), f(b, s), f(c, s), f(d, s))
        if me < n - 4 * body:
            i = me if me < head else me + 4 * body
            y[i] = f(x[i], s)

    return pair(name, plain, wide, (F32, F32, NUMBER), each=8)


def binary(name: str, f: Function) -> Flat:
    """``y = f(a, b, s, t)``; arrays a, b, y, numbers s, t."""

    def plain(a, b, y, s, t, n):
        i = cuda.grid(1)
        if i < n:
            y[i] = f(a[i], b[i], s, t)

    def wide(a, b, y, s, t, n, head):
        i, body = cuda.grid(1), (n - head) >> 2
        if i < body:
            a0, a1, a2, a3 = load4(a, head + 4 * i)
            b0, b1, b2, b3 = load4(b, head + 4 * i)
            store4(y, head + 4 * i, f(a0, b0, s, t), f(a1, b1, s, t), f(a2, b2, s, t), f(a3, b3, s, t))
        if i < n - 4 * body:
            k = i if i < head else i + 4 * body
            y[k] = f(a[k], b[k], s, t)

    return pair(name, plain, wide, (F32, F32, F32, NUMBER, NUMBER))


def pair(name: str, plain: Function, wide: Function, types: Sequence[Any], each: int = 4) -> Flat:
    """The kernels `name` and ``<name>_4``; types are those of arrays and numbers."""
    return Flat(
        plain=DeviceKernel(name, plain, (*types, WHOLE)),
        wide=DeviceKernel(f"{name}_4", wide, (*types, WHOLE, WHOLE), is_hot=True, wants=WIDE),
        each=each,
    )


def _copy(x, y, n):
    i = cuda.grid(1)
    if i < n:
        y[i] = x[i]


def _copy4(x, y, n, head):
    me, body = cuda.grid(1), (n - head) >> 2
    i = me + cuda.blockIdx.x * cuda.blockDim.x
    k = i + cuda.blockDim.x
    if k < body:
        a, b, c, d = load4(x, head + 4 * i)
        p, q, r, t = load4(x, head + 4 * k)
        store4(y, head + 4 * i, a, b, c, d)
        store4(y, head + 4 * k, p, q, r, t)
    elif i < body:
        a, b, c, d = load4(x, head + 4 * i)
        store4(y, head + 4 * i, a, b, c, d)
    if me < n - 4 * body:
        i = me if me < head else me + 4 * body
        y[i] = x[i]


COPY = pair("copy", _copy, _copy4, (I32, I32), each=8)
COPY_BYTES = DeviceKernel("copy_bytes", _copy, (U8, U8, WHOLE))
COPIES = (*COPY.kernels, COPY_BYTES)


def copies(source: Place, to: Place, nbytes: int) -> list[Launch]:
    """Copy the first bytes of a place to another, whatever they mean."""
    if nbytes % WORD or (source.address | to.address) % WORD:
        operands = [Operand(index=p.index, dtype=DType.U8, size=nbytes) for p in (source, to)]
        return [COPY_BYTES.over(nbytes, *operands, nbytes, most=MOST_BLOCKS)]
    words = [Place(index=p.index, address=p.address, dtype=DType.I32, size=nbytes // WORD) for p in (source, to)]
    return COPY.over(words)
