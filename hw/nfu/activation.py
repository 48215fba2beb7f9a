"""The functions of NFU-3: tables of straight lines, and what they make of a sum.

For a sum x, in units of the neuron's last fraction bit, NFU-3 computes ``y = floor(a x / 2^shift) + b`` with the slope a and the
offset b of the segment in which x lies. All words are of the neuron's width. In order:

1. x saturates to the neuron's word.
2. x saturates to the table: a function that ends in a constant is drawn on [-reach, reach] (tanh, which is twice as steep, on
   half of it) and has beyond the value that it has at the end. Of `relu` and `linear` the table is the whole range of words.
3. The segment is found: bounds[i] <= x < bounds[i + 1], of the last segment also its end. Bounds are alike far apart, rounded to
   words; their number is even, so zero is one.
4. a x is exact, the shift is arithmetic (towards minus infinity), and the sum with b saturates to the neuron's word.

The slope of a line is the chord's, rounded to the nearest word; `shift` is the neuron's fraction, or one bit less where a slope
of 1 would not fit. The offset puts the line through the middle of the chord, so that half of the error of the slope is at either
end, makes up for what the shift cuts off on average (half a step, or nothing where products are whole), and is rounded to the
nearest word too. Minimax lines are moved by the middle of the least and the greatest error that the chord makes in the segment,
which leaves half of it. So an error is at most that of the line, half a step of a times half a segment, and a step for the shift
and b together.

DianNao has 16 segments whose bounds are hardwired and a small memory for a and b (Chen et al. 2014; how a segment is chosen is
not published, so uniform ones are an assumption).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.fixed_point import Fixed
from graph.record import record
from hw.errors import HwError
from hw.nfu.config import Lines, Nfu
from hw.nfu.layer import Function

Reals = npt.NDArray[np.float64]


@record
class Table:
    """A function as straight lines, all in words of the neuron.

    Parameters
    ----------
    bounds : ends of the segments, one more than there are lines; never falling.
    slopes : a of each line, a multiple of 2^-shift.
    offsets : b of each line.
    shift : fraction bits of the slopes.
    fixed : format of what comes out; sums have its fraction.
    """

    bounds: tuple[int, ...]
    slopes: tuple[int, ...]
    offsets: tuple[int, ...]
    shift: int
    fixed: Fixed

    def __post_init__(self) -> None:
        if not len(self.bounds) - 1 == len(self.slopes) == len(self.offsets) > 0:
            got = f"{len(self.bounds)} bounds, {len(self.slopes)} slopes and {len(self.offsets)} offsets"
            raise HwError(f"a table has a slope and an offset for each segment, and one bound more, got {got}")
        if list(self.bounds) != sorted(self.bounds):
            raise HwError(f"bounds of a table never fall, got {self.bounds}")
        low, high = self.fixed.lowest, self.fixed.highest
        for what, words in (("slope", self.slopes), ("offset", self.offsets)):
            for word in words:
                if not low <= word <= high:
                    raise HwError(f"a {what} of a table is a word of {self.fixed.bits} bits, {low} to {high}, got {word}")
        if not 0 <= self.shift < self.fixed.bits:
            raise HwError(f"a table shifts by 0 to {self.fixed.bits - 1} bits, got {self.shift}")


def exact(function: Function, x: npt.ArrayLike) -> Reals:
    """The function itself, of real numbers of any shape."""
    a = np.asarray(x, np.float64)
    match function:
        case Function.LINEAR:
            return a
        case Function.RELU:
            return np.maximum(a, 0.0)
        case Function.TANH:
            return np.tanh(a)
        case Function.SIGMOID:
            return 0.5 * (1.0 + np.tanh(0.5 * a))


@lru_cache(maxsize=256)
def table(function: Function, nfu: Nfu, scale: float = 1.0) -> Table:
    """The table of y = function(scale * x).

    Parameters
    ----------
    function : what is approximated.
    nfu : says the format, how many lines there are, how they are drawn and how far.
    scale : of the sum, above 0: that of an average over a window of k pixels is 1 / k. With a scale that is no multiple of the
        slope's step, `linear` is off by up to half a step times the sum.

    Raises
    ------
    HwError : a scale that is not positive.
    """
    if not 0 < scale < float("inf"):
        raise HwError(f"the scale of a function is above 0, got {scale}")
    fixed = nfu.neuron
    shift = min(fixed.fraction, fixed.bits - 2)

    def f(words: Reals) -> Reals:
        return exact(function, scale * words * fixed.step) * 2.0**fixed.fraction

    bounds = _bounds(nfu, _reach(function, nfu, scale))
    slopes, offsets = zip(*(_line(f, a, b, shift, nfu) for a, b in pairwise(bounds)))
    return Table(bounds=bounds, slopes=slopes, offsets=offsets, shift=shift, fixed=fixed)


def _reach(function: Function, nfu: Nfu, scale: float) -> float:
    """How far from zero the lines go, in words; whole words where they end in a constant."""
    whole = float(1 << (nfu.neuron.bits - 1))
    if function in (Function.LINEAR, Function.RELU):
        return whole
    reach = nfu.reach if function is Function.SIGMOID else 0.5 * nfu.reach
    return min(whole, max(1.0, round(reach / scale * 2.0**nfu.neuron.fraction)))


def _bounds(nfu: Nfu, reach: float) -> tuple[int, ...]:
    n = nfu.segments
    return tuple(round(reach * (2 * i - n) / n) for i in range(n + 1))


def _line(f: Callable[[Reals], Reals], start: int, end: int, shift: int, nfu: Nfu) -> tuple[int, int]:
    """Slope and offset of the line between two bounds."""
    low, high = nfu.neuron.lowest, nfu.neuron.highest
    ends = f(np.array([start, end], np.float64))
    chord = float(ends[1] - ends[0]) / max(end - start, 1)
    slope = min(max(round(chord * (1 << shift)), low), high)
    middle = 0.5 * float(ends[0] + ends[1])
    if nfu.lines is Lines.MINIMAX:
        x = np.arange(start, end + 1, dtype=np.float64)
        off = f(x) - (float(ends[0]) + chord * (x - start))
        middle += 0.5 * float(off.min() + off.max())
    offset = middle - slope * 0.5 * (start + end) / (1 << shift) + _lost(slope, shift)
    return slope, min(max(round(offset), low), high)


def _lost(slope: int, shift: int) -> float:
    """What the shift cuts off of a product with this slope, over all words on average: nothing, where it is a whole number."""
    multiple = min(slope & -slope, 1 << shift) if slope else 1 << shift
    return 0.5 * (1.0 - multiple / (1 << shift))


def apply(t: Table, words: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """What NFU-3 makes of sums.

    Parameters
    ----------
    t : the function.
    words : sums in units of the neuron's last fraction bit, whole numbers of any width and shape.

    Returns
    -------
    i16 words of the same shape.
    """
    x = np.clip(np.asarray(words, np.int64), max(t.fixed.lowest, t.bounds[0]), min(t.fixed.highest, t.bounds[-1]))
    i = np.searchsorted(_array(t.bounds[1:-1]), x, side="right")
    y = ((_array(t.slopes)[i] * x) >> t.shift) + _array(t.offsets)[i]
    found: npt.NDArray[np.int16] = np.clip(y, t.fixed.lowest, t.fixed.highest).astype(np.int16)
    return found


def _array(words: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.array(words, np.int64)


@lru_cache(maxsize=64)
def outputs(t: Table) -> npt.NDArray[np.int16]:
    """The table for every word, [2^bits] i16, read-only: that of word q stands at q - lowest. For machines that look it up."""
    found = apply(t, np.arange(t.fixed.lowest, t.fixed.highest + 1))
    found.flags.writeable = False
    return found


def error(function: Function, nfu: Nfu, scale: float = 1.0) -> float:
    """The greatest distance between what NFU-3 computes and the function, over all words of the neuron's format.

    Of the function what the format can hold counts: what saturates is no error of the lines.
    """
    fixed = nfu.neuron
    x = np.arange(fixed.lowest, fixed.highest + 1) * fixed.step
    wanted = np.clip(exact(function, scale * x), fixed.lowest * fixed.step, fixed.highest * fixed.step)
    return float(np.abs(outputs(table(function, nfu, scale)) * fixed.step - wanted).max())
