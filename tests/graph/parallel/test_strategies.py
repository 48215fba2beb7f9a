"""Every registered strategy: its plans are proven under several orders, and their bytes are those of the formula."""

import pytest

from graph.errors import InvalidPlan
from graph.optimizer import Sgd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes
from graph.parallel.strategies import STRATEGIES
from graph.parallel.text import plan_text
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

CASES = [(s.name, k) for s in STRATEGIES.values() for k in range(len(s.samples))]


SGD = Sgd(learning_rate=0.1, momentum=0.9)


@pytest.fixture(scope="module", params=["mlp", "lenet"])
def model(request):
    """Models of the zoo, small, whose layers several ranks can share."""
    return MODELS[request.param].build(6, image=(8, 8, 1), width=2.0)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_plans_are_proven_and_played(model, name, sample):
    strategy = STRATEGIES[name]
    if name in ("hybrid", "features") and model.name == "mlp":
        with pytest.raises(InvalidPlan, match="wants convolutions"):
            strategy.build(model, SGD, **strategy.samples[sample])
        return
    plan = strategy.build(model, SGD, **strategy.samples[sample])
    assert strategy(model, SGD, **strategy.samples[sample]).hash == plan.hash
    for seed in range(3):
        proof = check(plan, seed, steps=1)
        assert not proof.lost
        assert bool(proof.taken) == strategy.trains
        assert sum(proof.nbytes.values()) == total_nbytes(plan)
    for role in plan.roles:
        assert role.graph is not None
        assert {n for nodes in role.segments.values() for n in nodes} <= set(role.graph.node)
        assert unroll(plan, plan.first_rank(role.name))
        assert f"role {role.name}: program {role.program}" in plan_text(plan)


def test_what_keeps_a_strategy_from_training_as_one_worker_does():
    """Batch normalization in parts of a batch; nothing else, but for what a strategy says itself."""
    plain, normed = (MODELS[m].build(4, **MODELS[m].tiny) for m in ("vgg16", "resnet50"))
    several = {
        "data_parallel": {"ranks": 2},
        "parameter_server": {"ranks": 2},
        "hybrid": {"ranks": 2},
        "model": {"micro_batches": 2},
    }
    for name, options in several.items():
        options = {"ranks": 1, "bucket_bytes": 1, **options}
        assert STRATEGIES[name].differs(plain, options) == ""
        assert "statistics from one of 2 parts of the batch" in STRATEGIES[name].differs(normed, options)
        assert STRATEGIES[name].differs(normed, {**options, "ranks": 1, "micro_batches": 1}) == ""
    assert "updated after each round" in STRATEGIES["hybrid"].differs(plain, {"ranks": 2, "fc_update": "round"})
