"""Every registered strategy: its plans are proven under several orders, and their bytes are those of the formula."""

import pytest

from graph.autodiff import training_graph
from graph.optimizer import Sgd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes
from graph.parallel.strategies import STRATEGIES
from graph.parallel.text import plan_text
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

CASES = [(s.name, k) for s in STRATEGIES.values() for k in range(len(s.samples))]


@pytest.fixture(scope="module", params=list(MODELS))
def training(request):
    """Every model of the zoo, small, as a training graph."""
    return training_graph(MODELS[request.param].build(2, image=(8, 8, 1), width=0.5), Sgd(learning_rate=0.1, momentum=0.9))


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_plans_are_proven_and_played(training, name, sample):
    strategy = STRATEGIES[name]
    plan = strategy.build(training, **strategy.samples[sample])
    assert strategy(training, **strategy.samples[sample]).hash == plan.hash
    for seed in range(3):
        proof = check(plan, seed, steps=1)
        assert not proof.lost
        assert bool(proof.taken) == strategy.trains
        assert sum(proof.nbytes.values()) == total_nbytes(plan)
    for role in plan.roles:
        assert {n for nodes in role.segments.values() for n in nodes} <= set(training.node)
        assert unroll(plan, plan.first_rank(role.name))
        assert f"role {role.name}: program {role.program}" in plan_text(plan)
