"""Orders of samples: Fisher and Yates's shuffle, drawn by SplitMix64, as a pure function of seed, purpose and number.

An epoch of a small data set lasts a few milliseconds, and its order is made on the core that trains: so this is native code
(about 10 ns a sample; sorting random keys with NumPy took 200). SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014; the multiply-and-shift to a range: Lemire, ACM TOMACS 29 (1), 2019, without its rejection, so the
bias of a draw is below n / 2^32.
"""

import numpy as np
import numpy.typing as npt

from runtime.native import native

Words = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32 = (np.uint64(k) for k in (30, 27, 31, 32))


@native
def _mixed(x: np.uint64) -> np.uint64:
    """SplitMix64's output function."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@native
def _shuffle(order: Words, seed: np.uint64, purpose: np.uint64, number: np.uint64) -> None:
    """Fill `order` with a permutation of ``range(order.size)``."""
    state = _mixed(_mixed(_mixed(seed + _GOLDEN) + purpose) + number)
    for i in range(order.size):
        order[i] = i
    for i in range(order.size - 1, 0, -1):
        state += _GOLDEN
        j = np.int64(((_mixed(state) >> _S32) * np.uint64(i + 1)) >> _S32)
        order[i], order[j] = order[j], order[i]


def permutation(n: int, seed: int, purpose: int, number: int = 0, out: Words | None = None) -> Words:
    """A pseudo-random order of ``range(n)``, i64[n].

    Parameters
    ----------
    n : how many; below 2^32.
    seed, purpose, number : what it depends on, each taken modulo 2^64.
    out : where to put it; by default a new array.
    """
    order = np.empty(n, np.int64) if out is None else out
    mask = 2**64 - 1
    _shuffle(order, np.uint64(seed & mask), np.uint64(purpose & mask), np.uint64(number & mask))
    return order
