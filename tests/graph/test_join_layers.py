"""Joined layers: the same graph and the same bytes, in fewer and larger parts."""

import pytest

from graph.ir import Kind, Phase
from graph.optimizer import Sgd
from graph.parallel.closed_form import total_nbytes
from graph.parallel.strategies import STRATEGIES
from graph.passes.join_layers import join_layers
from graph.zoo import MODELS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("nbytes", [1, 4096, 1 << 40])
def test_only_layers_change(name, nbytes):
    before = MODELS[name].build(2, **MODELS[name].tiny)
    after = join_layers(before, nbytes)
    assert [(n.name, n.op, n.inputs, n.outputs, n.attrs) for n in after] == [
        (n.name, n.op, n.inputs, n.outputs, n.attrs) for n in before
    ]
    assert (after.inputs, after.outputs, after.updates) == (before.inputs, before.outputs, before.updates)
    layers = after.layers(Phase.FORWARD)
    assert set(layers) <= set(before.layers(Phase.FORWARD))
    assert len(layers) == 1 if nbytes == 1 << 40 else len(layers) <= len(before.layers(Phase.FORWARD))
    sizes = {v.name: v.type.nbytes for v in after.of_kind(Kind.PARAMETER)}
    held = [sum(sizes[v] for v in {v for n in after if n.layer == layer for v in n.inputs if v in sizes}) for layer in layers]
    assert sum(held) == sum(sizes.values())
    assert all(h >= nbytes for h in held[:-1])


@pytest.mark.parametrize("strategy", ["data_parallel", "parameter_server"])
def test_plans_send_the_same_bytes(strategy):
    model = MODELS["resnet50"].build(2, **MODELS["resnet50"].tiny)
    plans = [
        STRATEGIES[strategy].build(m, Sgd(learning_rate=0.1), ranks=2, steps=1, bucket_bytes=1024)
        for m in (model, join_layers(model, 1024))
    ]
    assert total_nbytes(plans[0]) == pytest.approx(total_nbytes(plans[1]), rel=0.01)  # parts are padded to be equal
    assert len(plans[1].roles[0].segments) < len(plans[0].roles[0].segments)
