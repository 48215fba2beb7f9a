"""Energy: the published layout at full rate, what is additive, and what its laws must not do."""

from dataclasses import fields, replace

import pytest

from graph.fixed_point import Fixed, Rounding
from hw.nfu.activity import Activity
from hw.nfu.config import WIDE, Arithmetic, Cut, Nfu
from hw.nfu.energy import by_block, energy, full_rate, idle_fraction, watts
from hw.nfu.layout import BLOCKS, POWER_MW

NFU = Nfu()
PUBLISHED_MW = {"sb": 105, "nbin": 91, "nbout": 92, "nfu": 132, "cp": 31, "aximux": 8, "other": 26}
PARTS = ("sb", "nbin", "nbout", "nfu", "cp", "other", "clock")


def test_the_layout_at_full_rate() -> None:
    """Every block's milliwatts and their sum, 485, as published; pJ per cycle follow from 0.98 GHz."""
    cycles = 12345
    seconds = cycles / NFU.clock_hz
    found = by_block(NFU, full_rate(NFU, cycles))
    assert {b: j / seconds * 1e3 for b, j in found.items()} == pytest.approx(PUBLISHED_MW, rel=1e-12)
    assert sum(PUBLISHED_MW.values()) == 485 == sum(POWER_MW.values())
    assert energy(NFU, full_rate(NFU, cycles))["chip"] / seconds == pytest.approx(0.485, rel=1e-12)
    assert watts(NFU) == pytest.approx(0.485, rel=1e-12)
    per_cycle = by_block(NFU, full_rate(NFU))
    for block, picojoules in {"sb": 107.1, "nbin": 92.9, "nbout": 93.9, "nfu": 134.7, "cp": 31.6}.items():
        assert per_cycle[block] * 1e12 == pytest.approx(picojoules, abs=0.05)
    assert sum(per_cycle.values()) / NFU.multipliers * 1e12 == pytest.approx(1.933, abs=5e-4)  # a multiply-add


def test_a_stalled_cycle_costs_the_clock() -> None:
    """132 of the 484 mW of the second split."""
    stalled = energy(NFU, Activity(cycles=1000))
    assert idle_fraction(NFU) == pytest.approx(132 / 484)
    assert stalled["chip"] == pytest.approx(stalled["clock"])
    assert stalled["chip"] * NFU.clock_hz / 1000 == pytest.approx(0.485 * 132 / 484)


def test_memory_is_apart() -> None:
    """6.18 nJ for 256 bits; no block of the chip sees it."""
    a = Activity(dram_read_bytes=32_000, dram_write_bytes=32)
    found = energy(NFU, a)
    assert found["chip"] == 0
    assert found["dram"] == found["total"] == pytest.approx(1001 * 6.18e-9)
    cheap = replace(NFU, dram_joules_per_byte=0.0192e-9 / 32)
    assert found["dram"] / energy(cheap, a)["dram"] == pytest.approx(321.9, abs=0.05)


def test_it_adds_up() -> None:
    """Over layers and over blocks."""
    a = Activity(**{f.name: 3 + 7 * k for k, f in enumerate(fields(Activity))})
    b = full_rate(NFU, 100)
    one, other, both = energy(NFU, a), energy(NFU, b), energy(NFU, a + b)
    assert both == pytest.approx({k: one[k] + other[k] for k in both})
    assert one["chip"] == pytest.approx(sum(one[k] for k in PARTS)) == pytest.approx(sum(by_block(NFU, a).values()))
    assert one["total"] == pytest.approx(one["chip"] + one["dram"])
    assert set(one) == {*PARTS, "chip", "dram", "total"}


@pytest.mark.parametrize("field", [f.name for f in fields(Activity)])
def test_every_count_costs_its_block(field: str) -> None:
    """One more of it costs something, in the blocks where it happens and nowhere else."""
    blocks = {
        "cycles": {"clock"}, "busy_cycles": {"nfu", "cp", "other"}, "products": {"nfu"}, "function_rows": {"nfu"},
        "instructions": set(), "dram_read_bytes": {"dram"}, "dram_write_bytes": {"dram"},
    }.get(field, {field.split("_")[0]})  # fmt: skip
    found = energy(NFU, Activity(**{field: 1}))
    assert {k for k in (*PARTS, "dram") if found[k] > 0} == blocks


def test_widths() -> None:
    """A quarter of the multipliers' energy for 8 bits, half a row; exact sums cost adders and rows of NBout."""
    a = full_rate(NFU)
    byte = Fixed(bits=8, fraction=5)
    small = energy(replace(NFU, neuron=byte, synapse=byte), a)
    whole = energy(NFU, a)
    assert small["sb"] == pytest.approx(whole["sb"] / 2) and small["nbin"] == pytest.approx(whole["nbin"] / 2)
    assert 1 / 4 < small["nfu"] / whole["nfu"] < 0.32  # multipliers take 93 % of it, trees as wide as before the rest
    wide = energy(replace(NFU, arithmetic=WIDE), a)
    assert wide["nbout"] == pytest.approx(3 * whole["nbout"])
    assert whole["nfu"] < wide["nfu"] < 1.2 * whole["nfu"]


def test_stochastic_rounding_takes_four_percent_of_results_and_more_of_products() -> None:
    arithmetic = replace(WIDE, rounding=Rounding.STOCHASTIC)
    plain, drawn = (energy(replace(NFU, arithmetic=x), full_rate(NFU))["nfu"] for x in (WIDE, arithmetic))
    assert drawn / plain == pytest.approx(1.04)
    each = Arithmetic(cut=Cut.PRODUCT, rounding=Rounding.STOCHASTIC)
    assert energy(replace(NFU, arithmetic=each), full_rate(NFU))["nfu"] > 1.5 * energy(NFU, full_rate(NFU))["nfu"]


def test_sizes_and_technology() -> None:
    """Four times the rows, twice the energy of an access; half the feature size, a quarter of everything on the chip."""
    a = full_rate(NFU, 10)
    tall = energy(replace(NFU, sb_rows=256), a)
    assert tall["sb"] == pytest.approx(2 * energy(NFU, a)["sb"])
    small = replace(NFU, technology_nm=32.5)
    assert energy(small, a)["chip"] == pytest.approx(energy(NFU, a)["chip"] / 4)
    wide = replace(NFU, tn=32)
    assert watts(wide) > watts(NFU) > watts(replace(NFU, tn=8))
    assert set(BLOCKS) == set(by_block(wide, a))
