"""What the skeleton of matrix products (`runtime.kernels.cuda.tile`) is given: precision, tile, and how operands are read."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import Any

from numba import int32

from graph.record import record
from runtime.kernels.cuda.device import device_function

WARP = 32
CHUNK = 8
"""16-bit numbers of 16 bytes."""
BIAS, RELU, ACCUMULATE, WIDE = 1, 2, 4, 8
"""Flags of what becomes of a sum: a bias of its column is added, what is negative becomes 0, it is added to what C holds; and C
may be written by wide stores."""


class Precision(StrEnum):
    """What operands are rounded to before they are multiplied; sums are f32."""

    F32 = "f32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"

    @property
    def is_half(self) -> bool:
        """Operands have 16 bits."""
        return self in (Precision.BF16, Precision.FP16)

    @property
    def of_chunk(self) -> int:
        """Elements of 16 bytes of shared memory: of a 128-bit access, and of a row of the matrices that `fragments4` loads."""
        return CHUNK if self.is_half else 4


@record
class Tile:
    """The part of C that a block of threads computes.

    Parameters
    ----------
    rows, columns : of the tile.
    warp_rows, warp_columns : of the part of it that a warp computes.
    """

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return WARP * (self.rows // self.warp_rows) * (self.columns // self.warp_columns)


LARGE = Tile(rows=128, columns=128, warp_rows=32, warp_columns=64)
MEDIUM = Tile(rows=64, columns=64, warp_rows=32, warp_columns=32)
SMALL = Tile(rows=32, columns=32, warp_rows=16, warp_columns=32)
SQUARE = Tile(rows=128, columns=128, warp_rows=64, warp_columns=64)
"""Fewer and larger parts than `LARGE`, for tensor cores: they are so fast that reading shared memory would hold them up."""
LONE = Tile(rows=32, columns=32, warp_rows=32, warp_columns=32)
"""A single warp: parts for tensor cores have 32 rows and columns at least."""


@record
class Loader:
    """How an operand is read; see `runtime.kernels.cuda.tile`. Rows are rows of C for A, columns of C for B.

    Parameters
    ----------
    name : unique, part of the kernel's name.
    is_deep : what is adjacent in memory is adjacent along k, else along rows.
    width : elements of a copy, 4 or 1; of 16-bit numbers 8.
    numbers : how many numbers it is passed.
    begin, at : device functions.
    has_holes : `at` may answer -1, which is a zero.
    """

    name: str
    is_deep: bool
    width: int
    numbers: int
    begin: Callable[..., Any]
    at: Callable[..., Any]
    has_holes: bool = False


@record
class Rows:
    """Where rows of C lie.

    Parameters
    ----------
    name : unique, part of the kernel's name.
    numbers : how many numbers it is passed, behind the `SIZES` that every launch passes.
    place : device function: (numbers of the launch, row) -> the element where the row begins. When its own numbers are all 0, as
        where parts of sums lie, rows are one after the other.
    """

    name: str
    numbers: int
    place: Callable[..., Any]


SIZES = 8
"""Numbers of every launch: rows, columns, k, k of a part, elements from one row of C to the next, from one batch to the next,
from one part to the next, flags."""


@device_function
def _in_order(sizes, row):
    return int32(row * sizes[4])


IN_ORDER = Rows(name="", numbers=0, place=_in_order)
"""One after the other."""


@device_function
def _begin(numbers, batch, row):
    return int32(row * numbers[0]), int32(0), int32(0)


@device_function
def _at(numbers, s0, s1, s2, k):
    return int32(s0 + k * numbers[1])


@cache
def dense(*, is_deep: bool, width: int) -> Loader:
    """A matrix in memory; its numbers: elements from one row to the next, and from one k to the next."""
    name = ("deep" if is_deep else "wide") + str(width)
    return Loader(name=name, is_deep=is_deep, width=width, numbers=2, begin=_begin, at=_at)
