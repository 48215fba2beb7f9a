"""Convolutions: channels in fours, tensor cores, large tiles, split sums, stacks of images; divisors."""

from math import prod
from typing import Any

import numpy as np
import pytest

from graph.op import OPS
from hw.kernels import KERNELS
from runtime.kernels.cuda import conv
from runtime.kernels.cuda.check import Case, Memory, check, compare, launched
from runtime.kernels.cuda.kernel import load_families
from runtime.kernels.cuda.windows import MOST, divisor

load_families()
OPERATORS = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")
Shape = tuple[tuple[int, int, int, int], int, int, int, int, Any, int]

# (images, kernel rows, kernel columns, out channels, stride, pad, groups)
FOURS: dict[str, Shape] = {
    "padded": ((1, 3, 3, 4), 3, 3, 4, 1, 1, 1),
    "groups": ((1, 3, 4, 8), 2, 2, 8, 1, 0, 2),
    "stride": ((1, 5, 4, 4), 3, 3, 4, 2, 1, 1),
    "gaps": ((1, 5, 4, 4), 1, 1, 4, 2, 0, 1),
    "pointwise": ((2, 3, 2, 4), 1, 1, 8, 1, 0, 1),
}


def case(op: str, shape: Shape, algorithm: str = "", epilogue: str = "") -> Case:
    """A call on normally distributed numbers, and what it gives in double precision."""
    x, kh, kw, out, stride, pad, groups = shape
    rng = np.random.default_rng(1)
    image, weight = rng.standard_normal(x), rng.standard_normal((kh, kw, x[3] // groups, out))
    attrs: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    (y,) = OPS["conv2d"].reference([image, weight], attrs)
    dy = rng.standard_normal(y.shape)
    inputs, more = {
        "conv2d": ([image, weight], {}),
        "conv2d_grad_input": ([dy, weight], {"height": x[1], "width": x[2]}),
        "conv2d_grad_weight": ([image, dy], {"kh": kh, "kw": kw}),
    }[op]
    attrs |= more
    given = [a.astype(np.float32) for a in inputs]
    (want,) = OPS[op].reference([a.astype(float) for a in given], attrs)
    if op == "conv2d":
        attrs["epilogue"] = epilogue
    if epilogue:
        given.append(np.linspace(-2, 2, out, dtype=np.float32))
        want = np.maximum(want + given[-1], 0) if epilogue.endswith("relu") else want + given[-1]
    name = f"cuda.{op}.{algorithm}" if algorithm else f"cuda.{op}"
    return Case(kernel=KERNELS[name], inputs=tuple(given), attrs=attrs, want=(want.astype(np.float32),))


def names(c: Case) -> list[str]:
    """Of the kernels that a case launches."""
    return [launch.kernel.name for launch in launched(c)]


def once(c: Case) -> None:
    """Run a case once, where everything is aligned."""
    compare(c, Memory(c).run())


@pytest.mark.parametrize("shape", FOURS)
@pytest.mark.parametrize("op", OPERATORS)
def test_channels_in_fours(op: str, shape: str) -> None:
    c = case(op, FOURS[shape])
    *_, name = names(c)
    assert name.startswith("gemm_f32_64x64_") and "1" not in name.split("_", 3)[3]
    once(c)


IN_SIMULATOR = {("conv2d", "tf32"), ("conv2d_grad_input", "bf16"), ("conv2d_grad_weight", "fp16")}


@pytest.mark.parametrize(
    ("op", "algorithm"),
    [
        pytest.param(op, a, marks=[pytest.mark.simulated] if (op, a) in IN_SIMULATOR else [])
        for op in OPERATORS
        for a in ("tf32", "bf16", "fp16")
    ],
)
def test_tensor_cores(op: str, algorithm: str) -> None:
    c = case(op, FOURS["padded"], algorithm)
    assert names(c)[-1].startswith(f"gemm_{algorithm}_64x64_")
    once(c)


def test_what_cannot_be_copied_in_fours_is_computed_in_f32() -> None:
    c = case("conv2d", ((1, 3, 3, 3), 2, 2, 4, 1, 0, 1), "bf16")
    assert names(c) == ["gemm_f32_64x64_pixels1_group1_spread"]
    once(c)


@pytest.mark.parametrize("op", OPERATORS)
def test_large_tiles(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows and columns than half a tile, fewer than a whole one."""
    monkeypatch.setattr("hw.kernels.cuda_gemm.ENOUGH", 1)
    shape = {"conv2d": ((9, 2, 6, 4), 1, 2, 68, 1, (0, 1), 1), "conv2d_grad_input": ((6, 3, 4, 68), 1, 2, 4, 1, (0, 1), 1)}
    c = case(op, shape.get(op, ((2, 1, 3, 36), 1, 2, 68, 1, (0, 1), 1)))
    assert names(c)[-1].startswith("gemm_f32_128x128_")
    once(c)


@pytest.mark.parametrize("op", OPERATORS)
def test_pointwise_is_a_product_of_matrices(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw.kernels.cuda_gemm.ENOUGH", 1)
    c = case(op, ((2, 3, 6, 36), 1, 1, 36, 1, 0, 1), epilogue="add_bias" if op == "conv2d" else "")
    how = {"conv2d": "deep4_wide4", "conv2d_grad_input": "deep4_deep4", "conv2d_grad_weight": "wide4_wide4"}[op]
    assert names(c) == [f"gemm_f32_64x64_{how}"]
    once(c)


@pytest.mark.parametrize("op", OPERATORS)
def test_several_tiles(op: str) -> None:
    """Rows and columns past the first tile of 64, channels one by one."""
    shape = ((2, 4, 9, 1), 1, 2, 66, 1, 0, 1) if op == "conv2d" else ((1, 1, 34, 66), 1, 1, 3, 1, (0, 2), 1)
    c = case(op, shape)
    assert sum(prod(launch.grid) for launch in launched(c) if launch.kernel.name.startswith("gemm")) >= 2
    once(c)


@pytest.mark.parametrize("op", OPERATORS)
def test_split_sums(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with groups, whose results and biases lie beside each other."""
    monkeypatch.setattr("hw.kernels.cuda_gemm.LEAST_K", 8)
    monkeypatch.setattr("hw.kernels.cuda_gemm.MULTIPLE", 8)
    c = case(op, ((2, 3, 4, 8), 2, 2, 8, 1, (0, 1), 2), epilogue="add_bias+relu" if op == "conv2d" else "")
    assert c.call.workspace > 0 and names(c)[-1].startswith("parts_added")
    check(c)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("shape", ["stride", "pointwise"])
def test_stacks_of_images(op: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What 32 bits cannot number together is done one stack of images after the other."""
    (_, *image), *rest = FOURS[shape]
    c = case(op, ((3, *image), *rest))  # type: ignore[arg-type]  # the rest is what it was
    usual = names(c)
    monkeypatch.setattr(conv, "MOST", 100)
    assert sum(n.startswith("gemm") for n in names(c)) > sum(n.startswith("gemm") for n in usual)
    once(c)


def test_division_by_multiplication() -> None:
    rng = np.random.default_rng(0)
    for bits in range(1, 30):
        for d in (1 << bits, (1 << bits) - 1, (1 << bits) + 1, int(rng.integers(1, 1 << bits))):
            factor, shift = divisor(d)
            assert 0 < factor < 1 << 31
            for n in (0, d - 1, d, MOST - 1, MOST // d * d - 1, int(rng.integers(0, MOST))):
                assert n * factor >> shift == n // d
