"""The arithmetic of an NFU once more, on whole numbers of Python, one at a time and as the definition reads."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graph.fixed_point import Rounding
from hw.nfu.activation import apply, table
from hw.nfu.config import Cut, Nfu, Overflow
from hw.nfu.layer import Function


def splitmix(state: int, j: int) -> int:
    """Output j of the generator of Steele, Lea and Flood 2014."""
    z = (state + (j + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


class Naive:
    """What an NFU does to numbers."""

    def __init__(self, nfu: Nfu, scale: float = 1.0) -> None:
        self.nfu, self.scale, self.a = nfu, scale, nfu.arithmetic
        self.fs = nfu.synapse.fraction

    def generator(self, instruction: int) -> Callable[[int, int, int], int]:
        """(cycle, neuron, lane) -> a draw from [0, 2^fs), as instruction `instruction` makes it."""
        state = splitmix(self.a.seed, instruction)

        def draw(cycle: int, neuron: int, lane: int) -> int:
            return splitmix(state, (cycle * self.nfu.tn + neuron) * self.nfu.ti + lane) >> (64 - self.fs) if self.fs else 0

        return draw

    def limited(self, x: int, bits: int) -> int:
        half = 2 ** (bits - 1)
        if self.a.overflow is Overflow.SATURATE:
            return min(max(x, -half), half - 1)
        return (x + half) % (2 * half) - half

    def cut(self, x: int, at: Cut, draw: Callable[[], int]) -> int:
        """x / 2^fs, rounded, if this is where it is cut."""
        if self.a.cut is not at:
            return x
        unit = 2**self.fs
        match self.a.rounding:
            case Rounding.FLOOR:
                return x // unit
            case Rounding.ZERO:
                return abs(x) // unit * (1 if x > 0 else -1)
            case Rounding.NEAREST:  # the least whole number that is no more than a half below
                return -((unit - 2 * x) // (2 * unit))
            case Rounding.STOCHASTIC:
                return (x + draw()) // unit

    def word(self, x: int, is_synapse: bool = False) -> int:
        """What a buffer takes of a word."""
        bits = (self.nfu.synapse if is_synapse else self.nfu.neuron).bits
        return (x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    def tree(self, neurons: Sequence[int], synapses: Sequence[int], draw: Callable[[int], int]) -> int:
        """NFU-1 and NFU-2 of one neuron in one cycle; `draw` takes the lane."""
        values = [
            self.cut(n * s, Cut.PRODUCT, lambda i=i: draw(i)) for i, (n, s) in enumerate(zip(neurons, synapses, strict=True))
        ]
        if self.a.cut is Cut.PRODUCT:
            values = [self.limited(v, self.a.product_bits) for v in values]
        while len(values) > 1:
            pairs = [self.limited(a + b, self.a.tree_bits) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = pairs + values[len(values) // 2 * 2 :]
        return self.cut(values[0], Cut.TREE, lambda: draw(0))

    def add(self, total: int, x: int) -> int:
        return self.limited(total + x, self.a.sum_bits)

    def bias(self, word: int) -> int:
        return self.limited(self.word(word) * (2**self.fs if self.a.cut is Cut.OUTPUT else 1), self.a.sum_bits)

    def output(self, total: int, function: Function, draw: Callable[[], int] | None) -> int:
        """NFU-3; without `draw` the sum is none of products."""
        x = total if draw is None else self.cut(total, Cut.OUTPUT, draw)
        return int(apply(table(function, self.nfu, self.scale), np.array([x]))[0])


@pytest.fixture(scope="session")
def naive() -> type[Naive]:
    return Naive
