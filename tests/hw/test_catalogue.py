"""Common checks over every catalogue item, and the messages for files that are wrong."""

import math
from pathlib import Path

import pytest

from hw import catalogue, units
from hw.device import Device
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.link import Link
from hw.nfu.figures import figures
from hw.system import System
from hw.topology import Topology

NAMES = catalogue.names()


@pytest.mark.parametrize("name", NAMES)
def test_item(name: str) -> None:
    """It validates, is named as its file, has a title, and loads to the same record again from the file."""
    item = catalogue.load(name)
    assert item.name == name
    assert item.title
    assert catalogue.read_file(catalogue.FOLDER / f"{name}.yaml")[0] == item


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source_and_a_unit(name: str) -> None:
    """A source in words, text that gives the value, and a value that formats and parses back."""
    rows = catalogue.describe(name)
    assert len(rows) >= 3
    for row in rows:
        assert len(row.source.split()) >= 3, row
        assert units.parse(row.text, row.kind) == row.value
        assert units.parse(units.format(row.value, row.kind), row.kind) == row.value
        assert row.unit or row.kind in (units.Quantity.COUNT, units.Quantity.FRACTION)


NFUS = {n for n in catalogue.names("device") if catalogue.device(n).platform is Platform.NFU}


@pytest.mark.parametrize("name", [n for n in catalogue.names("device") if n not in NFUS])
def test_device_is_sane(name: str) -> None:
    """Rates in the order that physics and data sheets have them."""
    d = catalogue.device(name)
    assert isinstance(d, Device)
    assert d.peak["f64"] <= d.peak["f32"] <= d.peak.get("f16", math.inf)
    assert 1 < d.peak["f32"] / d.memory_bytes_per_second < 100  # flop per byte at the ridge
    assert 3 << 30 <= d.memory_nbytes <= 4 << 40
    assert (d.launch_depth, d.issue_seconds > 0) == (1000, d.platform is Platform.CUDA)  # a processor issues its own kernels
    assert 0 < d.idle_fraction < 0.5
    assert (1e-6 if d.cores > 1 else 5e-8) < d.launch_seconds < 2e-5  # one core calls, several are woken


@pytest.mark.parametrize("name", sorted(NFUS))
def test_nfu_is_sane(name: str) -> None:
    """It has no peaks but buffers, a memory that is its own, and a processor; power and area follow from it."""
    d = catalogue.device(name)
    assert d.nfu is not None and not d.peak
    assert d.nfu.dram_bytes_per_second == d.memory_bytes_per_second
    assert d.processor is not None and d.processor.name == "simd-128-2ghz"
    assert (d.launch_seconds, d.issue_seconds) == (0, 0)
    found = figures(d.nfu)
    assert d.watts == found["power"] and 0.01 < d.watts < 10
    assert d.idle_fraction == pytest.approx(132 / 484)
    assert 1e-6 < found["area"] < 1e-2


@pytest.mark.parametrize("name", catalogue.names("link"))
def test_link_is_sane(name: str) -> None:
    """Below the line rate, above half a gigabyte a second, latency of microseconds."""
    k = catalogue.link(name)
    assert isinstance(k, Link)
    assert 5e8 < k.capacity <= k.bytes_per_second < 1e12
    assert 1e-7 < k.latency_seconds < 1e-4


@pytest.mark.parametrize("name", catalogue.names("system"))
def test_system_is_sane(name: str) -> None:
    """Every device reaches every other; a node draws at least what its devices do."""
    s = catalogue.system(name)
    assert isinstance(s, System)
    t = Topology(s)
    assert all(t.bandwidth(a, b) > 0 and t.latency(a, b) > 0 for a in s.places for b in s.places if a != b)
    assert s.watts is None or s.watts >= s.count * s.device.watts
    for host in s.host_places:
        assert s.device_at(host).memory_nbytes == s.host.memory_nbytes
        assert all(t.bandwidth(host, p) > 0 and t.bandwidth(p, host) > 0 for p in s.places)


@pytest.mark.parametrize("name", ["dgx1-p100", "dgx1-v100", "p3.16xlarge"])
def test_every_nvlink_of_a_cube_mesh_is_used(name: str) -> None:
    """Four links at a P100, six at a V100, both ends named."""
    s = catalogue.system(name)
    links = {"p100-sxm2": 4, "v100-sxm2-16gb": 6}[s.device.name]
    for place in s.local:
        assert sum(w.count for w in s.wires if place in (w.a, w.b) and w.link.kind == "nvlink") == links


def test_so_many_nodes_on_such_a_network() -> None:
    """The entry's own network unless another is named; each of a node's links is replaced by one of the other kind."""
    own = catalogue.system("p2.16xlarge", nodes=16)
    assert (own.nodes, own.network.link.name, len(own.places)) == (16, "20gbe", 256)
    other = catalogue.system("dgx-a100", nodes=2, network="25gbe", oversubscription=3)
    assert (other.network.link.name, other.network.count, len(other.network.at), other.network.oversubscription) == (
        "25gbe",
        2,
        4,
        3,
    )
    plain = catalogue.system("k20x8-2014", nodes=2, network="10gbe")
    assert plain.network.at == ("cpu0",)
    assert catalogue.system("dgx1-p100") == catalogue.load("dgx1-p100")


def test_what_must_be_there() -> None:
    """The first catalogue."""
    gpus = {"gtx580-3gb", "k20", "k80-die", "titanx-maxwell", "m40", "p100-pcie", "p100-sxm2", "v100-sxm2-16gb"}
    assert gpus | {"a100-sxm4-80gb", "h100-sxm5-80gb", "h200-sxm"} <= set(catalogue.names("device"))
    processors = {n for n in catalogue.names("device") if catalogue.device(n).platform is Platform.CPU}
    assert processors >= {"xeon-e5-2686-v4", "xeon-e5-2698-v4", "xeon-e5-2666-v3", "epyc-7742", "xeon-8480c", "xeon-12core-2014"}
    links = {f"nvlink{k}" for k in (1, 2, 3, 4)} | {f"pcie{k}-x16" for k in (2, 3, 4, 5)} | {"qpi", "edr", "hdr", "ndr"}
    assert links | {"10gbe", "25gbe", "100gbe"} <= set(catalogue.names("link"))
    systems = {"p2.8xlarge", "p2.16xlarge", "p3.16xlarge", "dgx1-p100", "dgx1-v100", "dgx-a100", "dgx-h100", "dgx-h200"}
    assert systems | {"k20x8-2014", "gtx580x2-2012", "titanx-maxwell-2015"} <= set(catalogue.names("system"))
    assert {"diannao", "dadiannao-node", "nfu-4x4", "shidiannao-like", "anna-like", "fpga-gupta"} <= NFUS
    assert set(catalogue.names("system")) >= {"diannao-1", "diannao-4", "dadiannao-1", "dadiannao-64"}
    assert set(catalogue.names()) == {n for k in catalogue.Kind for n in catalogue.names(k)}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: catalogue.load("dgx-a10"), "nothing in the catalogue is named 'dgx-a10'; did you mean 'dgx-a100'?"),
        (lambda: catalogue.system("nvlink2"), "'nvlink2' is a link, not a system; known: "),
        (lambda: catalogue.device("v100"), "there is no device 'v100' in the catalogue; did you mean 'v100-"),
        (lambda: catalogue.names("device s"), "there is no kind 'device s' in the catalogue; did you mean 'device'?"),
        (lambda: catalogue.load("host"), "made from its calibration profile"),
        (lambda: catalogue.system("dgx1-p100", nodes=0), "asked for with 0 nodes; it needs at least 1"),
        (
            lambda: catalogue.system("k20x8-2014", nodes=2),
            "no network of its own to join 2 nodes; choose one of 100gbe, 10gbe, 20gbe",
        ),
        (lambda: catalogue.system("dgx1-p100", network="nvlink1"), "'nvlink1' cannot join nodes; known: 100gbe, 10gbe"),
        (lambda: catalogue.system("dgx1-p100", network="15gbe"), "'15gbe' cannot join nodes; did you mean '25gbe'"),
        (lambda: catalogue.system("dgx1-p100", nodes=2, oversubscription=0.5), "by a factor of 1 (not at all) or more, got 0.5"),
    ],
)
def test_unknown_names(ask: object, message: str) -> None:
    """The nearest name is offered."""
    with pytest.raises(HwError) as e:
        ask()  # type: ignore[operator]
    assert message in str(e.value)


LINK = """\
kind: link
name: wire
title: a wire
of: network
sources:
  sheet: the data sheet of the wire
bandwidth: {value: "10 GB/s", source: sheet}
efficiency: {value: "1", source: sheet}
latency: {value: "1 us", source: sheet}
"""


def read(folder: Path, text: str) -> str:
    """The message for a file with this text; empty when it is fine."""
    path = folder / "wire.yaml"
    path.write_text(text)
    try:
        catalogue.read_file(path)
    except HwError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ""),
        ("10 GB/s", "10 gb/s", "wire.yaml:7: bandwidth: '10 gb/s': unknown unit 'gb/s'; did you mean 'GB/s' or 'Gb/s'?"),
        ("latency:", "latancy:", "wire.yaml:9: unknown key 'latancy'; did you mean 'latency'?"),
        ("latency:", "latancy:", "wire.yaml:1: latency is missing; write latency: {value: ..., source: ...}"),
        (", source: sheet}\nlatency", "}\nlatency", "wire.yaml:8: efficiency.source is missing"),
        (
            "source: sheet}\nlatency",
            "source: shet}\nlatency",
            "wire.yaml:8: efficiency: source 'shet' is not in sources; did you mean 'sheet'?",
        ),
        ("of: network\n", "of: network\nof: pcie\n", "wire.yaml:5: key 'of' is given twice (first on line 4)"),
        ('"1", source', '"0", source', "efficiency in (0, 1]"),
        ("name: wire", "name: string", "wire.yaml:2: name is 'string', but the file is 'wire.yaml'"),
        ("kind: link", "kind: lnik", "wire.yaml:1: kind is 'lnik'; choose device | link | system"),
        ("of: network", "of: [network", "wire.yaml:5: not valid YAML"),
        ("of: network", "of: [network]", "wire.yaml:4: of must be text"),
        ("bandwidth:", "  book: a book nobody cites\nbandwidth:", "wire.yaml:7: no number cites source 'book'"),
        ("of: network", "of: network\ndriven_by: horse", "wire.yaml:5: driven_by is 'horse'; choose engine | core"),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    """File, line, what is wrong, what would be right."""
    got = read(tmp_path, LINK.replace(old, new) if old else LINK)
    assert message in got
    assert bool(message) == bool(got)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Three mistakes, three lines, in the order of the file."""
    text = LINK.replace("10 GB/s", "10").replace("title: a wire\n", "").replace('"1 us"', '"1 W"')
    lines = read(tmp_path, text).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "6", "8"]


def test_system_that_names_what_is_not_there(tmp_path: Path) -> None:
    """References are checked, with the nearest name and the right kind."""
    text = """\
kind: system
name: wire
title: two devices
device: v100-sxm2-16g
count: {value: "2", source: made up for this test}
wires:
  - link: dgx-a100
    between: [gpu0 gpu1, gpu0]
"""
    got = read(tmp_path, text)
    assert "wire.yaml:4: device: nothing in the catalogue is named 'v100-sxm2-16g'; did you mean 'v100-sxm2-16gb'?" in got
    assert "wire.yaml:7: link: 'dgx-a100' is a system, not a link" in got
    assert "wire.yaml:8: a wire is between two different parts, e.g. 'gpu0 gpu1', got 'gpu0'" in got
