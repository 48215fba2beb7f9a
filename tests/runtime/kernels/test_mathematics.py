"""exp, log and tanh against float64, over the whole range; the words of vectors that kernels do not show."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from graph.op import Array
from runtime.kernels import mathematics
from runtime.kernels.cpu.elementwise import unary
from runtime.kernels.simd import splat

_ZERO = np.float32(0)


@mathematics.inlined
def _exp(x: Any, s: Any) -> Any:
    return mathematics.exp(x)


@mathematics.inlined
def _tanh(x: Any, s: Any) -> Any:
    return mathematics.tanh(x)


@mathematics.inlined
def _log(x: Any, s: Any) -> Any:
    return mathematics.log(x)


@njit
def log_all(x: int, y: int, n: int) -> None:
    unary(_log, x, y, splat(_ZERO), n)


@njit
def exp_all(x: int, y: int, n: int) -> None:
    unary(_exp, x, y, splat(_ZERO), n)


@njit
def tanh_all(x: int, y: int, n: int) -> None:
    unary(_tanh, x, y, splat(_ZERO), n)


def apply(function: Callable[[int, int, int], None], x: Array) -> Array:
    y = np.empty_like(x)
    function(x.ctypes.data, y.ctypes.data, x.size)
    return y


@pytest.mark.parametrize(("function", "exact", "limit"), [(exp_all, np.exp, 87.0), (tanh_all, np.tanh, 12.0)])
def test_error_below_two_units_in_the_last_place(function: Any, exact: Any, limit: float) -> None:
    near = np.geomspace(1e-6, limit, 200_001).astype(np.float32)
    x = np.concatenate([-near[::-1], [_ZERO], near])
    want = exact(x.astype(float))
    unit = np.spacing(np.abs(want).astype(np.float32)).astype(float)
    assert np.max(np.abs(apply(function, x) - want) / unit) < 2.0


def test_logarithm_of_all_sizes() -> None:
    x = np.concatenate([np.geomspace(1.2e-38, 3.4e38, 400_001), np.linspace(0.5, 2, 400_001)]).astype(np.float32)
    want = np.log(x.astype(float))
    unit = np.spacing(np.abs(want).astype(np.float32)).astype(float)
    assert np.max(np.abs(apply(log_all, x) - want) / unit) < 2.0


def test_ends_of_the_range() -> None:
    x = np.array([-np.inf, -1e30, -88.0, 88.0, 1e30, np.inf], np.float32)
    low, high = np.exp(np.float32(-87)), np.exp(np.float32(88))
    np.testing.assert_allclose(apply(exp_all, x), [low, low, low, high, high, high], rtol=1e-6)
    np.testing.assert_array_equal(apply(tanh_all, x), [-1, -1, -1, 1, 1, 1])
    assert np.isnan(apply(tanh_all, np.array([np.nan], np.float32))).all()
