"""Tables of straight lines: against a loop over their definition, and their errors against measured bounds."""

import math

import numpy as np
import pytest

from graph.fixed_point import Fixed
from hw.errors import HwError
from hw.nfu.activation import Table, apply, error, exact, outputs, table
from hw.nfu.config import Lines, Nfu
from hw.nfu.layer import Function

FORMATS = [
    Fixed(),
    Fixed(bits=16, fraction=15),
    Fixed(bits=16, fraction=14),
    Fixed(bits=8, fraction=4),
    Fixed(bits=3, fraction=2),
]


def one(t: Table, x: int) -> int:
    """The definition, word by word."""
    x = max(t.fixed.lowest, min(t.fixed.highest, x))
    x = max(t.bounds[0], min(t.bounds[-1], x))
    i = max(k for k in range(len(t.slopes)) if k == 0 or t.bounds[k] <= x)
    y = math.floor(t.slopes[i] * x / (1 << t.shift)) + t.offsets[i]  # exact: the product is below 2^53
    return max(t.fixed.lowest, min(t.fixed.highest, y))


@pytest.mark.parametrize("lines", Lines)
@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("fixed", FORMATS, ids=str)
def test_a_sum_word_by_word(fixed: Fixed, function: Function, lines: Lines) -> None:
    t = table(function, Nfu(neuron=fixed, lines=lines))
    assert len(t.slopes) == 16
    rng = np.random.default_rng(5)
    words = np.concatenate([rng.integers(2 * fixed.lowest, 2 * fixed.highest + 1, 400), t.bounds, np.array(t.bounds) - 1])
    words = np.append(words, [2**40, -(2**40)])
    got = apply(t, words.reshape(2, -1))
    assert got.dtype == np.int16 and got.shape == (2, words.size // 2)
    assert got.ravel().tolist() == [one(t, int(x)) for x in words]


def test_looking_up_is_computing() -> None:
    t = table(Function.TANH, Nfu())
    assert np.array_equal(outputs(t), apply(t, np.arange(-32768, 32768)))


@pytest.mark.parametrize(
    ("function", "reach", "lines", "bound"),
    [
        # Greatest errors over all words of Q6.10 that were measured for 16 uniform segments with coefficients in Q6.10 and a
        # floored product, to the last digit given. On +-4 the function's own end (1 - sigmoid(4) = 0.0180) decides; our
        # coefficients round there by half a step of 2^-10.
        (Function.SIGMOID, 6.0, Lines.CHORDS, 0.00725),
        (Function.SIGMOID, 6.0, Lines.MINIMAX, 0.00435),
        (Function.SIGMOID, 8.0, Lines.CHORDS, 0.01345),
        (Function.SIGMOID, 8.0, Lines.MINIMAX, 0.00755),
        (Function.SIGMOID, 4.0, Lines.CHORDS, 0.0180 + 2**-11 + 5e-5 + 5e-5),
        (Function.SIGMOID, 4.0, Lines.MINIMAX, 0.0180 + 2**-11 + 5e-5 + 5e-5),
        (Function.TANH, 6.0, Lines.CHORDS, 0.01355),
        (Function.TANH, 6.0, Lines.MINIMAX, 0.00765),
    ],
)
def test_greatest_errors(function: Function, reach: float, lines: Lines, bound: float) -> None:
    nfu = Nfu(reach=reach, lines=lines)
    assert error(function, nfu) <= bound
    x = np.arange(-32768, 32768)
    naive = np.abs(np.array([one(table(function, nfu), int(q)) for q in x[::97]]) / 1024 - exact(function, x[::97] / 1024))
    assert naive.max() <= error(function, nfu)


@pytest.mark.parametrize("function", [Function.SIGMOID, Function.TANH])
def test_more_and_closer_lines_are_better(function: Function) -> None:
    """Halves of the segments, fewer than a quarter of the error of a line is left; steps of the format remain."""
    few, many = (error(function, Nfu(segments=n, lines=Lines.CHORDS)) for n in (16, 64))
    assert many < few / 2
    assert error(function, Nfu(lines=Lines.MINIMAX)) < 0.65 * error(function, Nfu(lines=Lines.CHORDS))


@pytest.mark.parametrize("fixed", FORMATS, ids=str)
def test_linear_and_relu_are_exact_up_to_the_last_word(fixed: Fixed) -> None:
    words = np.arange(fixed.lowest, fixed.highest + 1)
    nfu = Nfu(neuron=fixed, reach=0.5)
    assert np.array_equal(apply(table(Function.LINEAR, nfu), words), words)
    assert np.array_equal(apply(table(Function.RELU, nfu), words), np.maximum(words, 0))


@pytest.mark.parametrize("pixels", [4, 9, 16, 49, 64])
def test_the_average_of_a_window(pixels: int) -> None:
    """A step of the shift at most, and half a step of the slope times the largest sum where 1 / k is no multiple of it."""
    slope = 0.0 if 1024 % pixels == 0 else 2**-11 * 32
    assert error(Function.LINEAR, Nfu(), 1 / pixels) <= 2**-10 + slope
    got = apply(table(Function.LINEAR, Nfu(), 1 / 16), np.array([16, -16, 160, 31, 32767]))
    assert got.tolist() == [1, -1, 10, 1, 2047]


def test_constant_beyond_and_scaled() -> None:
    t = table(Function.SIGMOID, Nfu())
    assert len(set(apply(t, np.arange(6144, 32768)).tolist())) == 1
    assert t.bounds == tuple(range(-6144, 6145, 768))
    halved = table(Function.SIGMOID, Nfu(), 0.5)
    assert halved.bounds == tuple(range(-12288, 12289, 1536))
    assert error(Function.SIGMOID, Nfu(), 0.5) < 0.006


def test_what_is_refused() -> None:
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(HwError, match="the scale of a function is above 0, got"):
            table(Function.LINEAR, Nfu(), scale)
    good = {"bounds": (0, 1), "slopes": (1,), "offsets": (0,), "shift": 0, "fixed": Fixed()}
    bad = {
        "bounds": ((1, 0), "bounds of a table never fall"),
        "slopes": ((40000,), "a slope of a table is a word of 16 bits, -32768 to 32767, got 40000"),
        "offsets": ((0, 0), "got 2 bounds, 1 slopes and 2 offsets"),
        "shift": (16, "shifts by 0 to 15 bits, got 16"),
    }
    for key, (value, message) in bad.items():
        with pytest.raises(HwError, match=message):
            Table(**{**good, key: value})  # type: ignore[arg-type]
