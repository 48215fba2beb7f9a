"""The strategy `inference`: the evaluation graph, forward only."""

import pytest

from graph.errors import InvalidPlan
from graph.ir import Phase
from graph.optimizer import Sgd
from graph.parallel.closed_form import total_nbytes
from graph.parallel.plan import Do
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.passes.inference import inference_graph
from graph.zoo import MODELS

SGD = Sgd(learning_rate=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_forward_only(name):
    model = MODELS[name].build(2, **MODELS[name].tiny, dropout=0.3)
    plan = STRATEGIES["inference"].build(model, SGD, ranks=3, steps=2)
    (role,) = plan.roles
    assert role.graph == inference_graph(model)
    assert {n.phase for n in role.graph} == {Phase.FORWARD}
    assert {n for nodes in role.segments.values() for n in nodes} == set(role.graph.node)
    actions = unroll(plan, plan.ranks[0])
    assert {a.ins.id[1] for a in actions if isinstance(a.ins, Do)} == {"input", "forward"}
    assert total_nbytes(plan) == 0
    assert not STRATEGIES["inference"].trains


def test_refused():
    with pytest.raises(InvalidPlan, match="ranks"):
        STRATEGIES["inference"].build(MODELS["mlp"].build(2), SGD, ranks=0, steps=1)
