"""A real net's plan: the simulator takes the seconds of the closed form, and sends the bytes that the plan counts."""

import pytest

from graph.autodiff import training_graph
from graph.optimizer import Sgd
from graph.parallel.closed_form import step_seconds, total_nbytes
from graph.parallel.strategies.data_parallel import data_parallel
from graph.step_stats import step_stats
from graph.zoo import MODELS
from sim.model import UniformModel
from sim.play import play

ALPHA, BETA, FLOPS, BYTES = 2e-6, 10e9, 1e12, 1e11


def compute(rank, do):
    return 1e-6 + do.work.flop / FLOPS + do.work.nbytes / BYTES


@pytest.fixture(scope="module")
def graph():
    net = MODELS["lenet"].build(8, image=(8, 8, 1), classes=10, denominator=32)
    return training_graph(net, Sgd(learning_rate=0.1, momentum=0.9, weight_decay=0.0))


def plan_of(graph, ranks, steps, **options):
    return data_parallel(graph, ranks=ranks, steps=steps, bucket_bytes=20_000, **options)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("detail", ["flow", "message", "closed-form"])
def test_seconds_and_bytes(graph, detail, ranks):
    plan = plan_of(graph, ranks, 3)
    t = play(plan, UniformModel(alpha=ALPHA, beta=BETA, compute=compute), detail=detail)
    expected = step_seconds(plan, plan.ranks[0], lambda do: compute(plan.ranks[0], do), ALPHA, BETA, steps=3)
    tolerance = 1e-9 if ranks <= 2 or detail == "closed-form" else 1e-4  # parts of one size, or not quite
    assert t.seconds == pytest.approx(expected, rel=tolerance)
    assert step_stats(t).bytes_sent_total == total_nbytes(plan, steps=3)
    assert step_stats(t).kinds["allreduce"] > 0 if ranks > 1 else "allreduce" not in step_stats(t).kinds


def test_micro_batches(graph):
    one, two = (play(plan_of(graph, 2, 2, micro_batches=m), UniformModel(compute=compute)) for m in (1, 2))
    assert step_stats(two).kinds["forward"] == pytest.approx(2 * step_stats(one).kinds["forward"])
    assert step_stats(two).bytes_sent_total == step_stats(one).bytes_sent_total
    assert step_stats(two).kinds["accumulate"] > 0


def test_folded(graph):
    model = UniformModel(alpha=ALPHA, beta=BETA, compute=compute)
    whole, folded = (play(plan_of(graph, 8, 2), model, fold=fold) for fold in (False, True))
    assert step_stats(folded).step_s == pytest.approx(step_stats(whole).step_s, rel=1e-4)
    assert len({r.rank for r in folded}) == 1
