"""Sums, normalizations and windows where the samples do not lead: four channels at a time, several parts, several blocks."""

from collections.abc import Sequence

import numpy as np
import pytest

from graph.op import OPS, Array, Attrs
from hw.kernels import KERNELS, cuda_sums
from hw.kernels.cuda_sums import column_parts, softmax_parts, sum_parts
from runtime.kernels.cuda.check import Case, Memory, compare
from runtime.kernels.cuda.kernel import load_families

load_families()


def exact(op: str, inputs: Sequence[Array], attrs: Attrs) -> Case:
    """A case whose results are computed in float64."""
    attrs = {**OPS[op].attrs, **attrs}
    like = OPS[op].reference(inputs, attrs)
    want = OPS[op].reference([x.astype(float) if x.dtype == np.float32 else x for x in inputs], attrs)
    rounded = tuple(np.asarray(w, k.dtype) for w, k in zip(want, like, strict=True))
    return Case(kernel=KERNELS[f"cuda.{op}"], inputs=tuple(inputs), attrs=attrs, want=rounded)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def right(case: Case) -> None:
    """With 128-bit accesses and, where whole numbers of 64 bits need not stay aligned, without."""
    for shift in (0,) if any(x.dtype == np.int64 for x in case.inputs) else (0, 4):
        compare(case, Memory(case, (shift,)).run())


MATRICES = {(6, 8): 1, (2, 36): 1, (300, 9): 3, (200, 32): 2}
"""Shape -> parts where a part is worth its second stage from five rows of a thread on. A thread has four columns or one, and of
parts of 100 rows some threads have four and more, which they take at once."""


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_sums, "ROWS", 5)
    assert {m: column_parts(*m) for m in MATRICES} == MATRICES


def test_how_many_parts() -> None:
    assert column_parts(0, 3) == column_parts(10, 10**6) == sum_parts(0) == softmax_parts(0, 10) == 1
    assert column_parts(10**7, 3) == column_parts(10**7, 64) == sum_parts(10**9) == softmax_parts(10**6, 10) == 1024


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("shape", MATRICES)
def test_bias_and_its_gradient(shape: tuple[int, int]) -> None:
    right(exact("add_bias", [numbers(*shape), numbers(shape[1], seed=1)], {}))
    right(exact("bias_grad", [numbers(*shape)], {}))


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("shape", MATRICES)
def test_batch_norm(shape: tuple[int, int]) -> None:
    x, dy = (numbers(*shape, seed=k) for k in range(2))
    scale, shift = (numbers(shape[1], seed=k) for k in (2, 3))
    attrs = {"epsilon": 1e-3}
    forward = exact("batch_norm", [x, scale, shift], attrs)
    right(forward)
    right(exact("batch_norm_inference", [x, scale, shift, *forward.want[1:]], attrs))
    right(exact("batch_norm_grad", [dy, x, scale, *forward.want[1:]], attrs))


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("shape", MATRICES)
def test_a_mean_far_from_0_costs_the_variance_no_digits(shape: tuple[int, int]) -> None:
    """Squares about 0 are a million times the variance here, and their sum would leave it one digit."""
    x, channels = numbers(*shape) + np.float32(1000), [numbers(shape[1], seed=k) for k in (2, 3)]
    case = exact("batch_norm", [x, *channels], {"epsilon": 1e-3})
    _, mean, variance = Memory(case).run()
    np.testing.assert_allclose(mean, case.want[1], rtol=3e-7)
    np.testing.assert_allclose(variance, case.want[2], rtol=2e-6)


@pytest.mark.parametrize(("rows", "classes"), [(300, 3), (40, 9), (2, 260), (1, 1028), (1, 1030)])
def test_softmax_of_lanes_and_blocks(rows: int, classes: int) -> None:
    """Rows of some lanes in several blocks, of a warp, of a block in one turn and in two, four classes at a time and one."""
    logits, labels = 8 * numbers(rows, classes), np.arange(rows, dtype=np.int64) * 5 % classes
    attrs = {"denominator": 2 * rows}
    case = exact("softmax_cross_entropy", [logits, labels], attrs)
    for shifts in ((0,), (4, 0)):  # labels stay aligned
        loss, probs = Memory(case, shifts).run()
        np.testing.assert_allclose(loss, case.want[0], rtol=3e-6)
        np.testing.assert_allclose(probs, case.want[1], rtol=1e-5, atol=1e-30)
    right(exact("softmax_cross_entropy_grad", [case.want[1], labels], attrs))


@pytest.mark.parametrize("classes", [3, 300])
def test_bad_label_makes_the_loss_nan_and_reads_nothing_outside(classes: int) -> None:
    case = exact("softmax_cross_entropy", [np.zeros((2, classes), np.float32), np.array([1, 2])], {"denominator": 2})
    for label in (10**9, -1, classes):
        bad = Case(kernel=case.kernel, inputs=(case.inputs[0], np.array([1, label])), attrs=case.attrs, want=case.want)
        loss, probs = Memory(bad).run()
        assert np.isnan(loss)
        np.testing.assert_allclose(probs, 1 / classes, rtol=1e-6)


@pytest.mark.parametrize("n", [8195, 16384])
def test_dot_of_several_parts(n: int) -> None:
    assert sum_parts(n) == 2
    case = exact("dot", [numbers(n), numbers(n, seed=1)], {})
    right(case)


@pytest.mark.parametrize(
    ("shape", "window", "stride", "pad"),
    [
        ((2, 5, 6, 8), 3, 2, 1),
        ((3, 4, 4, 4), 2, 2, 0),
        ((1, 5, 4, 4), 2, 3, 0),  # pixels that no window meets
        ((2, 4, 4, 12), 4, 1, 0),
        ((1, 3, 3, 4), 3, 1, 2),
    ],
)
def test_windows_of_four_channels(shape: tuple[int, int, int, int], window: int, stride: int, pad: int) -> None:
    x, attrs = np.round(2 * numbers(*shape)) / 2, {"window": window, "stride": stride, "pad": pad}  # with ties
    pooled = exact("max_pool", [x], attrs)
    right(pooled)
    right(exact("avg_pool", [x], attrs))
    dy, of_image = numbers(*pooled.want[0].shape, seed=1), {**attrs, "height": shape[1], "width": shape[2]}
    right(exact("max_pool_grad", [dy, pooled.want[1]], of_image))
    right(exact("avg_pool_grad", [dy], of_image))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3, 8), 5),
        ((2, 12), 9),
        ((2, 4), 15),  # wider than the image
        ((5, 4), 3),  # windows of four neighbours with nothing in common
        ((87, 12), 5),  # pixels across blocks
        ((38, 7), 7),
    ],
)
def test_normalization_across_channels(shape: tuple[int, int], size: int) -> None:
    x, dy = (2 * numbers(*shape, seed=k) for k in range(2))
    attrs = {"size": size, "alpha": 0.3, "beta": 0.75, "k": 2.0}
    forward = exact("lrn", [x], attrs)
    right(forward)
    right(exact("lrn_grad", [dy, x, forward.want[1]], attrs))
