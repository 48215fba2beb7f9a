"""Roofline: physical limits, monotony, quantisation, and published matrix products as the oracle."""

import math
import statistics
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graph.ops  # noqa: F401  (fills OPS)
from graph.ir import Phase
from graph.op import OPS, Work
from graph.registry import Registry
from graph.tensor_type import TensorType, f32
from hw import catalogue
from hw.cost import cost_model, roofline
from hw.cost.gemm import gemm_seconds
from hw.cost.gemm_shape import SHAPES, Gemm, gemm_shape
from hw.device import Device, Engines
from hw.errors import HwError
from hw.kernels.record import Call, KernelRecord, Platform

DEVICES = [d for d in map(catalogue.device, catalogue.names("device")) if d.nfu is None]
EXTENT = st.integers(1, 5000)

DEEPBENCH = [
    # m, n, k, milliseconds on P100, on V100, in fp32: every eighth of the 160 rows that give both, from the first on.
    # Baidu DeepBench commit da81ba782073, results/train, Dense Matrix Multiplication.
    (1760, 16, 1760, 0.055, 0.038),
    (2048, 128, 2048, 0.148, 0.106),
    (4096, 32, 4096, 0.172, 0.11),
    (1760, 7000, 1760, 5.068, 3.145),
    (2560, 64, 2560, 0.115, 0.088),
    (1760, 7133, 1760, 5.014, 3.369),
    (35, 8457, 4096, 0.812, 0.39),
    (35, 8457, 4096, 0.617, 0.411),
    (7680, 128, 2560, 1.017, 0.386),
    (3072, 128, 1024, 0.111, 0.08),
    (1024, 8, 500000, 7.948, 3.631),
    (8448, 24000, 2816, 125.783, 87.831),
    (6144, 24000, 2048, 69.472, 42.783),
    (3072, 48000, 1024, 33.954, 21.977),
    (4608, 16, 1536, 0.186, 0.057),
    (512, 24000, 1530, 4.364, 2.902),
    (512, 24000, 2048, 5.868, 3.691),
    (1024, 16, 512, 0.011, 0.014),
    (1024, 48000, 1530, 16.785, 11.58),
    (1024, 48000, 2048, 22.636, 14.213),
]


def product_seconds(m: int, n: int, k: int, device: Device) -> float:
    """A whole matrix product kernel."""
    types = (f32(m, k), f32(k, n))
    attrs = {"ta": False, "tb": False}
    nbytes = 4 * (m * k + k * n + m * n)
    return roofline.roof_of("matmul", types, attrs, {}, 2 * m * n * k, nbytes, device).seconds


@pytest.mark.parametrize(("name", "column"), [("p100-sxm2", 3), ("v100-sxm2-16gb", 4)])
def test_published_matrix_products(name: str, column: int) -> None:
    """Half of the sample within an eighth, large and square ones within 15 %, none off by more than a factor of two.

    The launch floor and the tiles' speeds were chosen on this table, so this is a check of the fit, not a prediction.
    """
    device = catalogue.device(name)
    errors = {row[:3]: math.log(product_seconds(*row[:3], device) / (row[column] * 1e-3)) for row in DEEPBENCH}
    large = [abs(e) for (m, n, k), e in errors.items() if m * n * k > 1e10 and min(m, n, k) >= 128]
    assert statistics.median(map(abs, errors.values())) < 1 / 8
    assert len(large) > 5
    assert max(large) < 0.15
    assert max(map(abs, errors.values())) < math.log(2)


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
@given(EXTENT, EXTENT, EXTENT)
@settings(max_examples=30, deadline=None)
def test_physical_limits(device: Device, m: int, n: int, k: int) -> None:
    """Never faster than the peaks, nor than the launch floor."""
    seconds = product_seconds(m, n, k, device)
    assert seconds >= device.launch_seconds
    assert seconds >= 2 * m * n * k / device.peak["f32"]
    assert seconds >= 4 * (m * n + n * k + m * k) / device.memory_bytes_per_second


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
@given(EXTENT, EXTENT, EXTENT, st.integers(1, 300), st.sampled_from("mnk"))
@settings(max_examples=30, deadline=None)
def test_more_work_is_never_faster(device: Device, m: int, n: int, k: int, more: int, which: str) -> None:
    """Monotony in every extent."""
    larger = {"m": m, "n": n, "k": k}
    larger[which] += more
    assert product_seconds(larger["m"], larger["n"], larger["k"], device) >= product_seconds(m, n, k, device)


def test_waves() -> None:
    """One tile more than a full wave takes a second wave; within a wave more tiles are free."""
    device = Device(
        name="grid", platform=Platform.CUDA, peak={"f32": 1e12}, memory_nbytes=1, memory_bytes_per_second=1e15, cores=10
    )
    one, full, over = (gemm_seconds(Gemm(m=128 * tiles, n=128, k=64), device) for tiles in (5, 10, 11))
    assert one < full
    assert full == pytest.approx(2 * 128 * 128 * 64 / 1e11)
    assert full < over <= 2 * full


def test_small_problems_use_the_device_badly() -> None:
    """Flop per second grows with the size and reaches the published plateau."""
    v100 = catalogue.device("v100-sxm2-16gb")
    rates = [2 * s**3 / product_seconds(s, s, s, v100) for s in (32, 128, 512, 2048, 8192)]
    assert rates == sorted(rates)
    assert rates[0] < 0.01 * v100.peak["f32"]
    assert 0.8 < rates[-1] / v100.peak["f32"] <= v100.efficiency.matrix


def test_streaming_needs_bytes_in_flight() -> None:
    """Little's law: bandwidth x latency bytes reach about half of the reached bandwidth, and many reach all of it."""
    a100 = catalogue.device("a100-sxm4-80gb")
    reached = a100.memory_bytes_per_second * a100.efficiency.memory
    in_flight = int(reached * a100.efficiency.memory_seconds)
    assert in_flight / roofline.memory_seconds(in_flight, a100) == pytest.approx(reached / 2, rel=1e-3)
    assert 10**10 / roofline.memory_seconds(10**10, a100) == pytest.approx(reached, rel=1e-2)
    assert roofline.memory_seconds(0, a100) == 0


CONV = {"stride": 2, "pad": 1}


@pytest.mark.parametrize(
    ("op", "types", "attrs", "shape"),
    [
        ("matmul", (f32(3, 5), f32(5, 7)), {"ta": False, "tb": False}, (3, 7, 5)),
        ("matmul", (f32(5, 3), f32(7, 5)), {"ta": True, "tb": True}, (3, 7, 5)),
        ("conv2d", (f32(2, 9, 8, 3), f32(3, 3, 3, 4)), CONV, (2 * 5 * 4, 4, 27)),
        # of 9 taps and 4 filters a pixel meets 20 / 72: there are so many results for so many pixels
        ("conv2d_grad_input", (f32(2, 5, 4, 4), f32(3, 3, 3, 4)), {**CONV, "height": 9, "width": 8}, (2 * 9 * 8, 3, 10)),
        ("conv2d_grad_weight", (f32(2, 9, 8, 3), f32(2, 5, 4, 4)), {**CONV, "kh": 3, "kw": 3}, (27, 4, 2 * 5 * 4)),
    ],
)
def test_gemm_shape(op: str, types: tuple[TensorType, ...], attrs: dict[str, Any], shape: tuple[int, int, int]) -> None:
    """m, n, k counted by hand."""
    g = gemm_shape(op, types, attrs, {})
    assert g is not None
    assert (g.m, g.n, g.k, g.batch) == (*shape, 1)


@pytest.mark.parametrize("name", SHAPES)
def test_gemm_shape_counts_the_work(name: str) -> None:
    """No operator counts more arithmetic than its matrix product does; a product alone counts the same."""
    op = OPS[name]
    for size in op.sizes():
        attrs = {**op.attrs, **size.attrs}
        g = gemm_shape(name, size.types, attrs, {})
        assert g is not None
        assert g.flop >= op.work(size.types, attrs).flop
        assert name != "matmul" or g.flop == op.work(size.types, attrs).flop


def test_a_record_may_say_its_shape() -> None:
    """A kernel of an operator that nothing here knows names its matrix product by terms."""
    g = gemm_shape("attention", (), {}, {"gemm_m": 4.0, "gemm_n": 5.0, "gemm_k": 6.0, "gemm_batch": 7.0, "bytes": 1.0})
    assert g == Gemm(m=4, n=5, k=6, batch=7)
    assert gemm_shape("relu", (f32(3),), {}, {"bytes": 24.0}) is None


def call_of(kernel: str, *types: TensorType, flop: int, nbytes: int, **attrs: Any) -> Call:
    """A call as `hw.lower` would make it."""
    return Call(
        kernel=kernel,
        nodes=("n",),
        fused=(),
        reads=(),
        writes=(),
        types=types,
        attrs=attrs,
        work=Work(flop=flop, bytes_read=nbytes),
        workspace=0,
        layer="l",
        phase=Phase.FORWARD,
    )


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Registry[KernelRecord]:
    """A registry of two kernels for these tests alone."""
    found: Registry[KernelRecord] = Registry("kernel")
    for name, platform, op in (("cuda.relu", Platform.CUDA, "relu"), ("cpu.relu", Platform.CPU, "relu")):
        record = KernelRecord(
            name=name,
            platform=platform,
            op=op,
            epilogue=(),
            workspace=lambda types, attrs: 0,
            terms=lambda types, attrs: MappingProxyType({"call": 1.0}),
            sizes=lambda: (),
        )
        found.add(name, record)
    monkeypatch.setattr(roofline, "KERNELS", found)
    return found


@pytest.mark.usefixtures("kernels")
def test_calls() -> None:
    """A call is launch bound when small and memory bound when large; the model gives the same seconds and remembers them."""
    v100 = catalogue.device("v100-sxm2-16gb")
    small, large = (call_of("cuda.relu", f32(n), flop=n, nbytes=8 * n) for n in (100, 10**8))
    assert roofline.roof(small, v100).bound == "launch"
    assert roofline.roof(large, v100).bound == "memory"
    model = cost_model(v100)
    assert model.name == "roofline"
    assert model.seconds(large) == roofline.seconds(large, v100)
    eighth = replace(v100, memory_bytes_per_second=v100.memory_bytes_per_second / 8)  # eight around one memory
    assert model.seconds(large, busy=8) == roofline.seconds(large, eighth) > 7 * model.seconds(large)
    assert 0 < model.spread(large) < 1


@pytest.mark.usefixtures("kernels")
def test_refused() -> None:
    """Kernels of another platform, element types without a peak, devices without peaks."""
    v100 = catalogue.device("v100-sxm2-16gb")
    with pytest.raises(HwError, match=r"kernel 'cpu.relu' runs on cpu, but device 'v100-sxm2-16gb' is cuda"):
        roofline.roof(call_of("cpu.relu", f32(3), flop=3, nbytes=24), v100)
    with pytest.raises(HwError, match="has no peak for 'bf16'; "):
        v100.flop_per_second("bf16")
    core = Device(
        name="core", platform=Platform.CPU, engines=Engines.SHARED, peak={}, memory_nbytes=1, memory_bytes_per_second=1.0
    )
    with pytest.raises(HwError, match="device 'core' is priced by measurement, but this host has no calibration profile"):
        cost_model(core)
    with pytest.raises(HwError, match="it is priced by calibration"):
        cost_model(core, name="roofline")
