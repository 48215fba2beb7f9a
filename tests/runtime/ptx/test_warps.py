"""Matrices of warps, element by element as the tables of the PTX ISA say where each is; and kernels broken on purpose."""

from typing import Any

import numpy as np
import pytest

from graph.tensor_type import DType
from hw.kernels.cuda_gemm import GemmCut
from runtime.kernels.cuda.compile import ptx
from runtime.kernels.cuda.kernel import Launch, Place
from runtime.kernels.cuda.matmul import FAST
from runtime.kernels.cuda.operands import SMALL, Precision
from runtime.kernels.cuda.tile import gemm, product
from runtime.ptx import traffic, warps
from runtime.ptx.machine import Code
from runtime.ptx.numbers import bf16_bits, f16_bits
from runtime.ptx.parse import PtxError, parse
from runtime.ptx.run import counted, run_launch

RNG = np.random.default_rng(3)


def packed(low: int, high: int) -> int:
    return low | high << 16


@pytest.mark.parametrize("turned", [False, True])
def test_ldmatrix(turned: bool) -> None:
    rows = RNG.integers(0, 1 << 16, (2, 4, 8, 8)).astype(np.uint16)
    words = warps.fragments(rows, turned)
    for warp in range(2):
        for lane in range(32):
            for j in range(4):
                m = rows[warp, j].T if turned else rows[warp, j]
                row, column = lane // 4, lane % 4 * 2
                assert words[j][32 * warp + lane] == packed(int(m[row, column]), int(m[row, column + 1]))


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_products_of_sixteen_steps(kind: str) -> None:
    """Small whole numbers, which every format has exactly."""
    a, b, c = RNG.integers(-4, 5, (16, 16)), RNG.integers(-4, 5, (16, 8)), RNG.integers(-9, 10, (16, 8)).astype(np.float32)
    bits = {"f16": f16_bits, "bf16": bf16_bits}[kind]
    x, y = bits(a.astype(np.float32)), bits(b.astype(np.float32))
    left: list[list[int]] = [[] for _ in range(4)]
    right: list[list[int]] = [[] for _ in range(2)]
    held: list[list[float]] = [[] for _ in range(4)]
    for lane in range(32):
        group, place = lane // 4, lane % 4
        for i, (row, column) in enumerate([(group, 0), (group + 8, 0), (group, 8), (group + 8, 8)]):
            left[i].append(packed(int(x[row, 2 * place + column]), int(x[row, 2 * place + column + 1])))
        for i, row in enumerate([0, 8]):
            right[i].append(packed(int(y[2 * place + row, group]), int(y[2 * place + row + 1, group])))
        for i, (row, column) in enumerate([(group, 0), (group, 1), (group + 8, 0), (group + 8, 1)]):
            held[i].append(float(c[row, 2 * place + column]))
    got = warps.product([np.array(w, np.uint32) for w in left], [np.array(w, np.uint32) for w in right],
                        [np.array(w, np.float32) for w in held], kind)  # fmt: skip
    assert_tile(got, a @ b + c)


def test_products_of_tf32() -> None:
    a, b = RNG.integers(-4, 5, (16, 8)).astype(np.float32), RNG.integers(-4, 5, (8, 8)).astype(np.float32)
    left: list[list[float]] = [[] for _ in range(4)]
    right: list[list[float]] = [[] for _ in range(2)]
    for lane in range(32):
        group, place = lane // 4, lane % 4
        for i, (row, column) in enumerate([(group, 0), (group + 8, 0), (group, 4), (group + 8, 4)]):
            left[i].append(float(a[row, place + column]))
        for i in range(2):
            right[i].append(float(b[place + 4 * i, group]))
    # what is below the ten bits behind the point does not take part
    words = [[np.array(w, np.float32).view(np.uint32) | np.uint32(0x1FFF) for w in side] for side in (left, right)]
    got = warps.product(*words, [np.zeros(32, np.float32)] * 4, "tf32")
    assert_tile(got, a @ b)


def assert_tile(got: list[Any], want: Any) -> None:
    for lane in range(32):
        group, place = lane // 4, lane % 4
        for i, (row, column) in enumerate([(group, 0), (group, 1), (group + 8, 0), (group + 8, 1)]):
            assert got[i][lane] == want[row, 2 * place + column]


def aligned(values: Any) -> Any:
    room = np.zeros(values.nbytes + 16, np.uint8)
    first = -room.ctypes.data % 16
    found = room[first : first + values.nbytes].view(values.dtype)
    found[:] = values
    return found


def square(n: int, precision: Precision = Precision.F32) -> tuple[Launch, list[Any]]:
    """The product of two square matrices with asynchronous copies, and A, B and C."""
    arrays = [aligned(x) for x in (RNG.random(n * n, np.float32), RNG.random(n * n, np.float32), np.zeros(n * n, np.float32))]
    kernel = gemm(SMALL, precision, *FAST[False, False])
    places = [Place(index=i, address=x.ctypes.data, dtype=DType.F32, size=x.size) for i, x in enumerate(arrays)]
    cut = GemmCut(m=n, n=n, k=n, tile=SMALL.rows, parts=1, chunk=n)
    (launch,) = product(kernel, cut, *places, places[2], numbers_a=(n, 1), numbers_b=(1, n), pitch=n)
    return launch, arrays


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bar.sync", "// bar.sync", "since the last barrier|reads a copy that nobody waited for|nobody has written"),
        ("cp.async.wait_group", "// cp.async.wait_group", "reads a copy that nobody waited for"),
    ],
)
def test_a_kernel_without_its_barriers_or_waits_is_refused(old: str, new: str, message: str) -> None:
    """Of the product with asynchronous copies, the first such instruction left out, or all of them."""
    launch, (a, b, c) = square(96)
    text = ptx(launch.kernel, (9, 0))
    assert old in text
    run_launch(launch, [a, b, c])
    np.testing.assert_allclose(c.reshape(96, 96), a.reshape(96, 96) @ b.reshape(96, 96), rtol=1e-5)
    with pytest.raises(PtxError, match=message):
        run_launch(launch, [a, b, c], code=Code(parse(text.replace(old, new))))


def test_traffic() -> None:
    """Turns of shared memory, sectors of global memory: one warp."""
    lanes = np.arange(32)
    for step, nbytes, turns in ((4, 4, 1), (8, 4, 2), (128, 4, 32), (0, 4, 1), (16, 16, 4), (32, 16, 8), (8, 8, 2)):
        assert traffic.of_shared(lanes, lanes * step, nbytes).turns == turns, step
    for step, nbytes, sectors in ((4, 4, 4), (32, 4, 32), (16, 16, 16), (0, 4, 1), (64, 16, 32)):
        assert traffic.of_global(lanes, 4096 + lanes * step, nbytes).sectors == sectors, step
    assert traffic.of_global(lanes, 4096 + 16 + lanes * 4, 4).sectors == 5  # not aligned to a sector
    both = traffic.of_shared(lanes, lanes * 8, 4) + traffic.of_shared(lanes[:3], lanes[:3] * 4, 4)
    assert (both.accesses, both.turns, both.least, both.nbytes) == (2, 3, 2, 140)


def test_what_is_counted() -> None:
    """Of a product of 64 x 64 x 64 in tiles of 32 x 32: each multiply-add once, in warps of 32."""
    launch, arrays = square(64)
    found = counted(launch, arrays)
    assert found.instructions["fma"] * 32 == 64**3
    assert found.shared.turns == found.shared.least
    assert found.total > found.instructions["fma"] and found.everywhere.nbytes > 3 * 4 * 64**2


@pytest.mark.parametrize(
    ("precision", "architecture", "near"),
    [
        (Precision.F32, (7, 5), 1e-6),
        (Precision.F32, (8, 0), 1e-6),
        (Precision.TF32, (8, 0), 2**-9),
        (Precision.BF16, (8, 0), 2**-6),
    ],
)
def test_earlier_architectures(precision: Precision, architecture: tuple[int, int], near: float) -> None:
    """What is launched there, in the place of a kernel or compiled otherwise: without asynchronous copies, ties of tf32 away."""
    launch, (a, b, c) = square(64, precision)
    run_launch(launch, [a, b, c], architecture)
    np.testing.assert_allclose(c.reshape(64, 64), a.reshape(64, 64) @ b.reshape(64, 64), rtol=near)
