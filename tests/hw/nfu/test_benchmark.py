"""Counts of the benchmark's layers: worked out by hand from their extents, and a loop that counts."""

import pytest

from hw.nfu.benchmark import ALEXNET_DENSE, ALEXNET_GROUPED, EXAMPLE, LAYERS, SOURCES, TEN
from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer

NFU = Nfu()

COUNTS = {
    # name: multiply-adds, cycles of the NFU, bytes with each word moved once, cycles of the memory for them (one digit), which
    # binds. By hand: out_x out_y Kx Ky Ni No; out_x out_y Kx Ky ceil(Ni/16) ceil(No/16); 2 (inputs + synapses + outputs); bytes /
    # 255.102.
    "CLASS1": (19_200, 120, 40_360, 158.2, "dram"),
    "CLASS3": (20_000, 91, 40_600, 159.2, "dram"),
    "CONV1": (22_465_050_624, 87_754_104, 29_582_976, 115_965.3, "nfu"),
    "CONV2": (694_427_904, 10_850_436, 1_390_031_632, 5_448_924.0, "nfu"),
    "CONV3": (290_649_600, 1_224_496, 1_248_784, 4_895.2, "nfu"),
    "CONV4": (271_351_808, 1_059_968, 1_527_808, 5_989.0, "nfu"),
    "CONV5": (719_824_748_544, 2_811_815_424, 1_439_729_527_808, 5_643_739_749.0, "dram"),
    "CONV5_shared": (719_824_748_544, 2_811_815_424, 103_820_288, 406_975.5, "nfu"),
    "POOL1": (0, 180_072, 5_413_968, 21_222.8, "nfu"),
    "POOL3": (0, 7_168, 217_600, 853.0, "nfu"),
    "POOL5": (0, 1_048_576, 41_943_040, 164_416.7, "nfu"),
}
MICROSECONDS = {
    "CLASS1": 0.1614, "CLASS3": 0.1624, "CONV1": 89545.0041, "CONV2": 11071.8735, "CONV3": 1249.4857, "CONV4": 1081.6,
    "CONV5": 5758918.1112, "CONV5_shared": 2869199.4122, "POOL1": 183.7469, "POOL3": 7.3143, "POOL5": 1069.9755,
}  # fmt: skip
"""Of the longer of the two, to four digits behind the point."""


def test_all_ten_are_there() -> None:
    assert [layer.name for layer in TEN] == [
        "CLASS1", "CONV1", "POOL1", "CONV2", "CONV3", "POOL3", "CLASS3", "CONV4", "CONV5", "POOL5",
    ]  # fmt: skip
    assert set(LAYERS) == set(SOURCES) == set(COUNTS) == set(MICROSECONDS)
    assert [n for n, layer in LAYERS.items() if layer.is_private] == ["CONV2", "CONV5"]
    assert (LAYERS["CONV1"].ox, LAYERS["CONV1"].oy) == (LAYERS["POOL1"].nx, LAYERS["POOL1"].ny)


@pytest.mark.parametrize("name", LAYERS)
def test_counts(name: str) -> None:
    layer, (macs, cycles, nbytes, dram, bound) = LAYERS[name], COUNTS[name]
    assert (layer.macs, layer.nfu_cycles(NFU), layer.compulsory_bytes(NFU)) == (macs, cycles, nbytes)
    assert NFU.dram_cycles(nbytes) == pytest.approx(dram, abs=0.051)
    assert ("dram" if NFU.dram_cycles(nbytes) > cycles else "nfu") == bound
    seconds = max(cycles, NFU.dram_cycles(nbytes)) / NFU.clock_hz
    assert seconds * 1e6 == pytest.approx(MICROSECONDS[name], abs=5.1e-5)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("CONV1", 243 * 2**10), ("CONV2", 1.29 * 2**30), ("CONV5_shared", 22.69 * 2**20)],
)
def test_synapses_of_the_layers_that_dadiannao_lists_too(name: str, bits: float) -> None:
    """Bytes, to the digits given there."""
    assert 2 * LAYERS[name].synapses == pytest.approx(bits, rel=4e-3)


def test_alexnet() -> None:
    macs = [105_415_200, 447_897_600, 149_520_384, 224_280_576, 149_520_384]
    assert [c.macs for c in ALEXNET_DENSE] == macs
    assert [c.nfu_cycles(NFU) for c in ALEXNET_DENSE] == [2_196_150, 1_749_600, 584_064, 876_096, 584_064]
    assert [c.nfu_cycles(NFU) for c in ALEXNET_GROUPED] == [2_196_150, 874_800, 584_064, 438_048, 292_032]
    assert sum(c.nfu_cycles(NFU) for c in ALEXNET_DENSE) == 5_989_974
    assert sum(c.nfu_cycles(NFU) for c in ALEXNET_GROUPED) == 4_385_094
    assert sum(c.macs for c in ALEXNET_GROUPED) == 665_784_864
    assert [(c.ox, c.no) for c in ALEXNET_DENSE] == [(55, 96), (27, 256), (13, 384), (13, 384), (13, 256)]
    assert [c.inputs for c in ALEXNET_DENSE[1:3]] == [27 * 27 * 96, 13 * 13 * 256]


def test_the_example() -> None:
    assert (EXAMPLE.nfu_cycles(NFU), EXAMPLE.compulsory_bytes(NFU)) == (8_192, 4_211_200)
    assert NFU.dram_cycles(4_211_200) == pytest.approx(16_507.9, abs=0.05)


@pytest.mark.parametrize("name", ["POOL3", "CLASS1", "CONV3"])
def test_against_a_loop_that_counts(name: str) -> None:
    """The paper's loop nest, one iteration a cycle."""
    layer = LAYERS[name]
    assert _counted(layer) == layer.nfu_cycles(NFU)


def _counted(layer: Layer) -> int:
    cycles = 0
    for _y in range(0, layer.ny - layer.ky + 1, layer.sy):
        for _x in range(0, layer.nx - layer.kx + 1, layer.sx):
            for _n in range(0, 1 if layer.kind is Kind.POOL else layer.no, 16):
                for _i in range(0, layer.ni, 16):
                    cycles += layer.kx * layer.ky
    return cycles
