"""Matrix products: every tile, precision and way of reading, parts, batches, and what becomes of sums."""

import numpy as np
import pytest

from graph.op import Array
from graph.tensor_type import DType
from hw.kernels.cuda_gemm import GemmCut
from runtime.errors import RunError
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Place
from runtime.kernels.cuda.matmul import ANY, FAST, matrices
from runtime.kernels.cuda.matrix_vector import vector_product
from runtime.kernels.cuda.operands import ACCUMULATE, LARGE, MEDIUM, RELU, SMALL, Loader, Precision, Tile
from runtime.kernels.cuda.run import bound, download, places_of, upload
from runtime.kernels.cuda.tile import gemm, product

HALVES = {Precision.BF16: 7, Precision.FP16: 10, Precision.TF32: 10}
"""Precision -> bits of its fraction."""


def rounded(x: Array, precision: Precision) -> Array:
    """Operands as tensor cores see them, in f64: whole multiples of the last place's unit. tf32 rounds ties away from zero."""
    if precision is Precision.F32:
        return x.astype(np.float64)
    fraction, exponent = np.frexp(x.astype(np.float64))
    unit = np.ldexp(1.0, exponent - 1 - HALVES[precision])
    scaled = fraction * np.ldexp(1.0, HALVES[precision] + 1)
    whole = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) if precision is Precision.TF32 else np.rint(scaled)
    return whole * unit


def operands(m: int, n: int, k: int, seed: int = 0) -> tuple[Array, Array]:
    """A and B, as they are multiplied: (m, k) and (k, n)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)


def carry_out(launches: list[Launch], arrays: list[Array]) -> list[Array]:
    """Arrays after the launches."""
    on_device = [upload(a) for a in arrays]
    for launch in launches:
        bound(launch, on_device)()
    return [download(a) for a in on_device]


def cut_of(m: int, n: int, k: int, tile: Tile, parts: int = 1, chunk: int = 0, batch: int = 1) -> GemmCut:
    return GemmCut(m=m, n=n, k=k, batch=batch, tile=tile.rows, parts=parts, chunk=chunk or 32 * -(-k // 32))


def multiplied(
    kernel: DeviceKernel, cut: GemmCut, a: Array, b: Array, ta: bool, tb: bool, c: Array | None = None, bias: Array | None = None,
    flags: int = 0,
) -> Array:  # fmt: skip
    """C of a kernel, with operands laid out as it reads them."""
    x, y = np.ascontiguousarray(a.T if ta else a), np.ascontiguousarray(b.T if tb else b)
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, np.float32) if c is None else c
    extra = [] if bias is None else [bias]
    arrays = [x.ravel(), y.ravel(), c.ravel(), np.full(max(cut.workspace, 4), 0xFF, np.uint8), *extra]
    places = places_of([upload(p) for p in arrays])
    launches = product(
        kernel, cut, *places[:4], numbers_a=(1, m) if ta else (k, 1), numbers_b=(k, 1) if tb else (1, n), pitch=n,
        bias=places[4] if extra else None, flags=flags,
    )  # fmt: skip
    after = carry_out(launches, arrays)
    return after[2].reshape(m, n)


def close(got: Array, want: Array, near: float = 3e-6) -> None:
    np.testing.assert_allclose(got, want, rtol=near, atol=near * max(float(np.abs(want).max()), 1.0))


LARGE_CASES = [(Precision.F32, *how) for how in FAST] + [(p, False, False) for p in Precision if p is not Precision.F32]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "ta", "tb"), LARGE_CASES)
def test_large_tiles(precision: Precision, ta: bool, tb: bool) -> None:
    """A tile that is filled in part, and k that is no multiple of a slab."""
    m, n, k = 100, 68, 20
    a, b = operands(m, n, k)
    kernel = gemm(LARGE, precision, *FAST[ta, tb])
    got = multiplied(kernel, cut_of(m, n, k, LARGE), a, b, ta, tb)
    close(got, rounded(a, precision) @ rounded(b, precision))


@pytest.mark.simulated
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize(
    "how", [ANY, FAST[False, False], FAST[False, True], FAST[True, False]], ids=lambda h: h[0].name + h[1].name
)
def test_small_tiles(precision: Precision, how: tuple[Loader, Loader]) -> None:
    """Several tiles, and both slabs of shared memory more than once."""
    m, n, k = (36, 24, 36) if how is not ANY else (33, 25, 37)
    a, b = operands(m, n, k)
    ta, tb = not how[0].is_deep, how[1].is_deep
    got = multiplied(gemm(SMALL, precision, *how), cut_of(m, n, k, SMALL), a, b, ta, tb)
    close(got, rounded(a, precision) @ rounded(b, precision))


@pytest.mark.parametrize("tile", [MEDIUM, LARGE], ids=lambda t: str(t.rows))
@pytest.mark.parametrize("how", [ANY, FAST[False, False]], ids=["any", "fast"])
def test_without_asynchronous_copies(tile: Tile, how: tuple[Loader, Loader]) -> None:
    a, b = operands(36, 24, 20)
    kernel = gemm(tile, Precision.F32, *how).older
    assert kernel is not None
    assert kernel.least == (7, 5)
    close(multiplied(kernel, cut_of(36, 24, 20, tile), a, b, False, False), a.astype(np.float64) @ b)


def test_more_rows_of_tiles_than_a_group() -> None:
    """Blocks take tiles in groups of eight rows: all of them, each once."""
    a, b = operands(9 * 32 + 1, 33, 3)
    got = multiplied(gemm(SMALL, Precision.F32, *ANY), cut_of(289, 33, 3, SMALL), a, b, False, False)
    close(got, a.astype(np.float64) @ b)


@pytest.mark.parametrize("n", [12, 5])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("flags", [0, RELU, ACCUMULATE])
def test_what_becomes_of_a_sum(n: int, parts: int, flags: int) -> None:
    """With wide stores and without, of whole sums and of parts."""
    m, k = 8, 68
    a, b = operands(m, n, k)
    bias, before = np.linspace(-3, 3, n, dtype=np.float32), np.arange(m * n, dtype=np.float32).reshape(m, n)
    kernel = gemm(SMALL, Precision.F32, *ANY)
    cut = cut_of(m, n, k, SMALL, parts, 32 if parts > 1 else 0)
    got = multiplied(kernel, cut, a, b, False, False, c=before.copy(), bias=bias, flags=flags)
    want = a.astype(np.float64) @ b + bias
    want = np.maximum(want, 0) if flags & RELU else want
    close(got, want + before if flags & ACCUMULATE else want)


def test_products_beside_each_other() -> None:
    """A batch shares its operands where loaders say so; results lie apart, between rows that belong to others."""
    a, b = operands(6, 4, 8)
    arrays = [a.ravel(), b.ravel(), np.full(6 * 8, np.nan, np.float32), np.zeros(4, np.uint8), np.arange(8, dtype=np.float32)]
    places = places_of([upload(x) for x in arrays])
    launches = product(
        gemm(SMALL, Precision.F32, *ANY), cut_of(6, 4, 8, SMALL, batch=2), *places[:4], numbers_a=(8, 1), numbers_b=(1, 4),
        pitch=8, of_batch=4, bias=places[4],
    )  # fmt: skip
    got = carry_out(launches, arrays)[2].reshape(6, 2, 4)
    for i in range(2):
        close(got[:, i], a.astype(np.float64) @ b + np.arange(4 * i, 4 * i + 4))


@pytest.mark.parametrize("precision", Precision)
def test_what_is_no_number_stays_none(precision: Precision) -> None:
    a, b = operands(4, 4, 4)
    a[1, 2], b[3, 2] = np.nan, np.inf
    got = multiplied(gemm(SMALL, precision, *ANY), cut_of(4, 4, 4, SMALL), a, b, False, False, flags=RELU)
    with np.errstate(invalid="ignore"):
        want = np.maximum(a.astype(np.float64) @ b, 0)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isposinf(got), np.isposinf(want))


@pytest.mark.parametrize(
    ("m", "n", "turned"), [(1, 6, False), (1, 6, True), (1, 68, False), (1, 12, True), (6, 1, False), (6, 1, True)]
)
@pytest.mark.parametrize(("k", "parts"), [(0, 1), (5, 1), (132, 2)])
def test_products_with_a_vector(m: int, n: int, turned: bool, k: int, parts: int) -> None:
    """The matrix along k and along the outputs, aligned and not, whole and in parts, with a bias and a ReLU."""
    a, b = operands(m, n, k)
    is_deep = turned if m == 1 else not turned
    matrix, x = (b.T if is_deep else b, a) if m == 1 else (a if is_deep else a.T, b)
    bias = np.linspace(-1, 1, n, dtype=np.float32)
    chunk = 96 if parts > 1 else max(k, 1)
    cut = GemmCut(m=m, n=n, k=k, tile=0, parts=parts, chunk=chunk)
    arrays = [np.ascontiguousarray(matrix).ravel(), x.ravel(), np.full(m * n, np.nan, np.float32), bias]
    arrays.insert(3, np.zeros(max(cut.workspace, 4), np.uint8))
    places = places_of([upload(p) for p in arrays])
    launches = vector_product(cut, *places[:4], is_deep=is_deep, bias=places[4], flags=RELU)
    got = carry_out(launches, arrays)[2].reshape(m, n)
    close(got, np.maximum(a.astype(np.float64) @ b + bias, 0))


def test_unaligned_operands_take_the_kernel_that_copies_element_by_element() -> None:
    cut = cut_of(1024, 1024, 64, LARGE)
    size = 1024 * 1024
    for address, lda, name, blocks in (
        (0, 64, "128x128_deep4_wide4", 8 * 8),
        (4, 64, "64x64_deep1_wide1", 16 * 16),
        (0, 63, "64x64_deep1_wide1", 16 * 16),
    ):
        a, b, c, workspace = (Place(index=i, address=address, dtype=DType.F32, size=size) for i in range(4))
        (launch,) = matrices(Precision.F32, cut, a, b, c, workspace, ta=False, tb=False, lda=lda, ldb=1024)
        assert launch.kernel.name == f"gemm_f32_{name}"
        assert launch.grid == (blocks, 1, 1)


def test_operands_that_32_bits_cannot_number_are_refused() -> None:
    small, huge = (Place(index=0, address=0, dtype=DType.F32, size=n) for n in (64, 2**31))
    with pytest.raises(RunError, match="at most 2147483647 of an operand, got 2147483648"):
        matrices(Precision.F32, cut_of(8, 8, 8, SMALL), huge, small, small, small, ta=False, tb=False, lda=8, ldb=8)
