"""Where ranks stand: the ring, nodes, hosts, and what cannot be."""

from dataclasses import replace

import pytest

from graph.parallel.plan import Plan, Rank, Role
from hw import catalogue
from hw.device import Device
from hw.errors import DoesNotFit, HwError
from hw.kernels.record import Platform
from hw.link import CoreCopies, DrivenBy, Link, Rate
from hw.place import placed, role_device
from hw.system import System, Wire
from hw.topology import Topology

RATE = Rate(overhead_seconds=1e-6, bytes_per_second=1e9)


def role(name="worker", place="device", **axes):
    return Role(name=name, program="data_parallel", axes=axes, places={"compute": place})


def places(system: System, *roles: Role, oversubscribed: bool = False) -> list[str]:
    return list(placed(Plan(roles), Topology(system), oversubscribed=oversubscribed).values())


def this_computer(cores: int) -> System:
    """As `host_system` makes it, without a profile."""
    core = Device(name="core", platform=Platform.CPU, peak={}, memory_nbytes=1 << 30, memory_bytes_per_second=1e10)
    copies = CoreCopies(send=RATE, receive=RATE, receive_add=RATE)
    memory = Link(
        name="m", kind="memory", bytes_per_second=1e10, latency_seconds=1e-6, driven_by=DrivenBy.CORE, copies=copies
    )  # fmt: skip
    return System(
        name="host", device=core, count=cores, wires=tuple(Wire(a=f"core{i}", b="m", link=memory) for i in range(cores))
    )


def test_ranks_stand_along_the_ring() -> None:
    """Roles one after another."""
    s = catalogue.system("dgx1-v100")
    ring = list(Topology(s).ring_order())
    assert places(s, role(dp=8)) == ring
    assert places(s, role(dp=6), role("server", n=2)) == ring


def test_ranks_of_several_nodes_fill_one_after_another() -> None:
    """As many as a node has; the last node may have fewer."""
    s = catalogue.system("p2.8xlarge", nodes=3)
    assert places(s, role(dp=20)) == [f"node{k}/gpu{i}" for k in range(3) for i in range(8)][:20]


def test_an_axis_that_says_the_node() -> None:
    """Coordinate k along it is node k, however few ranks stand there; several roles share the node's devices."""
    s = catalogue.system("p2.8xlarge", nodes=3)
    assert places(s, role(node=3, device=2)) == [f"node{k}/gpu{i}" for k in range(3) for i in range(2)]
    assert places(s, role(device=2, node=3))[:3] == ["node0/gpu0", "node1/gpu0", "node2/gpu0"]
    mixed = places(s, role(node=3, device=2), role("server", node=3))
    assert mixed[-3:] == ["node0/gpu2", "node1/gpu2", "node2/gpu2"]
    assert places(catalogue.system("p2.8xlarge"), role(node=1, device=8))[-1] == "gpu7"


def test_hosts() -> None:
    """Of node 0, unless an axis says the node."""
    s = catalogue.system("p2.8xlarge", nodes=2)
    assert places(s, role(dp=2), role("server", "host", n=2)) == ["node0/gpu0", "node0/gpu1", "node0/host", "node0/host"]
    assert places(s, role(node=2, device=1), role("server", "host", node=2))[-2:] == ["node0/host", "node1/host"]
    assert role_device(s, role("server", "host")).platform is Platform.CPU
    assert role_device(s, role()).platform is Platform.CUDA


def test_on_this_computer_a_host_is_one_more_core() -> None:
    """There is nothing around the cores."""
    assert places(this_computer(3), role(dp=2), role("server", "host")) == ["core0", "core1", "core2"]


def test_more_ranks_than_cores() -> None:
    """In turns, when asked for; else refused with the most that fit."""
    assert places(this_computer(2), role(dp=3), role("server", "host"), oversubscribed=True) == ["core0", "core1"] * 2
    with pytest.raises(DoesNotFit, match="the plan has 3 ranks, but host has 2 devices; use at most 2 ranks"):
        places(this_computer(2), role(dp=2), role("server", "host"))


@pytest.mark.parametrize(
    ("system", "roles", "message"),
    [
        ("p2.8xlarge", (role(dp=9),), "9 ranks, but p2.8xlarge has 8 devices; use at most 8 ranks"),
        ("p2.8xlarge", (role(node=2, device=4),), "role 'worker' spans 2 nodes, but p2.8xlarge has 1; use at most 1"),
        (
            "gtx580x2-2012",
            (role(dp=2), role("server", "host")),
            "does not say what processors its hosts have; place it on devices",
        ),
    ],
)
def test_does_not_fit(system: str, roles: tuple[Role, ...], message: str) -> None:
    """What was asked, what there is, what would do."""
    with pytest.raises(DoesNotFit) as e:
        places(catalogue.system(system), *roles)
    assert message in str(e.value)


def test_too_many_in_a_node() -> None:
    """Nodes of 8 have no room for 9."""
    with pytest.raises(
        DoesNotFit, match=r"9 ranks in one node, but a node of p2\.8xlarge has 8 devices; use at most 8 ranks a node"
    ):
        places(catalogue.system("p2.8xlarge", nodes=2), role(node=2, device=9))


def test_unknown_place() -> None:
    """The nearest is offered."""
    with pytest.raises(HwError, match="placed on 'hots'; did you mean 'host'"):
        places(catalogue.system("p2.8xlarge"), role(place="hots"))


def test_ranks_may_begin_further_around_the_ring_in_every_node() -> None:
    """Node k of 4 begins with rank k x 8 / 4, so that ranks 2k and 2k + 1 stand at the same places everywhere."""
    turned = replace(role(node=4, device=8), is_turned=True)
    found = placed(Plan((turned,)), Topology(catalogue.system("p2.8xlarge", nodes=4)))
    for k in range(4):
        assert [found[Rank("worker", (k, (2 * k + d) % 8))] for d in range(8)] == [f"node{k}/gpu{d}" for d in range(8)]
