"""Primitives that are LLVM code without anything of a GPU, carried out by this host, which shows what they compute."""

from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from graph.rng import MASK, philox4x32
from runtime.kernels.cuda import instructions


def on_host(primitive: Any) -> Any:
    """The same code for this host's compiler."""
    return intrinsic(primitive._defn)


def upper_half(builder: Any, a: Any, b: Any) -> Any:
    """Of a product of words: what the one instruction of a GPU here does."""
    wide, half = ir.IntType(64), ir.IntType(32)
    product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 32)), half)


def test_philox_draws_the_bits_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "multiply_high", upper_half)
    draw = on_host(instructions.philox)
    play = njit(lambda a, b, c, d, e, f: draw(a, b, c, d, e, f))
    rng = np.random.default_rng(1)
    for _ in range(50):
        *counter, k0, k1 = (int(n) for n in rng.integers(0, 2**32, 6))
        assert play(*counter, k0, k1) == tuple(philox4x32(counter, (k0, k1)))
    assert play(2**33 + 5, 2**32, 1, 0, MASK, MASK) == tuple(philox4x32((5, 0, 1, 0), (MASK, MASK)))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int16])
def test_four_elements_move_at_once(dtype: Any) -> None:
    load, store = on_host(instructions.load4), on_host(instructions.store4)

    @njit
    def play(x: Any, y: Any) -> None:
        a, b, c, d = load(x, 4)
        store(y, 8, a, b, c, d)

    memory = np.zeros(64, np.int64).view(dtype)
    first = -memory.ctypes.data % 16 // memory.itemsize
    x, y = memory[first : first + 16], memory[first + 16 : first + 32]
    x[:] = np.arange(16)
    play(x, y)
    np.testing.assert_array_equal(y, [0] * 8 + [4, 5, 6, 7] + [0] * 4)


def test_quotient() -> None:
    divide = on_host(instructions.quotient)
    play = njit(lambda a, b: divide(a, b))
    for a, b in ((0, 1), (7, 7), (2**40 + 3, 5), (2**31, 2**31 + 1)):
        assert play(a, b) == a // b
