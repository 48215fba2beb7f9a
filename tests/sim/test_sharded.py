"""Hybrid, model and layer parallelism played: seconds of the closed form where there is one, bytes as the plan counts them."""

from itertools import pairwise

import pytest

from graph.optimizer import Sgd
from graph.parallel.closed_form import step_seconds, total_nbytes
from graph.parallel.strategies import STRATEGIES
from graph.step_stats import step_stats
from graph.zoo import MODELS
from sim.model import UniformModel
from sim.play import play

ALPHA, BETA = 2e-6, 1e9
SGD = Sgd(learning_rate=0.1, momentum=0.9)
CASES = {
    "whole": ("hybrid", {}),
    "turns": ("hybrid", {"scheme": "turns"}),
    "parts": ("hybrid", {"scheme": "parts"}),
    "rounds": ("hybrid", {"scheme": "parts", "fc_update": "round"}),
    "model": ("model", {"micro_batches": 2}),
    "layers": ("layers", {"micro_batches": 2}),
}
SHARE = 16  # samples of a rank


def compute(rank, do):
    return 1e-6 + do.work.flop / 1e12 + do.work.nbytes / 1e11


MODEL = UniformModel(alpha=ALPHA, beta=BETA, compute=compute)


def plan_of(case, ranks, steps=3):
    strategy, options = CASES[case]
    net = MODELS["lenet"].build(SHARE, image=(8, 8, 1), width=2.0)
    return STRATEGIES[strategy].build(net, SGD, ranks=ranks, steps=steps, **options)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("detail", ["flow", "message", "closed-form"])
@pytest.mark.parametrize("case", ["whole", "model"])
def test_one_after_another_takes_the_closed_form(case, detail, ranks):
    """Where no two exchanges are under way at once; parts of the gradients may differ by an element."""
    plan = plan_of(case, ranks)
    t = play(plan, MODEL, detail=detail)
    expected = step_seconds(plan, plan.ranks[0], lambda do: compute(plan.ranks[0], do), ALPHA, BETA, steps=3)
    assert t.seconds == pytest.approx(expected, rel=1e-9 if ranks == 2 or case == "model" else 1e-4)


@pytest.mark.parametrize("case", ["turns", "parts"])
def test_rounds_at_closed_form_detail(case):
    """In parts, exchanges of rows and of their gradients share ports, which the formula of a step does not know."""
    plan = plan_of(case, 4)
    expected = step_seconds(plan, plan.ranks[0], lambda do: compute(plan.ranks[0], do), ALPHA, BETA, steps=3)
    took = play(plan, MODEL, detail="closed-form").seconds
    if case == "turns":
        assert took == pytest.approx(expected, rel=1e-9)
    else:
        assert expected < took < play(plan, MODEL).seconds


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("detail", ["flow", "message", "closed-form"])
@pytest.mark.parametrize("case", CASES)
def test_bytes(case, detail, ranks):
    plan = plan_of(case, ranks)
    stats = step_stats(play(plan, MODEL, detail=detail))
    assert stats.bytes_sent_total == total_nbytes(plan, steps=3)
    kinds = {"layers": {"activation", "gradient"}, "model": {"gather", "scatter"}}
    assert kinds.get(case, {"gather", "scatter", "allreduce"}) <= set(stats.kinds)


@pytest.mark.parametrize("case", ["whole", "parts", "rounds", "model"])
def test_like_ranks_are_folded(case):
    plan = plan_of(case, 4)
    whole, folded = (play(plan, MODEL, fold=fold) for fold in (False, True))
    assert step_stats(folded).step_s == pytest.approx(step_stats(whole).step_s, rel=1e-4)
    assert len({r.rank for r in folded}) == 1


@pytest.mark.parametrize("case", ["turns", "layers"])
def test_ranks_that_take_turns_are_not_alike(case):
    plan = plan_of(case, 4)
    whole, folded = (play(plan, MODEL, fold=fold) for fold in (False, True))
    assert folded.seconds == pytest.approx(whole.seconds, rel=1e-9)
    assert len({r.rank for r in folded}) == 4


def test_one_stage_computes_at_a_time():
    t = play(plan_of("layers", 3), UniformModel(alpha=ALPHA, beta=BETA, compute=compute))
    spans = sorted((r.start, r.end) for r in t if r.stream == "compute" and r.id[1] in ("forward", "backward"))
    assert all(a[1] <= b[0] + 1e-12 for a, b in pairwise(spans))


def test_rounds_hide_the_exchange_of_rows():
    """Computing takes longer than sending: of the rows' way there and back, at least 3 of 4 rounds are behind computing."""
    beta = 1e8
    model = UniformModel(beta=beta, compute=lambda rank, do: do.work.flop / 1e8)
    exposed = {case: step_stats(play(plan_of(case, 4), model)).exposed_comm_s for case in ("whole", "parts")}
    rows = 4 * SHARE * 2 * 2 * 32 * 4  # bytes: samples of all ranks, of 2 x 2 x 32 floats
    there_and_back = 2 * 3 * rows / 4 / beta
    assert exposed["whole"] - exposed["parts"] > 0.99 * 3 / 4 * there_and_back
