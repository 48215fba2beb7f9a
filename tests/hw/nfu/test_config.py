"""What an NFU is: the paper's rates from its sizes, and every number that cannot be, by its field."""

import re
from dataclasses import replace

import pytest

from graph.fixed_point import Fixed
from hw.errors import HwError
from hw.nfu.config import WIDE, Arithmetic, Nfu
from hw.nfu.layer import Kind, Layer
from hw.nfu.schedule import best

NFU = Nfu()


def test_rates_of_the_paper() -> None:
    """256 products and 16 trees of 15 adders; 16 multipliers and adders of NFU-3. 452 and 482 Gop/s count in 2^30."""
    assert (NFU.operations, NFU.peak_operations) == (256 + 16 * 15, 256 + 16 * 15 + 32) == (496, 528)
    rate, peak = (n * NFU.clock_hz for n in (NFU.operations, NFU.peak_operations))
    assert rate == pytest.approx(486.08e9) and int(rate / 2**30) == 452
    assert peak == pytest.approx(517.44e9) and round(peak / 2**30) == 482
    assert NFU.buffer_bytes == {"nbin": 2 << 10, "nbout": 2 << 10, "sb": 32 << 10}
    assert NFU.dram_cycles(250) == 0.98


def test_words_in_memory_are_whole_bytes() -> None:
    """3 bits of a neuron take a byte, 9 take two; rows of buffers are as wide as their bits (`hw.nfu.layout.row_bits`)."""
    for bits, nbytes in ((3, 1), (6, 1), (8, 1), (9, 2), (16, 2)):
        nfu = Nfu(neuron=Fixed(bits=bits, fraction=1), synapse=Fixed(bits=bits, fraction=1))
        assert (nfu.word_bytes, nfu.synapse_bytes) == (nbytes, nbytes)
    mixed = Nfu(neuron=Fixed(bits=3, fraction=2), synapse=Fixed(bits=12, fraction=5))
    layer = Layer(name="c", kind=Kind.CLASSIFIER, ni=100, no=10)
    assert layer.compulsory_bytes(mixed) == 100 + 10 + 2 * 1000
    assert best(layer, mixed).dram_bytes == 100 + 10 + 2 * 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tn": 16.0}, "tn must be a whole number from 1 to 1048576, got 16.0"),
        ({"nbout_rows": True}, "nbout_rows must be a whole number"),
        ({"clock_hz": 0.3}, "clock_hz must lie between 1 and 1e+12, got 0.3"),
        ({"clock_hz": float("inf")}, "clock_hz must lie between"),
        ({"dram_bytes_per_second": 0.4}, "dram_bytes_per_second must lie between 1 and 1e+15, got 0.4"),
        ({"dram_bytes_per_second": 1e16}, "dram_bytes_per_second must lie between"),
        ({"dram_latency_seconds": -1e-9}, "dram_latency_seconds must be at least 0"),
        ({"dram_joules_per_byte": float("nan")}, "dram_joules_per_byte must be at least 0"),
        ({"reach": 0.0}, "reach must be above 0"),
        ({"technology_nm": 0.0}, "technology_nm must be above 0"),
        ({"segments": 15}, "segments must be an even number"),
        ({"segments": 1 << 17}, "segments must be a whole number from 2 to 65536"),
        ({"stage_cycles": (3, 2.5, 3)}, "stage_cycles must be a whole number from 1"),
        ({"stage_cycles": (3, 0, 3)}, "stage_cycles must be a whole number from 1"),
        ({"lines": "chords"}, "lines must be a member of Lines (chords, minimax), got 'chords'"),
        ({"arithmetic": replace(WIDE, product_bits=31)}, "product_bits is 31, but a product of 16 by 16 bits"),
        ({"tn": 1 << 10, "ti": 1 << 10, "sb_rows": 1 << 20}, "sb_rows is 1048576, 2,199,023,255,552 bytes, which is more than"),
    ],
)
def test_what_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(HwError, match="^" + re.escape(message)):
        replace(NFU, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"product_bits": 1}, "product_bits must be a whole number from 2 to 62, got 1"),
        ({"tree_bits": 63}, "tree_bits must be a whole number from 2 to 62, got 63"),
        ({"sum_bits": 16.5}, "sum_bits must be a whole number from 2 to 62, got 16.5"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"cut": "product"}, "cut must be a member of Cut (product, tree, output), got 'product'"),
        ({"rounding": "nearest"}, "rounding must be a member of Rounding (floor, zero, nearest, stochastic), got 'nearest'"),
        ({"overflow": "wrap"}, "overflow must be a member of Overflow (wrap, saturate), got 'wrap'"),
    ],
)
def test_what_no_arithmetic_is(change: dict[str, object], message: str) -> None:
    """A string equals the member that it names, but is none: taken for one it would round otherwise than it says."""
    with pytest.raises(HwError, match="^" + re.escape(message)):
        Arithmetic(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1.0, 1e3, 250e9, 1e15])
@pytest.mark.parametrize("clock", [1.0, 0.98e9, 1e12])
def test_the_slowest_and_the_fastest(rate: float, clock: float) -> None:
    """Nothing overflows: cycles are those of the memory or of the NFU, whichever are more, and what stands at both ends."""
    layer = Layer(name="c", kind=Kind.CLASSIFIER, ni=960, no=20)
    nfu = Nfu(dram_bytes_per_second=rate, clock_hz=clock)
    found = best(layer, nfu)
    most = max(layer.nfu_cycles(nfu), nfu.dram_cycles(layer.compulsory_bytes(nfu)))
    assert most <= found.total_cycles <= layer.nfu_cycles(nfu) + nfu.dram_cycles(found.dram_bytes) + 2 * found.instructions + 8
    assert sum(found.timing.stalls.values()) + found.timing.busy_cycles == pytest.approx(found.total_cycles)


def test_buffers_of_one_row() -> None:
    """The least that can be: every instruction is one cycle of one output position."""
    nfu = Nfu(tn=2, ti=2, nbin_rows=1, nbout_rows=1, sb_rows=1)
    layer = Layer(name="c", kind=Kind.CONV, nx=4, ny=3, kx=2, ky=2, ni=3, no=5)
    found = best(layer, nfu)
    assert found.instructions == layer.nfu_cycles(nfu) == found.timing.busy_cycles == 6 * 4 * 2 * 3
