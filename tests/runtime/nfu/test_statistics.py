"""What rounding does to sums of many products, against what follows from probabilities; and values against floats.

In units of the last fraction bit a product is a whole number and a part that is cut off, in 1024ths for Q6.10. With an input that
is uniform on 0 ... 1023 and a synapse that 2^v divides (v at most 10), the part is uniform on the multiples of 2^v / 1024.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graph.fixed_point import Rounding, quantized, real
from hw.nfu.activation import error
from hw.nfu.config import WIDE, Arithmetic, Cut, Nfu, Overflow
from hw.nfu.layer import Function, Kind, Layer
from hw.nfu.nest import Schedule
from runtime.nfu.arithmetic import output_of
from runtime.nfu.values import layer_values

N, TRIALS = 256, 2048
SIGMAS = 5.0


def errors(arithmetic: Arithmetic) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of `TRIALS` sums of `N` products in steps of 2^-10, and of each synapse [N, TRIALS] its 2^v / 1024."""
    draws = np.random.default_rng(7)
    samples = 16  # each with inputs of its own
    x = draws.integers(0, 1024, (1, 1, samples, N)).astype(np.int16)
    w = np.rint(1024 * draws.normal(0, N**-0.5, (1, 1, N, TRIALS))).astype(np.int16)
    layer = Layer(name="n", kind=Kind.CLASSIFIER, nx=samples, ni=N, no=TRIALS)
    got = layer_values(layer, Nfu(arithmetic=arithmetic), x, w)[0, 0]
    exact = x[0, 0].astype(np.int64) @ w[0, 0].astype(np.int64) / 1024
    assert abs(exact).max() < 1 << 15
    whole = w[0, 0].astype(np.int64)
    return (got - exact).astype(np.float64), np.where(whole == 0, 1024, np.minimum(whole & -whole, 1024)) / 1024


def within(found: npt.NDArray[np.float64], expected: float, variance: float) -> None:
    """The mean over all sums, whose products err independently with at most this variance each.

    Sums that share synapses have inputs of their own and the other way round; only their means' dependence on either is common.
    """
    assert abs(float(found.mean()) - expected) < SIGMAS * float(np.sqrt(N * variance / TRIALS))


def test_floor_is_half_a_step_too_low_for_each_product() -> None:
    """The bias of N products is N 2^-11: 0.125 for 256 (here per product 2^-11 less what is not cut off of multiples)."""
    found, unit = errors(Arithmetic(rounding=Rounding.FLOOR))
    expected = -float(0.5 * (1 - unit).sum(axis=0).mean())
    within(found, expected, 1 / 12)
    assert abs(expected / (-N / 2) - 1) < 0.02
    assert abs(float(found.mean()) / 1024 / (-N * 2.0**-11) - 1) < 0.02


def test_towards_zero_has_no_bias_for_symmetric_products() -> None:
    found, _ = errors(Arithmetic(rounding=Rounding.ZERO))
    within(found, 0.0, 1 / 3)
    assert abs(found.mean()) < 0.02 * N / 2


def test_nearest_is_off_by_its_ties_alone() -> None:
    """A tie, which goes down half a step, has the probability 2^v / 1024. The rest is uniform: rms of N products sqrt(N / 12)."""
    found, unit = errors(Arithmetic(rounding=Rounding.NEAREST))
    within(found, -float(0.5 * np.where(unit < 1, unit, 0).sum(axis=0).mean()), 1 / 12)
    assert abs(found.std() / np.sqrt(N / 12) - 1) < 0.03


def test_stochastic_has_no_bias() -> None:
    """A part f errs by 1 - f with probability f, else by -f: mean 0, variance f (1 - f), over all f 1/6 - unit^2 / 6."""
    found, unit = errors(Arithmetic(rounding=Rounding.STOCHASTIC, seed=5))
    within(found, 0.0, 1 / 4)
    expected = float((1 - unit**2).sum(axis=0).mean() / 6)
    assert abs(found.std() / np.sqrt(expected) - 1) < 0.03


def test_one_cut_of_a_whole_sum_is_half_a_step() -> None:
    floor = Arithmetic(cut=Cut.OUTPUT, rounding=Rounding.FLOOR, product_bits=32, tree_bits=48, sum_bits=48)
    assert abs(errors(floor)[0].mean() + 0.5) < 0.01
    assert abs(errors(WIDE)[0]).max() <= 0.5


def test_draws_depend_on_seed_and_place() -> None:
    layer = Layer(name="r", kind=Kind.CONV, nx=6, ny=6, kx=3, ky=3, ni=8, no=8)
    x = np.full((1, 6, 6, 8), 100, np.int16)
    w = np.full((3, 3, 8, 8), 37, np.int16)  # every product is 3.6 steps

    def values(seed: int, cut: Cut, **schedule: int) -> npt.NDArray[np.int16]:
        arithmetic = Arithmetic(cut=cut, rounding=Rounding.STOCHASTIC, product_bits=32, tree_bits=40, sum_bits=40, seed=seed)
        return layer_values(layer, Nfu(tn=4, ti=4, arithmetic=arithmetic), x, w, schedule=Schedule(**schedule))

    for cut in Cut:
        one = values(1, cut, rows=2, columns=2)
        assert np.array_equal(one, values(1, cut, rows=2, columns=2))
        assert not np.array_equal(one, values(2, cut, rows=2, columns=2))
        assert len(np.unique(one)) > 1
    assert not np.array_equal(values(1, Cut.PRODUCT, rows=2), values(1, Cut.PRODUCT, rows=1))


def test_generator_is_splitmix64() -> None:
    """The first outputs for the seed 1234567 as Rosetta Code lists them (quoted from memory, not re-read)."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(output_of(np.uint64(1234567), np.uint64(j))) for j in range(5)] == known


@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("rounding", Rounding)
def test_values_are_near_those_of_floats(function: Function, cut: Cut, rounding: Rounding) -> None:
    """Within half a step for each operand, what is cut off, and the error of the lines; no function is steeper than 1."""
    draws = np.random.default_rng(11)
    layer = Layer(name="f", kind=Kind.CONV, nx=7, ny=5, kx=3, ky=3, ni=10, no=9, has_bias=True, function=function)
    x, w = draws.uniform(-1, 1, (1, 5, 7, 10)), draws.normal(0, 0.1, (3, 3, 10, 9))
    b = draws.normal(0, 0.5, 9)
    nfu = Nfu(
        arithmetic=Arithmetic(cut=cut, rounding=rounding, product_bits=32, tree_bits=40, sum_bits=40, overflow=Overflow.SATURATE)
    )
    words = [quantized(a, nfu.neuron) for a in (x, w, b)]
    got = real(layer_values(layer, nfu, *words), nfu.neuron)
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # [1, oy, ox, ni, ky, kx]
    sums = np.einsum("byxikl,klio->byxo", patches, w) + b
    half, terms = nfu.neuron.step / 2, 90
    near = np.einsum("byxikl,klio->byxo", abs(patches), np.ones_like(w)) + abs(w).sum((0, 1, 2)) + terms * half + 1
    cuts = {Cut.PRODUCT: terms, Cut.TREE: 9, Cut.OUTPUT: 1}[cut]
    bound = half * near + (half if rounding is Rounding.NEAREST else nfu.neuron.step) * cuts + error(function, nfu)
    wanted: dict[Function, Any] = {
        Function.LINEAR: sums,
        Function.RELU: np.maximum(sums, 0),
        Function.TANH: np.tanh(sums),
        Function.SIGMOID: 1 / (1 + np.exp(-sums)),
    }
    assert (abs(got - wanted[function]) <= bound).all()
