"""NFUs of the catalogue: DianNao is the default, published figures stand beside ours, and wrong files say what is wrong."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from graph.fixed_point import Rounding
from hw import catalogue
from hw.device import Device
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.nfu.config import Cut, Nfu
from hw.nfu.figures import figures
from hw.nfu.simd import CORE
from hw.topology import Topology


def test_diannao_is_what_a_plain_nfu_is() -> None:
    d = catalogue.device("diannao")
    assert d.nfu == Nfu()
    assert d.memory_bytes_per_second == 250e9
    found, said = figures(Nfu()), {k: r.value for k, r in catalogue.published("diannao").items()}
    assert found["operations"] == pytest.approx(486.08e9) == pytest.approx(452.7 * 2**30, rel=1e-4)
    assert found["operations"] == pytest.approx(said["operations"], rel=2e-3)
    assert found["area"] == pytest.approx(said["area"], rel=2e-3)
    assert found["power"] == pytest.approx(said["power"])
    assert (said["speedup"], said["energy_reduction"]) == (117.87, 21.08)


@pytest.mark.parametrize(
    ("name", "multipliers", "clock"),
    [("nfu-4x4", 4096, 0.98e9), ("dadiannao-node", 4096, 606e6), ("shidiannao-like", 64, 1e9), ("anna-like", 4096, 20e6),
     ("fpga-gupta", 784, 166e6)],
)  # fmt: skip
def test_the_others(name: str, multipliers: int, clock: float) -> None:
    nfu = catalogue.device(name).nfu
    assert nfu is not None
    assert (nfu.multipliers, nfu.clock_hz) == (multipliers, clock)


def test_what_they_were_made_for() -> None:
    """Buffers as published, eDRAM that feeds all multipliers, exact sums and one rounding, operations within a seventh."""
    shi, da, gupta = (catalogue.device(n).nfu for n in ("shidiannao-like", "dadiannao-node", "fpga-gupta"))
    assert shi is not None and da is not None and gupta is not None
    assert shi.buffer_bytes == {"nbin": 64 << 10, "nbout": 64 << 10, "sb": 128 << 10}
    assert da.dram_bytes_per_second / da.clock_hz == pytest.approx(2 * da.multipliers)
    assert (gupta.arithmetic.cut, gupta.arithmetic.rounding, gupta.neuron.fraction) == (Cut.OUTPUT, Rounding.STOCHASTIC, 14)
    assert gupta.peak_operations * gupta.clock_hz == pytest.approx(260e9, rel=0.02)
    assert da.peak_operations * da.clock_hz == pytest.approx(catalogue.published("dadiannao-node")["operations"].value, rel=1 / 7)
    assert catalogue.published("nfu-4x4") == {} == catalogue.published("v100-sxm2-16gb")


def test_the_processor_is_the_baseline() -> None:
    """One core, described twice: as a device, and as the model of `hw.nfu.simd`."""
    d = catalogue.device("simd-128-2ghz")
    assert (d.watts, d.idle_fraction, d.efficiency.memory_seconds) == (CORE.watts, CORE.idle_fraction, CORE.latency_seconds)
    assert d.peak["f32"] == 2 * CORE.clock_hz * CORE.lanes / 2


def test_systems() -> None:
    four, many = catalogue.system("diannao-4"), catalogue.system("dadiannao-64")
    assert (four.local, four.shares_memory) == (("nfu0", "nfu1", "nfu2", "nfu3"), True)
    assert Topology(four).bandwidth("nfu0", "nfu3") == 125e9
    assert (len(many.places), many.nodes) == (64, 64)
    assert Topology(many).bandwidth("node0/nfu0", "node63/nfu0") == 4 * 6.4e9


GOOD = """\
kind: device
name: mine
title: an NFU
platform: nfu
nfu:
  tn: {value: "8", source: made up for this test}
memory:
  size: {value: "1 GiB", source: made up for this test}
  bandwidth: {value: "100 GB/s", source: made up for this test}
processor: simd-128-2ghz
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ""),
        ('tn: {value: "8"', 'tn: {value: "0"', "mine.yaml:1: tn must be a whole number from 1 to 1048576, got 0"),
        ("  tn:", "  sb_rows: {value: \"0\", source: made up too}\n  tn:", "sb_rows must be a whole number from 1"),
        ("  tn:", "  neuron_fraction: {value: \"16\", source: made up too}\n  tn:", "neuron: a word of 16 bits has 0 to 15"),
        ("  tn:", "  cut: middle\n  tn:", "mine.yaml:6: cut is 'middle'; choose product | tree | output"),
        ("  tn:", "  nbin_row:", "mine.yaml:6: unknown key 'nfu.nbin_row'; did you mean 'nbin_rows'?"),
        ("nfu:\n  tn", "nfx:\n  tn", "nfu is missing"),
        ("simd-128-2ghz", "v100-sxm2-16gb", "its processor is 'v100-sxm2-16gb', which is none"),
        ("simd-128-2ghz", "simd", "processor: nothing in the catalogue is named 'simd'"),
        ("processor:", 'published:\n  weight: {value: "1", source: made up too}\nprocessor:', "unknown key 'published.weight'"),
        ("100 GB/s", "100 GHz", "'GHz' is a unit of hertz"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    if message:
        with pytest.raises(HwError, match=re.escape(message)):
            catalogue.read_file(path)
    else:
        item, _ = catalogue.read_file(path)
        assert isinstance(item, Device) and item.nfu == Nfu(tn=8, dram_bytes_per_second=100e9)


def test_what_a_device_refuses() -> None:
    d, gpu = catalogue.device("diannao"), catalogue.device("v100-sxm2-16gb")
    with pytest.raises(HwError, match="of platform 'nfu', and no other, says what NFU it is"):
        replace(d, nfu=None, processor=None)
    with pytest.raises(HwError, match="of platform 'nfu', and no other, says what NFU it is"):
        replace(gpu, nfu=Nfu())
    with pytest.raises(HwError, match="a processor beside it is for an NFU"):
        replace(gpu, processor=d.processor)
    with pytest.raises(HwError, match=r"they have 2\.5e\+11 and 1e\+09 bytes per second"):
        replace(d, memory_bytes_per_second=1e9)
    assert d.platform is Platform.NFU
