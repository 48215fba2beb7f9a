"""How matrix products of convolutions read and write: loaders that gather from NHWC images (see `runtime.kernels.cuda.tile`).

Nothing is copied beforehand: of an element of the matrix of windows, its row says at which pixel a window begins and its column
which tap and channel of the window is meant, or the other way round; so its place is known at once, and outside the image it is a
zero. Which row or column means what is found by division; divisors are the same for a whole launch, so each is passed as a factor
and a shift.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from functools import cache

from numba import int32, int64, uint32

from hw.kernels.cuda_conv import Residue, Windows
from runtime.kernels.cuda.device import device_function
from runtime.kernels.cuda.operands import SIZES, Loader, Rows

MOST = 1 << 30
"""What is divided is less."""


def divisor(d: int) -> tuple[int, int]:
    """(factor, shift) such that ``n * factor >> shift == n // d`` for 0 <= n < `MOST`; the factor fits 32 bits with a sign.

    With ``2**(bits - 1) < d <= 2**bits`` the factor is ``2**(30 + bits) / d``, rounded up. What rounding adds to the quotient is
    less than ``n / 2**(30 + bits)``, which is less than ``1 / d``: too little to reach the next whole number (Granlund &
    Montgomery, Division by invariant integers using multiplication, PLDI 1994, theorem 4.2).
    """
    shift = 30 + (d - 1).bit_length()
    return -(-(1 << shift) // d), shift


@device_function
def _divided(n, factor, shift):
    """n // d of a `divisor`."""
    return int32(int64(n) * int64(factor) >> int64(shift))


# Numbers of `pixels` and `taps`: 0 rows, 1 columns, 2 channels of the source, 3 channels of a group; 4, 5 rows * columns and 6, 7
# columns of the result, 8, 9 channels of a group, 10, 11 columns of the window, as divisors; 12, 13 the same rows * columns and
# columns; 14 step from pixel to pixel; 15, 16 where the first window begins; 17 columns of the window; 18 step from tap to tap,
# 19 the same in elements.
_NUMBERS = 20


@device_function
def _is_outside(numbers, y, x):
    """Of the source: as numbers without a sign, negative ones are large."""
    return (uint32(y) >= uint32(numbers[0])) | (uint32(x) >= uint32(numbers[1]))


@device_function
def _element(numbers, image, y, x):
    """Where a pixel of the source begins."""
    return int32(int32(int32(image * numbers[0] + y) * numbers[1] + x) * numbers[2])


@device_function
def _pixel(numbers, n):
    """Image, row and column of pixel n of the result."""
    image = _divided(n, numbers[4], numbers[5])
    rest = int32(n - image * numbers[12])
    row = _divided(rest, numbers[6], numbers[7])
    return image, row, int32(rest - row * numbers[13])


@device_function
def _tap(numbers, n):
    """Row, column and channel of element n of a window."""
    tap = _divided(n, numbers[8], numbers[9])
    row = _divided(tap, numbers[10], numbers[11])
    return row, int32(tap - row * numbers[17]), int32(n - tap * numbers[3])


@device_function
def _pixels_begin(numbers, batch, row):
    image, i, j = _pixel(numbers, row)
    top, left = int32(i * numbers[14] + numbers[15]), int32(j * numbers[14] + numbers[16])
    return int32(_element(numbers, image, top, left) + batch * numbers[3]), top, left


@device_function
def _pixels_at(numbers, first, top, left, k):
    u, v, channel = _tap(numbers, k)
    place = int32(first + int32(int32(u * numbers[1] + v) * numbers[19] + channel))
    outside = _is_outside(numbers, int32(top + u * numbers[18]), int32(left + v * numbers[18]))
    return int32(-1) if outside else place


@device_function
def _taps_begin(numbers, batch, row):
    u, v, channel = _tap(numbers, row)
    top, left = int32(u + numbers[15]), int32(v + numbers[16])
    return int32(_element(numbers, int32(0), top, left) + batch * numbers[3] + channel), top, left


@device_function
def _taps_at(numbers, first, top, left, k):
    image, i, j = _pixel(numbers, k)
    y, x = int32(i * numbers[14]), int32(j * numbers[14])
    place = int32(first + _element(numbers, image, y, x))
    return int32(-1) if _is_outside(numbers, int32(top + y), int32(left + x)) else place


@device_function
def _group_begin(numbers, batch, row):
    return int32(batch * numbers[1] + row), int32(0), int32(0)


@device_function
def _group_at(numbers, first, s1, s2, k):
    return int32(first + k * numbers[0])


@cache
def pixels(width: int) -> Loader:
    """Rows are pixels of the result, k is an element of the window that they see."""
    name = f"pixels{width}"
    return Loader(name=name, is_deep=True, width=width, numbers=_NUMBERS, begin=_pixels_begin, at=_pixels_at, has_holes=True)


@cache
def taps(width: int) -> Loader:
    """Rows are elements of the window, k is a pixel of the result."""
    name = f"taps{width}"
    return Loader(name=name, is_deep=False, width=width, numbers=_NUMBERS, begin=_taps_begin, at=_taps_at, has_holes=True)


@cache
def group(width: int) -> Loader:
    """Rows are channels of a group, k is what they belong to. Numbers: elements from one k to the next, channels of a group."""
    return Loader(name=f"group{width}", is_deep=False, width=width, numbers=2, begin=_group_begin, at=_group_at)


@device_function
def _spread_place(sizes, row):
    if sizes[SIZES] == 0:
        return int32(row * sizes[4])
    image = _divided(row, sizes[SIZES], sizes[SIZES + 1])
    rest = int32(row - image * sizes[SIZES + 4])
    i = _divided(rest, sizes[SIZES + 2], sizes[SIZES + 3])
    j = int32(rest - i * sizes[SIZES + 5])
    return int32(image * sizes[SIZES + 6] + i * sizes[SIZES + 7] + j * sizes[SIZES + 8] + sizes[SIZES + 9])


SPREAD = Rows(name="_spread", numbers=10, place=_spread_place)
"""Rows are pixels that lie apart. Numbers: 0, 1 rows * columns and 2, 3 columns of them as divisors, 4, 5 the same; 6, 7, 8
elements from one image, row and column to the next; 9 the first."""
SIDE_BY_SIDE = (0,) * SPREAD.numbers
"""Numbers of pixels that lie side by side."""


def _windows(
    source: tuple[int, int, int], channels: int, result: tuple[int, int], columns: int, step: int, first: tuple[int, int], to: int
) -> tuple[int, ...]:
    """Numbers of windows of so many columns over a source of (rows, columns, channels)."""
    area = result[0] * result[1]
    divisors = (*divisor(area), *divisor(result[1]), *divisor(channels), *divisor(columns))
    return (*source, channels, *divisors, area, result[1], step, *first, columns, to, to * source[2])


def image_windows(w: Windows) -> tuple[int, ...]:
    """Numbers of `pixels` and `taps` where images are gathered from."""
    source, first = (*w.image, w.channels * w.groups), (-w.pad[0], -w.pad[1])
    return _windows(source, max(w.channels, 1), w.result, w.kernel[1], w.stride, first, 1)


def gradient_windows(w: Windows, r: Residue) -> tuple[int, ...]:
    """Numbers of `pixels` where the gradient of the result is gathered from, for a class of pixels of the images: later taps of
    the kernel saw a pixel from earlier places."""
    source = (*w.result, w.filters * w.groups)
    top, left = ((first + pad - tap) // w.stride for first, pad, tap in zip(r.first, w.pad, r.tap, strict=True))
    return _windows(source, max(w.filters, 1), r.extent, max(r.taps[1], 1), 1, (top, left), -1)


def image_rows(w: Windows, r: Residue) -> tuple[int, ...]:
    """Numbers of `SPREAD`: where a class of pixels of the images lies."""
    if w.stride == 1:
        return SIDE_BY_SIDE
    (rows, columns), (y, x), pitch = r.extent, r.first, w.channels * w.groups
    line = w.image[1] * pitch
    steps = (w.image[0] * line, w.stride * line, w.stride * pitch, y * line + x * pitch)
    return (*divisor(rows * columns), *divisor(columns), rows * columns, columns, *steps)
