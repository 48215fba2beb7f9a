"""A plan placed on a system: kernels through the cost model, transfers through the topology."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Buffer, Do, Plan, Ref, Role, program
from graph.parallel.strategies.layers import layers
from graph.step_stats import step_stats
from graph.zoo import MODELS
from hw.catalogue import system
from hw.cost import cost_model
from hw.errors import DoesNotFit, HwError
from hw.input_stage import InputStage, period
from hw.kernels.record import Platform
from hw.lower import lower
from hw.model import Overheads, PlacedModel
from hw.place import role_device
from sim.play import play


@pytest.fixture
def placed(trained, planned):
    def make(ranks: int = 8, name: str = "dgx1-v100", **options: object) -> PlacedModel:
        graph = trained()
        plan = planned(graph, ranks=ranks)
        s = system(name)
        low = {"worker": lower(plan, "worker", Platform.CUDA)}
        return PlacedModel(system=s, plan=plan, lowered=low, cost=cost_model, **options)

    return make


def test_seconds_of_a_segment_are_those_of_its_calls(placed, dos):
    model = placed(overheads=Overheads(action=1e-6))
    rank = model.plan.ranks[0]
    do = next(d for d in dos(model.plan) if d.kernel == "forward/conv1")
    calls = model.lowered["worker"].segments["forward/conv1"]
    assert model.compute_seconds(rank, do) == pytest.approx(1e-6 + sum(model.cost_of(rank).seconds(c) for c in calls))


def test_ranks_stand_in_the_order_of_the_best_ring(placed):
    model = placed()
    n = len(model.plan.ranks)
    for k, rank in enumerate(model.plan.ranks):
        (hop,) = model.route(rank, model.plan.ranks[(k + 1) % n])  # neighbours are joined directly
        assert model.capacity(hop) > 15e9  # by NVLink, not over PCI Express


def test_a_launch_costs_one_for_each_kernel(placed, dos):
    model = placed()
    rank = model.plan.ranks[0]
    for do in dos(model.plan):
        calls = model.lowered["worker"].segments[do.kernel]
        assert model.launch_seconds(rank, do) == pytest.approx(model.device_of(rank).issue_seconds * len(calls))


def test_more_ranks_than_devices_do_not_fit(placed):
    with pytest.raises(DoesNotFit, match="9 ranks, but dgx1-v100 has 8 devices; use at most 8 ranks"):
        placed(ranks=9)


def test_dma_takes_no_core(placed):
    model = placed()
    a, b = model.plan.ranks[:2]
    assert model.send_seconds(a, b, 1 << 20) == 0.0
    assert model.recv_seconds(a, b, 1 << 20, add=False) == 0.0
    assert model.recv_seconds(a, b, 1 << 20, add=True) > 0.0
    assert {model.engine(a, s) for s in ("compute", "comm>", "comm<")} == {"compute", "comm>", "comm<"}
    assert model.engine(a, "update") == "compute"  # kernels take turns


def sum_server(graph: Graph, size: int) -> Role:
    """A role that adds up two buffers, on a host: it runs no node of the graph, only an accumulation by name."""
    buffers = {n: Buffer(size=size, kind="gradient") for n in ("g.b0", "p.b0")}
    sums = Do(id=(0, "accumulate", "b0", 0), kernel="accumulate/b0", reads=(Ref("g.b0"), Ref("p.b0")), writes=(Ref("g.b0"),))
    where = {"compute": "host"}
    return Role(
        name="server", program="sum_once", params={"do": sums}, axes={"n": 2}, buffers=buffers, graph=graph, places=where
    )  # fmt: skip


@program
def sum_once(plan: Plan, role: Role, do: Do) -> Iterator[Do]:
    """One sum."""
    yield do


@pytest.fixture
def with_servers(trained, planned):
    """8 workers on the GPUs of a DGX-1, two servers on its host."""
    graph = trained()
    plan = Plan((*planned(graph, ranks=8).roles, sum_server(graph, 1 << 22)))
    s = system("dgx1-v100")
    low = {r.name: lower(plan, r.name, role_device(s, r).platform) for r in plan.roles}
    return PlacedModel(system=s, plan=plan, lowered=low, cost=cost_model)


def test_a_host_is_shared_by_those_who_stand_there(with_servers):
    model, (worker, *_, server) = with_servers, with_servers.plan.ranks
    whole, share = model.system.device_at("host"), model.device_of(server)
    assert model.places[server] == "host"
    assert (share.memory_nbytes, share.cores) == (whole.memory_nbytes // 2, whole.cores // 2)
    assert share.memory_bytes_per_second == whole.memory_bytes_per_second / 2
    assert model.memory_capacity_bytes(server) == 256 * 10**9
    assert model.memory_capacity_bytes(worker) == 16 << 30
    assert model.cost_name == "roofline"


def test_a_host_is_priced_as_a_processor(with_servers):
    """The sum is bound by the memory of the host's sockets, not by that of a GPU."""
    model, server = with_servers, with_servers.plan.ranks[-1]
    do, rate = model.plan.role["server"].params["do"], 2 * 76.8e9 * 0.8125 / 2
    nbytes = 3 * 4 * (1 << 22)
    assert model.compute_seconds(server, do) == pytest.approx(5e-6 + 90e-9 + nbytes / rate, rel=1e-3)
    assert model.recv_seconds(server, model.plan.ranks[0], 1 << 20, add=True) == pytest.approx(3 * (1 << 20) / rate)
    assert model.launch_seconds(server, do) == 0.0


def test_all_gpus_send_to_the_host_through_its_sockets(with_servers):
    """Two GPUs share the link from their switch to the socket; the two sockets have a way each."""
    model, server = with_servers, with_servers.plan.ranks[-1]
    uplinks = Counter(model.route(r, server)[1] for r in model.plan.ranks if r.role == "worker")
    assert uplinks == {"plx0>cpu0": 2, "plx1>cpu0": 2, "plx2>cpu1": 2, "plx3>cpu1": 2}
    assert model.send_seconds(model.plan.ranks[0], server, 1 << 20) == 0.0


def test_links_that_a_ring_shares_are_divided(placed):
    """A closed form is told what is left of a link when all neighbours send, and the mean latency of the way around."""
    model = placed(ranks=4, name="p2.8xlarge")
    a, b, c, d = model.plan.ranks
    rate = model.capacity("gpu0>plx0")
    ways = [model.latency(x, y) for x, y in ((a, b), (b, c), (c, d), (d, a))]
    assert max(ways) == pytest.approx(3 * 5.7e-6) and min(ways) < max(ways)
    assert model.group((a, b, c, d)) == (pytest.approx(sum(ways) / 4), rate)
    assert model.group((a, c, b, d))[1] == rate / 2
    assert model.group((a,)) == (0.0, float("inf"))


def test_ranks_of_a_node_share_its_storage_and_cores(placed, dos):
    """8 readers: each has an eighth; the copy to the device shares the switch's link to the socket with one other."""
    stage = InputStage(storage_bytes_per_second=1e9, sample_nbytes=110_000, decode_seconds=5e-3, cores=40, depth=2)
    model = placed(input_stage=stage)
    rank, do = model.plan.ranks[0], next(d for d in dos(model.plan) if d.kernel == "input")
    assert model.input_seconds(rank, do) == (pytest.approx(6 * 110_000 * 8 / 1e9), pytest.approx(6 * 5e-3 * 8 / 40))
    assert model.input_depth(rank) == 2
    nbytes = sum(c.work.bytes_written for c in model.lowered["worker"].segments["input"])
    latency = model.topology.latency("host", model.places[rank])
    assert model.compute_seconds(rank, do) == pytest.approx(latency + nbytes / (model.capacity("cpu0>plx0") / 2))
    assert placed().input_depth(rank) == 0


def test_labels_alone_take_no_reading():
    """Of two stages the first takes images, the last labels: nothing is read or decoded twice."""
    plan = layers(MODELS["lenet"].build(6, **MODELS["lenet"].tiny), Sgd(learning_rate=0.1), ranks=2, steps=1)
    low = {r.name: lower(plan, r.name, Platform.CUDA) for r in plan.roles}
    stage = InputStage(storage_bytes_per_second=1e9, sample_nbytes=110_000, decode_seconds=5e-3, cores=40, depth=2)
    model = PlacedModel(system=system("dgx1-v100"), plan=plan, lowered=low, cost=cost_model, input_stage=stage)
    takes = [model.input_seconds(r, Do(id=(0, "input", 0), kernel="input")) for r in plan.ranks]
    assert takes == [(pytest.approx(6 * 110_000 / 1e9), pytest.approx(6 * 5e-3 / 40)), (0.0, 0.0)]


def test_the_input_stage_sets_the_pace(placed):
    """Played, steps come as often as the closed form says; with enough storage they come as without a stage."""
    slow = InputStage(storage_bytes_per_second=1e8, sample_nbytes=110_000, depth=2)
    model = placed(input_stage=slow)
    found = step_stats(play(model.plan.shortened(3), model))
    storage, decode = model.input_seconds(model.plan.ranks[0], Do(id=(0, "input", 0), kernel="input"))
    assert found.step_s == pytest.approx(period(storage, decode, 0.0, 0.0, 2))
    plenty = placed(input_stage=InputStage(storage_bytes_per_second=1e13, sample_nbytes=1, depth=2))
    assert step_stats(play(plenty.plan.shortened(3), plenty)).step_s < storage / 4


@pytest.mark.parametrize("wrong", [{"storage_bytes_per_second": 0.0}, {"decode_seconds": -1.0}, {"cores": 0}, {"depth": -1}])
def test_input_stage_refuses(wrong):
    with pytest.raises(HwError):
        InputStage(**wrong)


class Uncertain:
    """Every kernel takes what its call reads, with an error of its own and one that all share."""

    name = "uncertain"

    def __init__(self, rng):
        self.rng, self.errors, self.shared = rng, {}, 1.0

    def draw(self):
        self.errors, self.shared = {}, 1 + self.rng.normal(0, 0.04)

    def seconds(self, call, *, busy=1, touched=None):
        error = self.errors.setdefault(call.kernel, self.rng.normal(0, self.spread(call))) if self.rng else 0.0
        return (call.work.nbytes + 64) * 1e-9 * (1 + error) * self.shared

    def shared_spread(self, call):
        return 0.04

    def spread(self, call):
        return 0.03 + 0.02 * (len(call.kernel) % 5)


def test_an_interval_of_80_percent_holds_80_percent(trained, planned):
    """Draw the errors that a cost model owns up to: the step lies within the interval made of them as often as it says."""
    graph = trained()
    plan, s = planned(graph, ranks=2), system("dgx1-v100")
    low = {"worker": lower(plan, "worker", Platform.CUDA)}
    believed = PlacedModel(system=s, plan=plan, lowered=low, cost=lambda device: Uncertain(None))
    rank = plan.ranks[0]
    total = sum(believed.call_seconds(rank, c) for c in low["worker"].calls)
    reach = 1.2816 * believed.spread(rank) * total
    truth, inside, trials = Uncertain(np.random.default_rng(5)), 0, 2000
    for _ in range(trials):
        truth.draw()
        step = sum(truth.seconds(c) for c in low["worker"].calls)
        inside += abs(step - total) <= reach
    assert inside / trials == pytest.approx(0.8, abs=0.04)
