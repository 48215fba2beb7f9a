"""Every registered cost model prices every kernel record of its devices; latency and bandwidth, energy, price."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from graph.ir import Phase
from graph.op import Work
from graph.ops import OPS
from graph.tensor_type import DType, f32
from hw import catalogue
from hw.cost import COST_MODELS, alpha_beta, cost_model, energy, price
from hw.device import Device, Efficiency
from hw.errors import HwError
from hw.kernels.record import KERNELS, Call, KernelRecord, Platform
from hw.link import DrivenBy, Link, Rate
from hw.profile import Coefficients, KernelFit, LinkFit, Probes, Profile
from hw.topology import Topology


def calls(kernel: KernelRecord) -> Iterator[Call]:
    """A call for each size of its grid."""
    for size in kernel.sizes():
        op = OPS[kernel.op] if kernel.op in OPS else None
        types = size.types[: len(op.inputs)] if op else size.types
        types = tuple(f32(*t.shape) if t.dtype is DType.I16 and kernel.prologue else t for t in types)  # what words stand for
        attrs = {k: v for k, v in size.attrs.items() if k != "epilogue"}
        yield Call(
            kernel=kernel.name, nodes=(), fused=(), reads=(), writes=(), types=size.types, workspace=0, layer="",
            phase=Phase.FORWARD,
            attrs={**(op.complete(attrs) if op else {}), **size.attrs},
            work=op.work(types, op.complete(attrs)) if op else Work(bytes_read=sum(t.nbytes for t in types)),
        )  # fmt: skip


def host_profile() -> Profile:
    """A nanosecond for every term of every CPU kernel."""
    kernels = {k.name: list(calls(k)) for k in KERNELS.values() if k.platform is Platform.CPU}
    terms = {name: {t for c in found for t in KERNELS[name].terms(c.types, c.attrs)} for name, found in kernels.items()}
    fits = {n: KernelFit(source_hash="", busy={1: Coefficients(seconds_per=dict.fromkeys(ts, 1e-9))}) for n, ts in terms.items()}
    link = LinkFit(
        send_overhead_s=0.0, send_bytes_per_s=1e9, recv_copy_overhead_s=0.0, recv_copy_bytes_per_s=1e9,
        recv_add_overhead_s=0.0, recv_add_bytes_per_s=1e9, latency_s=0.0,
    )  # fmt: skip
    return Profile(
        created="2025-01-01", cpu="a processor", cores=1, memory_nbytes=2**30, memory_bytes_per_s={1: 1e10}, kernels=fits,
        link=link, probes={1: Probes(arith_s=1e-3, copy_s=1e-3)},
    )  # fmt: skip


@pytest.mark.parametrize("name", list(COST_MODELS))
def test_a_cost_model_prices_every_kernel_of_its_devices(name: str) -> None:
    profile = host_profile()
    priced = 0
    for device in (*map(catalogue.device, catalogue.names("device")), catalogue.host_system(profile, 1).device):
        try:
            model = cost_model(device, profile, name)
        except HwError:  # it has no device of this kind
            continue
        assert model.name == name
        if name == cost_model(device, profile).name:  # the one that is taken for this device must know all its kernels
            for kernel in (k for k in KERNELS.values() if k.platform is device.platform):
                for call in calls(kernel):
                    if name == "roofline" and kernel.arithmetic and kernel.arithmetic not in device.peak:
                        with pytest.raises(HwError, match=f"{device.name}' has no peak for '{kernel.arithmetic}'"):
                            model.seconds(call)
                        continue
                    assert 0 < model.seconds(call) < 1, call
                    assert 0 <= model.spread(call) < 1 and 0 <= model.shared_spread(call) < 1
                    assert model.seconds(call, busy=2) >= model.seconds(call)
                    assert math.isfinite(model.spread(call)) and model.spread(call) >= 0
                    priced += 1
    assert priced > 100


def test_fit_of_messages() -> None:
    """Latency and bandwidth of made-up messages come back."""
    sizes = [64, 4096, 65536, 2**20]
    found = alpha_beta.fit(sizes, [2e-6 + n / 5e9 for n in sizes])
    assert found.latency_seconds == pytest.approx(2e-6)
    assert found.bytes_per_second == pytest.approx(5e9)
    assert found.seconds(5000) == pytest.approx(3e-6)
    with pytest.raises(HwError, match="do not grow with the bytes"):
        alpha_beta.fit([1, 100], [2e-6, 1e-6])


def test_neighbours() -> None:
    """A closed form gets the worst of a ring's neighbours."""
    t, link = Topology(catalogue.system("dgx-a100")), catalogue.link("nvlink3")
    worst = alpha_beta.neighbours(t, t.ring_order(4))
    assert (worst.latency_seconds, worst.bytes_per_second) == (link.latency_seconds, 12 * link.capacity)
    with pytest.raises(HwError, match="at least two devices"):
        alpha_beta.neighbours(t, ("gpu0",))


def test_everybody() -> None:
    """Half of what each sends crosses the middle of a tree: there are 8 x 8 routes over that link, and 15 messages of each."""
    t = Topology(catalogue.system("p2.16xlarge"))
    places = t.ring_order(16)
    middle = min(t.capacity(x) for x in t.route("gpu0", "gpu15"))
    assert alpha_beta.everybody(t, places).bytes_per_second == pytest.approx(middle * 15 / 64)
    assert alpha_beta.everybody(t, places[:2]) == alpha_beta.neighbours(t, places[:2])
    switched = Topology(catalogue.system("dgx-a100"))
    ring = switched.ring_order(8)
    assert alpha_beta.everybody(switched, ring) == alpha_beta.neighbours(switched, ring)  # a port each: no matter to whom
    with pytest.raises(HwError, match="at least two devices"):
        alpha_beta.everybody(t, ("gpu0",))


def test_energy() -> None:
    """Design power while busy, a share of it while idle."""
    d = catalogue.device("v100-sxm2-16gb")
    assert energy.joules(d, 2.0, 10.0) == pytest.approx(300 * 2 + 0.15 * 300 * 8)
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
