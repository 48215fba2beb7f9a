"""A plan placed on a system: kernels through the cost model, transfers through the topology."""

import pytest

from hw.catalogue import system
from hw.cost import cost_model
from hw.errors import DoesNotFit
from hw.kernels.record import Platform
from hw.lower import lower
from hw.model import Overheads, PlacedModel


@pytest.fixture
def placed(trained, planned):
    def make(ranks: int = 8, name: str = "dgx1-v100", **options: object) -> PlacedModel:
        graph = trained()
        plan = planned(graph, ranks=ranks)
        s = system(name)
        low = {"worker": lower(graph, plan, "worker", Platform.CUDA)}
        return PlacedModel(system=s, plan=plan, lowered=low, cost=cost_model(s.device), **options)

    return make


def test_seconds_of_a_segment_are_those_of_its_calls(placed, dos):
    model = placed(overheads=Overheads(action=1e-6, call=1e-7))
    rank = model.plan.ranks[0]
    do = next(d for d in dos(model.plan) if d.kernel == "forward/conv1")
    calls = model.lowered["worker"].segments["forward/conv1"]
    assert model.compute_seconds(rank, do) == pytest.approx(1e-6 + sum(1e-7 + model.cost.seconds(c) for c in calls))


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
        assert model.launch_seconds(rank, do) == pytest.approx(model.device.issue_seconds * len(calls))


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
