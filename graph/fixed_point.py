"""Fixed-point numbers: whole numbers that stand for multiples of a power of two.

A number of format (bits, fraction) is a whole number q with -2^(bits-1) <= q < 2^(bits-1), and means q * 2^-fraction: what Gupta
et al., Deep Learning with Limited Numerical Precision (ICML 2015), section 3, write as <IL, FL> with IL = bits - fraction and
FL = fraction. Conversions saturate. In memory they are i16, however many of its bits a format uses.
"""

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.errors import GraphError
from graph.record import record

WIDEST = 16
"""Bits of the widest format that is stored: an i16."""


class Rounding(StrEnum):
    """What becomes of the part that a format cannot hold."""

    FLOOR = "floor"  # towards minus infinity: an arithmetic shift
    ZERO = "zero"  # towards zero: magnitudes are cut
    NEAREST = "nearest"  # a tie goes down (Gupta et al. 2015, section 3)
    STOCHASTIC = "stochastic"  # up with the probability of the part cut off


@record
class Fixed:
    """A fixed-point format.

    Parameters
    ----------
    bits : of a word, its sign included; 2 to 16.
    fraction : bits behind the point; 0 to bits - 1.
    """

    bits: int = 16
    fraction: int = 10

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= WIDEST:
            raise GraphError(f"a fixed-point word has 2 to {WIDEST} bits, got {self.bits}")
        if not 0 <= self.fraction < self.bits:
            raise GraphError(f"a word of {self.bits} bits has 0 to {self.bits - 1} fraction bits, got {self.fraction}")

    @property
    def step(self) -> float:
        """The distance between neighbours."""
        return 2.0**-self.fraction

    @property
    def lowest(self) -> int:
        """The smallest whole number."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """The largest whole number."""
        return (1 << (self.bits - 1)) - 1

    def __str__(self) -> str:
        return f"Q{self.bits - self.fraction}.{self.fraction}"


def rounded(x: npt.ArrayLike, rounding: Rounding, draws: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    """Whole numbers, as float64, for real ones.

    Parameters
    ----------
    x : any shape, finite.
    rounding : the rule.
    draws : for stochastic rounding, uniform on [0, 1), of the shape of `x`.

    Raises
    ------
    GraphError : stochastic rounding without draws.
    """
    a = np.asarray(x, np.float64)
    if rounding is Rounding.FLOOR:
        return np.floor(a)
    if rounding is Rounding.ZERO:
        return np.trunc(a)
    if rounding is Rounding.NEAREST:
        return np.ceil(a - 0.5)
    if draws is None:
        raise GraphError("stochastic rounding needs a uniform draw for every number")
    return np.floor(a + np.asarray(draws, np.float64))


def quantized(
    x: npt.ArrayLike, fixed: Fixed, rounding: Rounding = Rounding.NEAREST, draws: npt.ArrayLike | None = None
) -> npt.NDArray[np.int16]:
    """Fixed-point words, i16, for real numbers of any shape; what lies outside of the format saturates, NaN becomes 0."""
    scaled = np.nan_to_num(np.asarray(x, np.float64) * 2.0**fixed.fraction, nan=0.0, posinf=np.inf, neginf=-np.inf)
    inside = np.clip(scaled, fixed.lowest, fixed.highest)
    return np.clip(rounded(inside, rounding, draws), fixed.lowest, fixed.highest).astype(np.int16)


def real(words: npt.NDArray[Any], fixed: Fixed) -> npt.NDArray[np.float32]:
    """What fixed-point words mean, exactly: f32 of the same shape."""
    return np.asarray(words, np.float32) * np.float32(fixed.step)
