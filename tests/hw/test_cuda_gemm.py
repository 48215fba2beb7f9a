"""How CUDA kernels cut matrix products."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.tensor_type import f32
from hw.errors import HwError
from hw.kernels import KERNELS, Platform, record_for
from hw.kernels.cuda_gemm import LEAST_K, MOST_PARTS, MULTIPLE, WANTED, gemm_cut, matmul_cut, vector_cut

EXTENT = st.integers(0, 10_000)
PLAIN = {"ta": False, "tb": False}


@given(m=EXTENT, n=EXTENT, k=st.integers(0, 200_000), batch=st.integers(1, 8))
def test_parts_cover_k_once_and_none_is_empty(m: int, n: int, k: int, batch: int) -> None:
    cut = gemm_cut(m, n, k, batch)
    assert cut.parts * cut.chunk >= k
    assert (cut.parts - 1) * cut.chunk < max(k, 1)
    assert cut.chunk % MULTIPLE == 0
    assert 1 <= cut.parts <= MOST_PARTS
    assert cut.parts == 1 or (cut.chunk >= LEAST_K and cut.parts * cut.tiles * batch <= WANTED)
    assert cut.tiles * cut.tile**2 >= m * n


@pytest.mark.parametrize(
    ("extents", "tile", "parts", "chunk"),
    [
        ((4096, 4096, 4096), 128, 1, 4096),  # 1024 large tiles
        ((1280, 1280, 64), 128, 1, 64),  # 100 of them
        ((1024, 1024, 64), 64, 1, 64),  # 64 large tiles are too few, 256 are not
        ((4096, 48, 100), 32, 1, 128),  # columns that fill no tile of 128; of 64 there are only 64
        ((64, 64, 8192), 32, 64, 128),  # 4 tiles, so k is split: 256 // 4 parts of 128 steps
        ((64, 64, 100), 32, 1, 128),  # too few steps to split
        ((5, 0, 9), 32, 1, 32),
    ],
)
def test_tiles_and_parts(extents: tuple[int, int, int], tile: int, parts: int, chunk: int) -> None:
    cut = gemm_cut(*extents)
    assert (cut.tile, cut.parts, cut.chunk) == (tile, parts, chunk)


def test_workspace_holds_a_number_for_each_part_of_each_element() -> None:
    assert gemm_cut(64, 64, 8192).workspace == 4 * 64 * 64 * 64
    assert gemm_cut(64, 64, 8192, batch=2).workspace == 4 * 32 * 2 * 64 * 64
    assert gemm_cut(4096, 4096, 4096).workspace == 0
    split = (f32(64, 8192), f32(8192, 64)), PLAIN
    for name in ("cuda.matmul", "cuda.matmul.tf32", "cuda.matmul.bf16", "cuda.matmul.fp16"):
        assert KERNELS[name].workspace(*split) == gemm_cut(64, 64, 8192).workspace
        bias = f32(64)
        assert KERNELS[name].workspace((*split[0], bias), {**PLAIN, "epilogue": "add_bias"}) == gemm_cut(64, 64, 8192).workspace


def test_one_row_or_column_is_a_product_with_a_vector() -> None:
    assert matmul_cut((f32(1, 4096), f32(4096, 1000)), PLAIN) == vector_cut(1, 1000, 4096, is_deep=False)
    assert matmul_cut((f32(1, 4096), f32(1000, 4096)), {"ta": False, "tb": True}) == vector_cut(1, 1000, 4096, is_deep=True)
    assert matmul_cut((f32(70, 9), f32(9, 1)), PLAIN) == vector_cut(70, 1, 9, is_deep=True)
    assert matmul_cut((f32(9, 70), f32(9, 1)), {"ta": True, "tb": False}) == vector_cut(70, 1, 9, is_deep=False)
    # 1000 outputs: 250 blocks of 4 suffice; 16 blocks of 64 want k split, into 16 parts of 256 steps.
    assert vector_cut(1, 1000, 4096, is_deep=True).parts == 1
    assert (vector_cut(1, 1000, 4096, is_deep=False).parts, vector_cut(1, 1000, 4096, is_deep=False).chunk) == (16, 256)


def test_f32_is_what_is_taken_unless_another_precision_is_asked_for() -> None:
    assert record_for("matmul", Platform.CUDA).name == "cuda.matmul"
    assert record_for("matmul", Platform.CUDA, "bf16").name == "cuda.matmul.bf16"
    with pytest.raises(HwError, match="no algorithm 'bf61' on 'cuda'"):
        record_for("matmul", Platform.CUDA, "bf61")


def test_algorithms_do_the_same_work() -> None:
    types = (f32(30, 40), f32(40, 50))
    terms = [KERNELS[f"cuda.matmul{a}"].terms(types, PLAIN) for a in ("", ".tf32", ".bf16", ".fp16")]
    work = {"call": 1, "flop": 2 * 30 * 40 * 50, "bytes": 4 * (30 * 40 + 40 * 50 + 30 * 50)}
    assert [{name: t[name] for name in work} for t in terms] == [work] * 4
