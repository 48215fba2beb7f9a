"""Topology: routes, rings, several nodes; the hybrid cube mesh as the known answer."""

from dataclasses import replace
from itertools import permutations

import pytest

from hw import catalogue
from hw.cost.alpha_beta import neighbours
from hw.errors import HwError
from hw.system import Network, System, Wire
from hw.topology import Topology, ring_order


def cube() -> System:
    """The DGX-1."""
    return catalogue.system("dgx1-v100")


def test_cube_mesh_has_six_links_at_each_gpu() -> None:
    """Each V100 has six NVLinks, used up by four neighbours."""
    for place in cube().local:
        at = [w.count for w in cube().wires if place in (w.a, w.b) and w.link.name == "nvlink2"]
        assert sum(at) == 6
        assert len(at) == 4


def test_two_links_carry_twice_as_much() -> None:
    """Links side by side add up."""
    t = Topology(cube())
    assert t.bandwidth("gpu0", "gpu3") == 2 * t.bandwidth("gpu0", "gpu1") == 2 * 20e9


def test_ring_on_the_cube_mesh_uses_double_nvlinks_only() -> None:
    """The mesh has a ring of double links through all eight, and it is found."""
    t = Topology(cube())
    ring = t.ring_order()
    assert sorted(ring) == sorted(cube().places)
    for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
        (hop,) = t.route(a, b)
        assert t.hops[hop].link == "nvlink2"
        assert t.capacity(hop) == 40e9
    assert neighbours(t, ring).bytes_per_second == 40e9


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_ring_is_the_best_there_is(n: int) -> None:
    """Against all rings through the first device, by brute force."""
    t = Topology(cube())
    ring = t.ring_order(n)
    assert len(set(ring)) == n
    if n > 1:
        best = max(weakest(t, (ring[0], *rest)) for rest in permutations(cube().places[1:], n - 1))
        assert weakest(t, ring) == best


def weakest(t: Topology, ring: tuple[str, ...]) -> float:
    """Bandwidth between the worst neighbours."""
    return min(t.bandwidth(a, b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True))


def test_devices_do_not_forward() -> None:
    """Without an NVLink between them two GPUs of the mesh talk over PCIe and the sockets."""
    t = Topology(cube())
    assert t.route("gpu0", "gpu5") == ("gpu0>plx0", "plx0>cpu0", "cpu0>cpu1", "cpu1>plx2", "plx2>gpu5")
    assert t.bandwidth("gpu0", "gpu5") == pytest.approx(6e9)
    latency = {k: catalogue.link(k).latency_seconds for k in ("pcie3-x16", "qpi")}
    assert t.latency("gpu0", "gpu5") == pytest.approx((0.5 + 1 + 1 + 0.5) * latency["pcie3-x16"] + latency["qpi"])


@pytest.mark.parametrize("name", ["dgx-a100", "dgx-h100"])
def test_switch(name: str) -> None:
    """Through the switch, not through the PCIe switch that is as near; one latency for the whole way."""
    s = catalogue.system(name)
    t = Topology(s)
    assert t.ring_order() == s.places
    assert t.route("gpu0", "gpu1") == ("gpu0>nvswitch", "nvswitch>gpu1")
    link = next(w for w in s.wires if w.b == "nvswitch").link
    assert t.latency("gpu0", "gpu1") == link.latency_seconds
    assert t.bandwidth("gpu0", "gpu7") == {"dgx-a100": 12, "dgx-h100": 18}[name] * link.capacity


def test_several_nodes() -> None:
    """Names carry the node; between nodes the route goes over the network; the ring passes node by node."""
    s = replace(catalogue.system("dgx-a100"), nodes=3)
    t = Topology(s)
    assert s.places[8] == "node1/gpu0"
    assert t.route("node0/gpu0", "node1/gpu3") == (
        "node0/gpu0>node0/plx0",
        "node0/plx0>network",
        "network>node1/plx1",
        "node1/plx1>node1/gpu3",
    )
    assert t.ring_order(16) == s.places[:16]
    assert t.bandwidth("node0/gpu0", "node1/gpu3") == catalogue.link("pcie4-x16").capacity
    with pytest.raises(HwError, match="a ring of 25 does not fit"):
        t.ring_order(25)


def test_ring_on_the_cube_mesh_of_p100() -> None:
    """All single links, no way over PCI Express."""
    s = catalogue.system("dgx1-p100")
    t = Topology(s)
    ring = t.ring_order()
    assert sorted(ring) == sorted(s.places)
    assert all(t.hops[hop].link == "nvlink1" for a, b in neighbours_of(ring) for hop in t.route(a, b))
    assert neighbours(t, ring).bytes_per_second == catalogue.link("nvlink1").capacity


def neighbours_of(ring: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs, the last with the first."""
    return list(zip(ring, ring[1:] + ring[:1], strict=True))


def test_ring_on_a_tree_goes_board_by_board() -> None:
    """In the order of names each link carries one neighbour's bytes in each direction, so nobody shares."""
    s = catalogue.system("p2.16xlarge")
    t = Topology(s)
    ring = t.ring_order()
    assert ring == s.places
    used = [hop for a, b in neighbours_of(ring) for hop in t.route(a, b)]
    assert len(used) == len(set(used))
    assert neighbours(t, ring).bytes_per_second == catalogue.link("pcie3-x16").capacity


def test_two_gpus_behind_a_switch_share_its_uplink() -> None:
    """Both dies of a board send to the other board: half each; to each other: all of it."""
    t = Topology(catalogue.system("p2.16xlarge"))
    up = [set(t.route(a, b)) for a, b in (("gpu0", "gpu2"), ("gpu1", "gpu3"))]
    assert up[0] & up[1] == {"plx0>switch0", "switch0>plx1"}
    assert t.route("gpu0", "gpu1") == ("gpu0>plx0", "plx0>gpu1")
    assert neighbours(t, ("gpu0", "gpu2", "gpu1", "gpu3")).bytes_per_second == catalogue.link("pcie3-x16").capacity / 2


def test_sixteen_nodes() -> None:
    """The ring passes node by node, so each node's network link carries one neighbour's bytes in each direction."""
    s = catalogue.system("p2.16xlarge", nodes=16, network="25gbe")
    t = Topology(s)
    ring = t.ring_order()
    assert len(ring) == 256
    assert [s.node_of(p) for p in ring] == sorted(s.node_of(p) for p in s.places)
    assert neighbours(t, ring).bytes_per_second == catalogue.link("25gbe").capacity
    assert t.route(ring[15], ring[16])[-1] == "node1/plx0>node1/gpu0"
    pcie, net = (catalogue.link(n).latency_seconds for n in ("pcie3-x16", "25gbe"))
    assert t.latency("node0/gpu0", "node1/gpu0") == pytest.approx(2 * (0.5 + 1 + 1) * pcie + net)
    assert t.latency("node0/gpu0", "node0/gpu1") == pytest.approx(pcie)


def test_oversubscribed_network() -> None:
    """Everything between nodes shares the core: one pair has its full rate, all together their share."""
    link = catalogue.link("25gbe")
    t = Topology(catalogue.system("p2.16xlarge", nodes=4, network="25gbe", oversubscription=2))
    assert "network>core" in t.route("node0/gpu0", "node3/gpu7")
    assert t.bandwidth("node0/gpu0", "node3/gpu7") == link.capacity
    assert t.capacity("network>core") == 4 * link.capacity / 2
    assert neighbours(t, t.ring_order()).bytes_per_second == link.capacity / 2


def test_hosts() -> None:
    """A host is reached through the sockets, each with its share of the memory's bandwidth, and forwards for nobody."""
    s = catalogue.system("dgx1-p100", nodes=2)
    t, whole = Topology(s), s.device_at("node1/host")
    assert t.route("node1/gpu2", "node1/host") == (
        "node1/gpu2>node1/plx1",
        "node1/plx1>node1/cpu0",
        "node1/cpu0>node1/host",
    )
    assert t.route("node0/host", "node1/gpu6")[-2:] == ("network>node1/plx3", "node1/plx3>node1/gpu6")  # the adapter beside it
    socket = catalogue.device("xeon-e5-2698-v4")
    assert (whole.cores, whole.peak["f32"]) == (40, 2 * socket.peak["f32"])
    assert t.capacity("node0/cpu0>node0/host") == socket.memory_bytes_per_second * socket.efficiency.memory
    assert all("host" not in hop for hop in t.route("node0/gpu0", "node0/gpu5"))  # not a way around the sockets' link


def test_neighbours_share_links() -> None:
    """Two devices behind one uplink halve it."""
    link, device = catalogue.link("pcie3-x16"), catalogue.device("p100-sxm2")
    wires = tuple(Wire(a=f"gpu{i}", b=f"switch{i // 2}", link=link) for i in range(4))
    s = System(name="tree", device=device, count=4, wires=(*wires, Wire(a="switch0", b="switch1", link=link)))
    t = Topology(s)
    assert neighbours(t, ("gpu0", "gpu1", "gpu2", "gpu3")).bytes_per_second == link.capacity
    assert neighbours(t, ("gpu0", "gpu2", "gpu1", "gpu3")).bytes_per_second == link.capacity / 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: replace(s, nodes=2, network=None), "has 2 nodes but no network"),
        (lambda s: replace(s, count=7), "a wire ends at 'gpu7', but the last device is gpu6"),
        (
            lambda s: replace(s, network=Network(link=s.network.link, at=("nic0",))),
            "is plugged into 'nic0', which is no part of a node",
        ),
        (lambda s: ring_order(s, 9), "has 8 devices; a ring of 9 does not fit"),
        (lambda s: Topology(s).route("gpu0", "gpu9"), "has no device 'gpu9'; did you mean"),
        (lambda s: Topology(s).capacity("gpu0>gpu9"), "has no link 'gpu0>gpu9'; did you mean"),
        (
            lambda s: Topology(replace(s, wires=(), network=None, host=None)).route("gpu0", "gpu1"),
            "no way leads from 'gpu0' to 'gpu1'",
        ),
        (lambda s: replace(s, host=replace(s.host, at=("cpu7",))), "the host is plugged into 'cpu7', which is no part of a node"),
        (lambda s: replace(s.host, at=()), "are given together"),
        (lambda s: replace(s, wires=(Wire(a="gpu0", b="host", link=s.wires[0].link),)), "say with `at` of the host"),
        (lambda s: replace(s, host=None).device_at("host"), "does not say what processors its hosts have"),
    ],
)
def test_refused(make: object, message: str) -> None:
    """What cannot be is said plainly."""
    with pytest.raises(HwError) as e:
        make(cube())  # type: ignore[operator]
    assert message in str(e.value)
