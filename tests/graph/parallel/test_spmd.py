"""Every strategy with numbers: in float64 each trains as one worker does, in any order of events; and what the player refuses."""

from dataclasses import replace

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.init import init_parameters
from graph.ir import Kind, Phase
from graph.optimizer import Sgd
from graph.parallel import spmd
from graph.parallel.algorithm import COLLECTIVES, Algorithm
from graph.parallel.plan import Plan, Shard
from graph.parallel.strategies import STRATEGIES
from graph.zoo import MODELS, NETS

SGD = Sgd(learning_rate=0.05, momentum=0.9, weight_decay=0.01)
STEPS = 2
SMALL = {
    "mlp": {"image": (8, 8, 1)},
    "lenet": {"image": (8, 8, 1), "width": 2.0},
    **{name: dict(m.tiny) for name, m in MODELS.items() if m.trains and name not in ("mlp", "lenet")},
}


def forward(model: str, batch: int, whole: int, **options):
    return MODELS[model].build(batch, denominator=whole, **{**SMALL[model], **options})


def batches(graph, batch: int):
    """Random samples and labels, a whole batch a step."""
    rng = np.random.Generator(np.random.Philox(5))
    shape, classes = graph.type_of("x").shape[1:], graph.type_of(graph.outputs["logits"]).shape[-1]
    return [{"x": rng.standard_normal((batch, *shape)), "labels": rng.integers(0, classes, batch)} for _ in range(STEPS)]


def evaluate(nodes, values):
    for n in nodes:
        values.update(zip((v.name for v in n.outputs), n.op.reference([values[v] for v in n.inputs], n.attrs), strict=True))
    return values


def one_worker(graph, values, steps):
    """(losses, values after): the training graph of a whole batch, in float64, without a plan."""
    after, losses = {name: a.astype(np.float64) for name, a in values.items()}, []
    for k, data in enumerate(steps):
        found = evaluate(graph.nodes, {**after, **data, "step": np.int64(k), "sample": np.int64(0)})
        losses.append(float(found[graph.outputs["loss"]]))
        after = {name: found[graph.updates.get(name, name)] for name in after}
    return losses, after


def played(model, strategy, batch, seed=0, dtype=np.float64, options=None, **zoo):
    """(run of the plan, losses and values of one worker)"""
    options, strategy = {"steps": STEPS, **(options or {})}, STRATEGIES[strategy]
    part = forward(model, batch // strategy.parts(options), batch, **zoo)
    whole = training_graph(forward(model, batch, batch, **zoo), SGD)
    data, values = batches(part, batch), init_parameters(whole, 3)
    assert strategy.differs(part, options) == ""
    return spmd.run(strategy.build(part, SGD, **options), values, data, seed=seed, dtype=dtype), *one_worker(whole, values, data)


def assert_equal(run, losses, values, tolerance=1e-10):
    assert np.allclose(run.losses, losses, rtol=tolerance, atol=0)
    assert run.values.keys() == values.keys()
    for name, a in values.items():
        assert np.abs(run.values[name] - a).max() <= tolerance * max(np.abs(a).max(), 1e-3), name


DATA = {"bucket_bytes": 2048}
CASES = {
    "ring": ("data_parallel", {**DATA, "ranks": 4}),
    "tree": ("data_parallel", {**DATA, "ranks": 2, "collective": "tree", "micro_batches": 2}),
    "devices": ("parameter_server", {**DATA, "ranks": 4}),
    "hosts": ("parameter_server", {**DATA, "ranks": 4, "servers": "host", "nodes": 2, "levels": 2}),
    "several hosts": ("parameter_server", {**DATA, "ranks": 4, "servers": "host", "nodes": 2, "server_count": 4}),
    "many hosts": ("parameter_server", {**DATA, "ranks": 8, "servers": "host", "nodes": 4, "levels": 2}),
    "whole": ("hybrid", {"ranks": 2}),
    "whole4": ("hybrid", {"ranks": 4, "bucket_bytes": 1}),
    "turns": ("hybrid", {"ranks": 2, "scheme": "turns"}),
    "turns4": ("hybrid", {"ranks": 4, "scheme": "turns", "collective": "tree"}),
    "parts": ("hybrid", {"ranks": 2, "scheme": "parts", "input_slots": 2}),
    "parts4": ("hybrid", {"ranks": 4, "scheme": "parts"}),
    "model": ("model", {"ranks": 4}),
    "model2": ("model", {"ranks": 2, "micro_batches": 2}),
    "layers": ("layers", {"ranks": 3, "micro_batches": 2}),
    "alone": ("hybrid", {"ranks": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_lenet_with_dropout_trains_as_on_one_worker(case):
    strategy, options = CASES[case]
    assert_equal(*played("lenet", strategy, 16, seed=len(case), options=options, dropout=0.4))


NORMED = [n for n in NETS if any(node.op.name == "batch_norm" for node in forward(n, 1, 1))]
PLAIN = [n for n in NETS if n not in (*NORMED, "mlp", "lenet")]


@pytest.mark.parametrize("strategy", ["hybrid", "model", "layers"])
@pytest.mark.parametrize("model", PLAIN)
def test_the_zoo_trains_as_on_one_worker(model, strategy):
    assert_equal(*played(model, strategy, 8, options={"ranks": 2}), tolerance=1e-9)


@pytest.mark.parametrize("strategy", ["model", "layers"])
@pytest.mark.parametrize("model", NORMED)
def test_nets_with_batch_normalization_train_as_on_one_worker(model, strategy):
    """Of a tiny batch it amplifies what rounding leaves."""
    assert_equal(*played(model, strategy, 8, options={"ranks": 2}), tolerance=1e-5)


@pytest.mark.parametrize("model", NORMED)
def test_the_hybrid_normalizes_as_data_parallelism_does(model):
    """By the samples of each rank: so one worker with two micro-batches comes to the same parameters."""
    part, data = forward(model, 4, 8), batches(forward(model, 1, 8), 8)
    assert "statistics from one of 2 parts" in STRATEGIES["hybrid"].differs(part, {"ranks": 2})
    values = init_parameters(training_graph(part, SGD), 3)
    cut, alone = (
        spmd.run(STRATEGIES[name].build(part, SGD, steps=STEPS, **options), values, data, dtype=np.float64)
        for name, options in (("hybrid", {"ranks": 2}), ("data_parallel", {**DATA, "ranks": 1, "micro_batches": 2}))
    )
    assert np.allclose(cut.losses, alone.losses, rtol=1e-6)
    for p in part.of_kind(Kind.PARAMETER):
        assert np.allclose(cut.values[p.name], alone.values[p.name], rtol=1e-5, atol=1e-7), p.name


@pytest.mark.parametrize("strategy", ["data_parallel", "parameter_server", "model", "layers"])
def test_a_perceptron_trains_as_on_one_worker(strategy):
    options = {"ranks": 2, **(DATA if strategy in ("data_parallel", "parameter_server") else {})}
    assert_equal(*played("mlp", strategy, 8, options=options, dropout=0.3))


@pytest.mark.parametrize("collective", ["ring", "tree", "direct", "doubling"])
def test_two_workers_are_two_micro_batches_bit_for_bit(collective):
    """In float32: two addends have one sum."""
    run, *_ = played("lenet", "data_parallel", 8, dtype=np.float32, options={**DATA, "ranks": 2, "collective": collective})
    alone, *_ = played("lenet", "data_parallel", 8, dtype=np.float32, options={**DATA, "ranks": 1, "micro_batches": 2})
    assert all((run.values[name] == a).all() for name, a in alone.values.items())
    assert run.values["fc1.weight"].dtype == np.float32


def test_layers_on_two_ranks_are_one_worker_bit_for_bit():
    """Nothing is added up otherwise."""
    run, losses, values = played("lenet", "layers", 8, options={"ranks": 2})
    assert run.losses == tuple(losses)
    assert all((run.values[name] == a).all() for name, a in values.items())


def test_the_order_of_events_changes_nothing():
    def run(seed):
        return played("lenet", "hybrid", 8, seed=seed, options={"ranks": 2, "scheme": "turns"})[0]

    first = run(0)
    assert all((run(seed).values[name] == a).all() for seed in (1, 2) for name, a in first.values.items())


def test_replicas_agree_and_parts_are_parts():
    run, _, values = played("lenet", "hybrid", 8, options={"ranks": 4})
    ranks = list(run.ranks.values())
    assert all((r["conv1.weight"] == ranks[0]["conv1.weight"]).all() for r in ranks)
    assert all((r["fc3.weight"] == ranks[0]["fc3.weight"]).all() for r in ranks)  # 10 classes: whole at every rank
    assert [r["fc1.weight"].shape for r in ranks] == [(128, 60)] * 4
    assert (np.concatenate([r["fc1.bias"] for r in ranks]) == run.values["fc1.bias"]).all()
    assert run.values["fc1.weight"].shape == values["fc1.weight"].shape == (128, 240)


@pytest.mark.parametrize("scheme", ["turns", "parts"])
def test_updating_after_each_round(scheme):
    """By hand: fully connected layers step after every round's samples, convolutions once, from gradients of all rounds."""
    ranks, batch = 2, 8
    options = {"steps": STEPS, "ranks": ranks, "scheme": scheme, "fc_update": "round"}
    part = forward("lenet", batch // ranks, batch)
    assert "updated after each round" in STRATEGIES["hybrid"].differs(part, options)
    graph, data = training_graph(part, SGD), batches(part, batch)
    values = init_parameters(graph, 3)
    run = spmd.run(STRATEGIES["hybrid"].build(part, SGD, **options), values, data, dtype=np.float64)
    after = {name: a.astype(np.float64) for name, a in values.items()}
    made = [n for n in graph.nodes if n.phase is not Phase.UPDATE]
    for step in data:
        sums = {f"d.{p.name}": 0.0 for p in graph.of_kind(Kind.PARAMETER)}
        for r in range(ranks):
            rows = slice(r * batch // ranks, (r + 1) * batch // ranks)  # what a round sees, in either scheme
            found = evaluate(made, {**after, **{k: a[rows] for k, a in step.items()}})
            sums = {d: s + found[d] for d, s in sums.items()}
            after.update(_stepped(graph, after, found, "fc"))
        after.update(_stepped(graph, after, sums, "conv"))
    assert all(np.allclose(run.values[name], a, rtol=1e-10, atol=1e-12) for name, a in after.items())


def _stepped(graph, values, gradients, layers):
    nodes = [n for n in graph.nodes if n.phase is Phase.UPDATE and n.layer.startswith(layers)]
    found = evaluate(nodes, {**values, **gradients})
    return {name: found[graph.updates[name]] for name in values if name.startswith(layers)}


# --- what it refuses, and that it can see what is wrong


def hybrid(**options):
    part = forward("lenet", 4, 8)
    plan = STRATEGIES["hybrid"].build(part, SGD, ranks=2, steps=1, **options)
    return plan, init_parameters(training_graph(part, SGD), 3), batches(part, 8)[:1]


def test_a_missing_exchange_shows(monkeypatch):
    plan, values, data = hybrid()
    right = spmd.run(plan, values, data)
    nothing = Algorithm(program=lambda g: iter(()), seconds=lambda n, b, l, w: None, transfers=lambda n: 0)
    monkeypatch.setattr(COLLECTIVES, "_items", {**COLLECTIVES, "reduce_scatter": nothing})
    wrong = spmd.run(plan, values, data)
    assert right.losses == wrong.losses  # the first loss is made before any gradient
    assert not np.allclose(right.values["conv1.weight"], wrong.values["conv1.weight"], rtol=1e-3)


def replaced(plan, **parts):
    (role,) = plan.roles
    return Plan((replace(role, **parts),))


def test_what_it_refuses():
    plan, values, data = hybrid()
    role = plan.role["worker"]
    with pytest.raises(InvalidPlan, match="has no graph, so there is nothing to compute"):
        spmd.run(replaced(plan, graph=None), values, data)
    with pytest.raises(InvalidPlan, match=r"takes f32.4,8,8,1. of 'x', its part of a whole batch of 6 has shape"):
        spmd.run(plan, values, [{name: a[:6] for name, a in data[0].items()}])
    segments = {k: v for k, v in role.segments.items() if k != "forward/fc2"}
    with pytest.raises(InvalidPlan, match=r"'forward/fc2' of worker.0. is neither a segment nor a kernel on buffers"):
        spmd.run(replaced(plan, segments=segments), values, data)
    with pytest.raises(InvalidPlan, match="reads 'fc2/relu', which nobody made"):
        spmd.run(replaced(plan, segments={**segments, "forward/fc2": ()}), values, data)
    work = role.params["work"]
    blind = replace(work, forward=tuple(replace(t, reads=()) for t in work.forward))
    with pytest.raises(InvalidPlan, match="touches 'x', which lies in no buffer that it names"):
        spmd.run(replaced(plan, params={**role.params, "work": blind}), values, data)
    shards = {**role.shards, "fc1.weight": Shard(axis=0, along=("dp",))}
    with pytest.raises(
        InvalidPlan, match=r"worker.0. holds f32.128,120. of 'fc1.weight', its part of the whole has shape .64, 2"
    ):
        spmd.run(replaced(plan, shards=shards), values, data)
