"""Blocks that a multiprocessor holds: published examples, and what NVIDIA's own calculator says."""

import pytest

from hw.errors import HwError
from hw.occupancy import LIMITS, WARP, occupancy


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_an_example_of_the_programming_guide(capability: tuple[int, int]) -> None:
    """CUDA C++ Programming Guide, "Multiprocessor Level": two blocks of 512 threads with 64 registers each take all registers;
    with one register more there is room for one block alone."""
    two = occupancy(capability, threads=512, registers=64)
    assert (two.blocks, two.warps, two.limited_by) == (2, 32, ("registers",))
    assert occupancy(capability, threads=512, registers=65).blocks == 1


def test_an_example_of_the_best_practices_guide() -> None:
    """CUDA C++ Best Practices Guide, "Calculating Occupancy", of 65,536 registers and 64 warps: with 37 registers, 12 blocks of
    128 threads are 75 %, 4 blocks of 320 threads are 63 %."""
    small, large = (occupancy((8, 0), threads=n, registers=37) for n in (128, 320))
    assert (small.blocks, small.fraction) == (12, 0.75)
    assert (large.blocks, large.fraction) == (4, 0.625)


@pytest.mark.parametrize(
    ("capability", "threads", "registers", "shared", "blocks", "limited_by"),
    [
        ((7, 5), 256, 127, 25_344, 2, ("registers", "shared")),
        ((7, 5), 256, 20, 16_384, 4, ("threads", "shared")),
        ((7, 5), 64, 20, 65_536, 1, ("shared",)),
        ((8, 0), 32, 16, 0, 32, ("blocks",)),
        ((8, 0), 160, 100, 0, 3, ("registers",)),
        ((8, 0), 128, 32, 20_480, 7, ("shared",)),
        ((8, 6), 256, 32, 0, 6, ("threads",)),
        ((8, 9), 64, 40, 3_000, 24, ("blocks", "threads", "registers")),
        ((9, 0), 64, 48, 10_240, 20, ("registers", "shared")),
        ((9, 0), 128, 66, 13_056, 7, ("registers",)),
        ((9, 0), 1024, 65, 0, 0, ("registers",)),
        ((9, 0), 33, 64, 232_448, 1, ("shared",)),
        ((12, 0), 96, 255, 0, 2, ("registers",)),
    ],
)  # fmt: skip
def test_what_the_calculator_of_the_toolkit_says(
    capability: tuple[int, int], threads: int, registers: int, shared: int, blocks: int, limited_by: tuple[str, ...]
) -> None:
    """Answers of cuda_occupancy.h of CUDA 13.0, given the table of the programming guide; limits of one are all named."""
    found = occupancy(capability, threads=threads, registers=registers, shared_nbytes=shared)
    assert found.blocks == blocks
    assert not blocks or found.limited_by == limited_by
    assert found.warps == blocks * -(-threads // WARP) <= found.most_warps == LIMITS[capability].warps


def test_a_block_that_does_not_fit_is_not_held() -> None:
    assert occupancy((9, 0), threads=1025, registers=16).limited_by == ("threads",)
    assert occupancy((9, 0), threads=32, registers=256).limited_by == ("registers",)
    assert occupancy((9, 0), threads=32, registers=16, shared_nbytes=228 * 1024).limited_by == (
        "shared",
    )  # 1 KiB is the driver's


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(HwError, match=r"compute capability 6\.0 holds is not known; known: 7\.5, 8\.0"):
        occupancy((6, 0), threads=32, registers=16)
    with pytest.raises(HwError, match="threads is at least 1, got 0"):
        occupancy((9, 0), threads=0, registers=16)
