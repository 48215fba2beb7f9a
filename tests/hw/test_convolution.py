"""Convolutions: the algorithms that a library has, held against published times of single layers."""

import math
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graph.ops  # noqa: F401  (fills OPS)
from graph.tensor_type import f32
from hw import catalogue
from hw.cost import roofline
from hw.cost.convolution import algorithms, convolution_seconds
from hw.cost.gemm_shape import Convolution, Direction, convolution
from hw.device import ConvolutionLibrary, Efficiency
from hw.errors import HwError

DEEPBENCH = [
    # columns, rows, channels, images, filters, kernel, pad, stride; forward, gradient of the input and of the filters in ms on
    # M40, then on P100; None: not given. Every seventh of the 77 rows with square kernels on images of up to 224 columns.
    # Baidu DeepBench commit da81ba782073, results/train, Convolution, fp32.
    (120, 12, 32, 16, 64, 3, 1, 1, 0.256, 0.159, 0.578, 0.114, 0.109, 0.284),
    (224, 224, 3, 8, 64, 3, 1, 1, 0.776, None, 1.651, 0.337, None, 0.882),
    (112, 112, 64, 16, 128, 3, 1, 1, 4.007, 3.632, 7.619, 2.321, 2.098, 3.732),
    (28, 28, 192, 16, 64, 1, 0, 1, 0.137, 0.15, 0.225, 0.071, 0.076, 0.144),
    (28, 28, 128, 8, 128, 3, 1, 1, 0.308, 0.307, 0.641, 0.17, 0.17, 0.168),
    (56, 56, 64, 16, 64, 3, 1, 1, 0.604, 0.604, 1.143, 0.36, 0.36, 0.743),
    (7, 7, 512, 16, 512, 1, 0, 1, 0.198, 0.207, 0.207, 0.143, 0.14, 0.124),
    (112, 112, 64, 8, 64, 1, 0, 1, 0.298, 0.32, 0.926, 0.158, 0.163, 0.333),
    (14, 14, 256, 8, 1024, 1, 0, 1, 0.258, 0.369, 0.338, 0.132, 0.273, 0.198),
    (112, 112, 64, 16, 64, 1, 0, 1, 0.568, 0.61, 1.67, 0.295, 0.303, 0.641),
    (14, 14, 256, 16, 1024, 1, 0, 1, 0.449, 0.563, 0.578, 0.253, 0.254, 0.314),
]


def shapes(row: tuple[float | None, ...]) -> list[Convolution]:
    """The three operators of a layer."""
    w, h, c, n, k, f, pad, stride = (int(x or 0) for x in row[:8])
    y, x = (h + 2 * pad - f) // stride + 1, (w + 2 * pad - f) // stride + 1
    return [
        Convolution(
            direction=d, images=n, rows=h, columns=w, channels=c, filters=k, kernel_rows=f, kernel_columns=f, stride=stride,
            out_rows=y, out_columns=x,
        )
        for d in Direction
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "first", "limit"), [("m40", 8, 0.25), ("p100-sxm2", 11, 0.25)])
def test_published_layers(name: str, first: int, limit: float) -> None:
    """Mean |log(model / measured)| over the sample. The rates were found on the whole table, so this is a check of the fit."""
    device = catalogue.device(name)
    errors = [
        math.log((device.convolution.call_seconds + convolution_seconds(shape, device)) / (ms * 1e-3))
        for row in DEEPBENCH
        for shape, ms in zip(shapes(row), row[first : first + 3], strict=True)
        if ms is not None
    ]
    assert fmean(map(abs, errors)) < limit
    assert abs(fmean(errors)) < 0.15


def conv(direction: Direction = Direction.FORWARD, **changes: int) -> Convolution:
    """A 3x3 convolution of 64 images."""
    return replace(
        Convolution(
            direction=direction, images=64, rows=28, columns=28, channels=128, filters=128, kernel_rows=3, kernel_columns=3,
            stride=1, out_rows=28, out_columns=28,
        ),
        **changes,
    )  # fmt: skip


def test_algorithms() -> None:
    """Winograd is for 3x3 kernels, FFT for stride 1; a device whose library has neither multiplies matrices."""
    m40, k20 = catalogue.device("m40"), catalogue.device("k20")
    assert set(algorithms(conv(), m40)) == {"gemm", "winograd", "fft16", "fft32"}
    assert set(algorithms(conv(kernel_rows=5, kernel_columns=5), m40)) == {"gemm", "fft16", "fft32"}
    assert set(algorithms(conv(kernel_rows=1, kernel_columns=7), m40)) == {"gemm"}
    assert set(algorithms(conv(stride=2, out_rows=14, out_columns=14), m40)) == {"gemm"}
    assert set(algorithms(conv(kernel_rows=11, kernel_columns=11), m40)) == {"gemm", "fft32"}
    assert set(algorithms(conv(), k20)) == {"gemm"}
    for shape in (conv(), conv(Direction.GRAD_INPUT), conv(Direction.GRAD_WEIGHT)):
        assert convolution_seconds(shape, m40) == min(algorithms(shape, m40).values())


@pytest.mark.parametrize("groups", [1, 2])
def test_fft_by_hand(groups: int) -> None:
    """Tiles of 16x16 give 14x14 results: 4 an image, 256 in all; each has 16 x 9 frequencies of 8 bytes."""
    library = ConvolutionLibrary(fft=0.5)
    device = replace(catalogue.device("m40"), cores=1, efficiency=Efficiency(memory=0.5), convolution=library)
    flop = 8 * 144 * 256 * 128 * 128
    nbytes = 2 * 8 * 144 * (256 * 128 + 256 * 128 + 128 * 128)  # images, results, filters; written and read
    right = flop / (0.5 * device.peak["f32"]) + nbytes / (0.5 * device.memory_bytes_per_second)
    assert algorithms(conv(groups=groups), device)["fft16"] == pytest.approx(groups * right)


def test_a_stride_slows_the_gradient_of_the_input_alone() -> None:
    """By the factor of the library, on top of what its taps are fewer."""
    plain = replace(catalogue.device("m40"), convolution=ConvolutionLibrary())
    slow = replace(plain, convolution=ConvolutionLibrary(strided=2.0))
    for direction in Direction:
        for stride, out in ((1, 28), (2, 14)):
            shape = conv(direction, stride=stride, out_rows=out, out_columns=out)
            factor = 2 if direction is Direction.GRAD_INPUT and stride == 2 else 1
            assert convolution_seconds(shape, slow) == pytest.approx(factor * convolution_seconds(shape, plain))


def test_fewer_multiply_adds_may_exceed_the_peak() -> None:
    """A large 3x3 convolution is faster than its multiply-adds at the peak, never more than by what the algorithms save."""
    p100 = catalogue.device("p100-sxm2")
    shape = conv(images=256, channels=512, filters=512)
    at_peak = shape.gemm.flop / p100.peak["f32"]
    assert at_peak / 4 < convolution_seconds(shape, p100) < at_peak


@given(st.sampled_from(list(Direction)), st.sampled_from(["images", "channels", "filters"]), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_more_work_is_never_faster(direction: Direction, what: str, more: int) -> None:
    """Monotony."""
    device, shape = catalogue.device("p100-sxm2"), conv(direction, images=8)
    larger = replace(shape, **{what: getattr(shape, what) + more})
    assert convolution_seconds(larger, device) >= convolution_seconds(shape, device) * (1 - 1e-12)


def test_groups_are_products_side_by_side() -> None:
    """conv2 of AlexNet with two groups: half the multiply-adds, as two products."""
    x, w, attrs = f32(1, 27, 27, 96), f32(5, 5, 48, 256), {"stride": 1, "pad": 2, "groups": 2}
    found = convolution("conv2d", (x, w), attrs)
    assert found is not None
    assert (found.channels, found.filters, found.groups) == (48, 128, 2)
    assert found.gemm.flop == 2 * 27 * 27 * 256 * 25 * 48
    weights = convolution("conv2d_grad_weight", (x, f32(1, 27, 27, 256)), {**attrs, "kh": 5, "kw": 5})
    inputs = convolution("conv2d_grad_input", (f32(1, 27, 27, 256), w), {**attrs, "height": 27, "width": 27})
    assert weights is not None and inputs is not None
    assert weights.gemm.flop == inputs.gemm.flop == found.gemm.flop
    assert convolution("matmul", (f32(2, 3), f32(3, 4)), {}) is None


def test_pads_may_differ() -> None:
    """A 1x7 kernel is padded along columns only."""
    found = convolution("conv2d", (f32(2, 17, 17, 8), f32(1, 7, 8, 4)), {"stride": 1, "pad": (0, 3)})
    assert found is not None
    assert (found.out_rows, found.out_columns) == (17, 17)


def test_floor_of_a_call() -> None:
    """A small convolution takes what a call of the library takes; its device's launch floor is that of other kernels."""
    m40 = catalogue.device("m40")
    attrs = {"stride": 1, "pad": 0}
    small = roofline.roof_of("conv2d", (f32(1, 2, 2, 1), f32(1, 1, 1, 1)), attrs, {}, 8, 36, m40)
    assert small.launch_seconds == m40.convolution.call_seconds > m40.launch_seconds
    assert roofline.roof_of("relu", (f32(4),), {}, {}, 4, 32, m40).launch_seconds == m40.launch_seconds


@pytest.mark.parametrize(
    "changes", [{"forward": 0.0}, {"strided": -1.0}, {"winograd": 2.5}, {"fft": -0.1}, {"call_seconds": -1e-6}]
)
def test_rates_that_cannot_be(changes: dict[str, float]) -> None:
    """They are refused when made."""
    with pytest.raises(HwError, match="convolution"):
        ConvolutionLibrary(**changes)


def test_the_default_library_multiplies_matrices() -> None:
    """Without benchmarks of layers nothing is claimed but a matrix product."""
    a100 = catalogue.device("a100-sxm4-80gb")
    assert a100.convolution == ConvolutionLibrary()
    assert set(algorithms(conv(), a100)) == {"gemm"}
