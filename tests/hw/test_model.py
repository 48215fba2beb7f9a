"""A plan placed on a system: kernels through the cost model, transfers through the topology."""

import numpy as np
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
        low = {"worker": lower(plan, "worker", Platform.CUDA)}
        return PlacedModel(system=s, plan=plan, lowered=low, cost=cost_model(s.device), **options)

    return make


def test_seconds_of_a_segment_are_those_of_its_calls(placed, dos):
    model = placed(overheads=Overheads(action=1e-6))
    rank = model.plan.ranks[0]
    do = next(d for d in dos(model.plan) if d.kernel == "forward/conv1")
    calls = model.lowered["worker"].segments["forward/conv1"]
    assert model.compute_seconds(rank, do) == pytest.approx(1e-6 + sum(model.cost.seconds(c) for c in calls))


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
    believed = PlacedModel(system=s, plan=plan, lowered=low, cost=Uncertain(None))
    rank = plan.ranks[0]
    total = sum(believed.call_seconds(c) for c in low["worker"].calls)
    reach = 1.2816 * believed.spread(rank) * total
    truth, inside, trials = Uncertain(np.random.default_rng(5)), 0, 2000
    for _ in range(trials):
        truth.draw()
        step = sum(truth.seconds(c) for c in low["worker"].calls)
        inside += abs(step - total) <= reach
    assert inside / trials == pytest.approx(0.8, abs=0.04)
