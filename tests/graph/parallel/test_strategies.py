"""Every registered strategy: its plans are proven under several orders, and their bytes are those of the formula."""

import pytest

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
    """Models of the zoo, small."""
    return MODELS[request.param].build(2, image=(8, 8, 1), width=0.5)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_plans_are_proven_and_played(model, name, sample):
    strategy = STRATEGIES[name]
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
