"""Latency and bandwidth, energy, price."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from graph.parallel.plan import Algorithm
from graph.registry import Registry
from hw import catalogue
from hw.cost import alpha_beta, energy, price
from hw.device import Device, Efficiency
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.link import DrivenBy, Link, Rate
from hw.topology import Topology


def test_fit_of_messages() -> None:
    """Latency and bandwidth of made-up messages come back."""
    sizes = [64, 4096, 65536, 2**20]
    found = alpha_beta.fit(sizes, [2e-6 + n / 5e9 for n in sizes])
    assert found.latency_seconds == pytest.approx(2e-6)
    assert found.bytes_per_second == pytest.approx(5e9)
    assert found.seconds(5000) == pytest.approx(3e-6)
    with pytest.raises(HwError, match="do not grow with the bytes"):
        alpha_beta.fit([1, 100], [2e-6, 1e-6])


def test_collectives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closed form of an algorithm gets the worst of a ring's neighbours."""

    def program(group: object) -> Iterator[object]:
        yield from ()

    known: Registry[Algorithm] = Registry("collective")
    pair = Algorithm(program=program, seconds=lambda n, nbytes, a, b: (n - 1) * (a + nbytes / b), transfers=lambda n: n)  # type: ignore[arg-type]
    known.add("chain", pair)
    known.add("odd", replace(pair, seconds=lambda n, nbytes, a, b: None))
    monkeypatch.setattr(alpha_beta, "COLLECTIVES", known)
    t = Topology(catalogue.system("dgx-a100"))
    link = catalogue.link("nvlink3")
    seconds = alpha_beta.collective_seconds("chain", t, t.ring_order(4), 10**6)
    assert seconds == pytest.approx(3 * (link.latency_seconds + 10**6 / (12 * link.capacity)))
    assert alpha_beta.collective_seconds("chain", t, ("gpu0",), 10**6) == 0
    with pytest.raises(HwError, match="'odd' has no closed form"):
        alpha_beta.collective_seconds("odd", t, t.ring_order(4), 1)
    with pytest.raises(HwError, match="at least two devices"):
        alpha_beta.neighbours(t, ("gpu0",))


def test_energy() -> None:
    """Design power while busy, a share of it while idle, and the rest of the node throughout."""
    s = catalogue.system("dgx1-v100")
    d = s.device
    assert energy.joules(d, 2.0, 10.0) == pytest.approx(300 * 2 + 0.15 * 300 * 8)
    found = energy.energy(s, 2.0, 10.0)
    assert found.joules == pytest.approx(8 * energy.joules(d, 2.0, 10.0) + (3500 - 8 * 300) * 10)
    assert found.basis.startswith("modelled: ")
    bare = energy.energy(replace(s, watts=None), 2.0, 10.0)
    assert bare.joules == pytest.approx(8 * energy.joules(d, 2.0, 10.0))
    assert "left out" in bare.basis
    with pytest.raises(HwError, match="busy for 3"):
        energy.joules(d, 3.0, 2.0)
    with pytest.raises(HwError, match="no stated power"):
        energy.joules(replace(d, watts=0.0), 1.0, 1.0)


def test_price() -> None:
    """By the hour, for all nodes; by the device where the node has no price; unknown otherwise."""
    s = catalogue.system("dgx1-v100")
    assert price.usd(s, 1800) == pytest.approx(24.48 / 2)
    assert price.usd_per_hour(replace(s, nodes=4)) == pytest.approx(4 * 24.48)
    assert price.usd_per_hour(replace(s, usd_per_hour=None)) == pytest.approx(8 * 3.06)
    assert price.usd(replace(s, usd_per_hour=None, device=replace(s.device, usd_per_hour=None)), 1.0) is None


def test_records_refuse_what_cannot_be() -> None:
    """Each says what must hold."""
    with pytest.raises(HwError, match="efficiency matrix is a fraction above 0"):
        Efficiency(matrix=1.5)
    with pytest.raises(HwError, match="device 'd': cores must be above 0, got 0"):
        Device(name="d", platform=Platform.CUDA, peak={}, memory_nbytes=1, memory_bytes_per_second=1.0, cores=0)
    with pytest.raises(HwError, match="device 'd': watts must not be negative"):
        Device(name="d", platform=Platform.CUDA, peak={}, memory_nbytes=1, memory_bytes_per_second=1.0, watts=-1.0)
    with pytest.raises(HwError, match="link 'k': copies are given exactly when cores drive the link"):
        Link(name="k", kind="memory", bytes_per_second=1.0, latency_seconds=0.0, driven_by=DrivenBy.CORE)
    with pytest.raises(HwError, match="a rate is above 0"):
        Rate(overhead_seconds=0.0, bytes_per_second=0.0)
