"""Matrix products: every tile, precision and way of reading, parts, batches, and what becomes of sums."""

import numpy as np
import pytest

from graph.op import Array
from graph.tensor_type import DType, f32
from hw.kernels.cuda_gemm import GemmCut, matmul_cut, rounded_matmul_workspace
from runtime.errors import RunError
from runtime.kernels.cuda.halves import halved
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Place
from runtime.kernels.cuda.matmul import ANY, FAST, HALF, TILES, matrices
from runtime.kernels.cuda.matrix_vector import vector_product
from runtime.kernels.cuda.operands import ACCUMULATE, LARGE, LONE, MEDIUM, RELU, SMALL, SQUARE, Loader, Precision, Tile
from runtime.kernels.cuda.run import bound, download, places_of, upload
from runtime.kernels.cuda.tile import gemm, product

HALVES = {Precision.BF16: 7, Precision.FP16: 10, Precision.TF32: 10}
"""Precision -> bits of its fraction."""


def rounded(x: Array, precision: Precision) -> Array:
    """Operands as tensor cores see them, in f64: whole multiples of the last place's unit."""
    if precision is Precision.F32:
        return x.astype(np.float64)
    fraction, exponent = np.frexp(x.astype(np.float64))
    unit = np.ldexp(1.0, exponent - 1 - HALVES[precision])
    return np.asarray(np.rint(fraction * np.ldexp(1.0, HALVES[precision] + 1)) * unit)


def operands(m: int, n: int, k: int, seed: int = 0) -> tuple[Array, Array]:
    """A and B, as they are multiplied: (m, k) and (k, n)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)


def carry_out(launches: list[Launch], arrays: list[Array]) -> list[Array]:
    """Arrays after the launches."""
    on_device = [upload(a) for a in arrays]
    for launch in launches:
        bound(launch, on_device)(0)
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


LARGE_CASES = [(Precision.F32, *how) for how in FAST] + [(Precision.BF16, False, False)]
LARGE_CASES += [(Precision.TF32, ta, False) for ta in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "ta", "tb"), LARGE_CASES)
def test_large_tiles(precision: Precision, ta: bool, tb: bool) -> None:
    """A tile that is filled in part, and k that is no multiple of a slab."""
    m, n, k = 100, 68, 20
    a, b = operands(m, n, k)
    tile = TILES[precision][128]
    got = multiplied(gemm(tile, precision, *FAST[ta, tb]), cut_of(m, n, k, tile), a, b, ta, tb)
    close(got, rounded(a, precision) @ rounded(b, precision))


@pytest.mark.parametrize(("precision", "ta", "tb"), [*((Precision.BF16, *how) for how in HALF), (Precision.FP16, False, False)])
def test_operands_that_are_rounded_already(precision: Precision, ta: bool, tb: bool) -> None:
    """All three slabs of shared memory, the last one filled in part."""
    check_rounded(LONE, precision, ta, tb, 40, 24, 104)


def test_large_tiles_of_operands_that_are_rounded_already() -> None:
    check_rounded(SQUARE, Precision.BF16, False, False, 104, 72, 40)


def check_rounded(tile: Tile, precision: Precision, ta: bool, tb: bool, m: int, n: int, k: int) -> None:
    a, b = operands(m, n, k)
    x, y = (np.ascontiguousarray(p.T if turned else p) for p, turned in ((a, ta), (b, tb)))
    halves = [_sixteen_bits(p, precision).ravel() for p in (x, y)]
    arrays = [*halves, np.full(m * n, np.nan, np.float32), np.zeros(4, np.uint8)]
    places = places_of([upload(p) for p in arrays])
    launches = product(
        gemm(tile, precision, *HALF[ta, tb]), cut_of(m, n, k, tile), *places, numbers_a=(1, m) if ta else (k, 1),
        numbers_b=(k, 1) if tb else (1, n), pitch=n,
    )  # fmt: skip
    close(carry_out(launches, arrays)[2].reshape(m, n), rounded(a, precision) @ rounded(b, precision))


def _sixteen_bits(x: Array, precision: Precision) -> Array:
    """The bits of numbers rounded to a 16-bit kind."""
    near = rounded(x, precision)
    if precision is Precision.FP16:
        return near.astype(np.float16).view(np.int16)
    return (near.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.int16)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize(
    "how",
    [ANY, pytest.param(FAST[False, False], marks=pytest.mark.simulated), FAST[False, True], FAST[True, False]],
    ids=lambda h: h[0].name + h[1].name,
)
def test_small_tiles(precision: Precision, how: tuple[Loader, Loader]) -> None:
    """Several tiles, and both slabs of shared memory more than once."""
    m, n, k = (36, 24, 36) if how is not ANY else (33, 25, 37)
    a, b = operands(m, n, k)
    ta, tb = not how[0].is_deep, how[1].is_deep
    tile = TILES[precision][32]
    got = multiplied(gemm(tile, precision, *how), cut_of(m, n, k, tile), a, b, ta, tb)
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
    tile = TILES[precision][32]
    got = multiplied(gemm(tile, precision, *ANY), cut_of(4, 4, 4, tile), a, b, False, False, flags=RELU)
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


@pytest.mark.parametrize(
    ("m", "n", "k", "ta", "tb", "is_first"),
    [
        (1536, 1040, 264, False, False, True),
        (1536, 1040, 264, True, False, True),
        (1536, 1040, 260, False, False, False),  # eight rounded elements do not begin with a row
        (5000, 264, 512, False, False, False),  # too few columns
        (1536, 1040, 264, True, True, False),
    ],
)
def test_operands_of_large_products_are_rounded_first(m: int, n: int, k: int, ta: bool, tb: bool, is_first: bool) -> None:
    """And the workspace has room for them, and for the sums of parts."""
    attrs = {"ta": ta, "tb": tb}
    types = (f32(*((k, m) if ta else (m, k))), f32(*((n, k) if tb else (k, n))))
    cut, workspace = matmul_cut(types, attrs), rounded_matmul_workspace(types, attrs)
    assert (workspace > cut.workspace) == is_first
    sizes = ((DType.F32, m * k), (DType.F32, k * n), (DType.F32, m * n), (DType.U8, workspace))
    a, b, c, room = (Place(index=i, address=0, dtype=d, size=size) for i, (d, size) in enumerate(sizes))
    found = matrices(
        Precision.BF16, cut, a, b, c, room, ta=ta, tb=tb, lda=types[0].shape[1], ldb=types[1].shape[1], has_room=True
    )  # fmt: skip
    names = [launch.kernel.name for launch in found if launch.kernel.name.startswith(("rounded", "gemm"))]
    assert names[:-1] == ["rounded_bf16"] * 2 * is_first
    assert names[-1].endswith("8") == is_first
    if is_first:
        ends = [operand.first + operand.size for operand in found[2].arguments[:2]]  # type: ignore[union-attr]
        assert 4 * cut.parts * (cut.parts > 1) * m * n <= 2 * found[2].arguments[0].first  # type: ignore[union-attr]
        assert ends[0] <= found[2].arguments[1].first and 2 * ends[1] <= workspace  # type: ignore[union-attr]


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_rounding_beforehand(precision: Precision) -> None:
    """Operands end one after the other, ties at even numbers."""
    a = np.concatenate([operands(1, 500, 2)[1].ravel(), 1 + np.arange(32, dtype=np.float32) / 4096])
    b = operands(4, 1, 8)[0].ravel()
    arrays = [a, b, np.zeros(4 * (a.size + b.size), np.uint8)]
    *places, workspace = places_of([upload(x) for x in arrays])
    found, launches = halved(precision, places, workspace, 100)
    after = carry_out(launches, arrays)[2].view(np.int16)
    assert not after[:50].any()
    for x, at in zip((a, b), found, strict=True):
        np.testing.assert_array_equal(after[at.first : at.first + at.size], _sixteen_bits(x, precision))
