"""Model parallelism, by channels and by layers: their bytes by hand, how layers are spread, and what they refuse."""

from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Phase
from graph.op import Work
from graph.optimizer import Sgd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes, traffic
from graph.parallel.plan import Collective, Do, Rank, Recv, Send
from graph.parallel.strategies import STRATEGIES
from graph.parallel.strategies.layers import stages_of
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

SGD = Sgd(learning_rate=0.1, momentum=0.9)


def build(strategy, model, **options):
    return STRATEGIES[strategy].build(model, SGD, **{"ranks": 2, "steps": 1, **options})


def lenet(batch=4, **options):
    return MODELS["lenet"].build(batch, image=(8, 8, 1), **{"width": 2.0, **options})


# --- by channels


def test_bytes_by_hand_alexnet_on_two_ranks():
    """AlexNet of 2012, two towers, 128 samples. A sample's features that are gathered: 55 x 55 x 96 of conv1 for the response
    normalization, and on the way back the gradient of 27 x 27 x 96 that conv2's towers make; 27 x 27 x 256 of conv2, there and
    back (the normalization comes before the pooling); 6 x 6 x 256 of conv5, 4096 of fc6 and fc7, there and back; 1000 logits.
    """
    there = 55 * 55 * 96 + 27 * 27 * 256 + 6 * 6 * 256 + 4096 + 4096 + 1000
    back = 27 * 27 * 96 + 27 * 27 * 256 + 6 * 6 * 256 + 4096 + 4096
    plan = build("model", MODELS["alexnet"].build(128))
    assert total_nbytes(plan) == traffic(plan).total == 128 * 4 * (there + back)


def test_every_rank_has_every_sample_and_the_whole_loss():
    role = build("model", lenet()).role["worker"]
    assert role.sample_axes == () and role.loss == "copy"
    assert role.shards["fc1.weight"].axis == role.shards["fc1.weight.momentum"].axis == 1
    assert role.buffers["g.f0"].sharded == ("mp",)
    assert not any(
        isinstance(a.ins, Collective) and "allreduce" in a.id for a in unroll(build("model", lenet()), Rank("worker", (0,)))
    )


def test_micro_batches_add_up():
    plan = build("model", lenet(), micro_batches=3)
    proof = check(plan, 2)
    (taken,) = {len(t) for t in proof.taken.values()}
    assert taken == 3 * 5 * 2  # micro-batches, layers, ranks: each of its own columns
    assert total_nbytes(plan) == 3 * total_nbytes(build("model", lenet()))


# --- by layers


@pytest.mark.parametrize(("model", "stages"), [("lenet", 2), ("lenet", 5), ("alexnet", 3), ("vgg16", 4), ("resnet50", 2)])
def test_the_heaviest_stage_is_as_light_as_can_be(model, stages):
    """Against all ways to put borders before layers with parameters."""
    graph = training_graph(MODELS[model].build(2, **({"image": (8, 8, 1)} if model == "lenet" else {})), SGD)
    stage, trained = stages_of(graph, stages), {p.name.split(".")[0] for p in graph.of_kind(Kind.PARAMETER)}
    flop = dict.fromkeys(stage, 0)
    for n in graph:
        flop[n.layer] += graph.work(n).flop
    order = list(graph.layers(Phase.FORWARD))
    borders = [k for k, layer in enumerate(order) if layer in trained][1:]

    def heaviest(cuts):
        return max(sum(flop[layer] for layer in order[a:b]) for a, b in pairwise((0, *cuts, len(order))))

    found = [next(k for k, layer in enumerate(order) if stage[layer] == s) for s in range(1, stages)]
    assert [stage[layer] for layer in order] == sorted(stage[layer] for layer in order) and set(found) <= set(borders)
    assert heaviest(found) == min(map(heaviest, combinations(borders, stages - 1)))


def test_activations_go_forward_and_gradients_come_back():
    """LeNet on two ranks, 4 samples: the border is behind conv2; what crosses it comes back as a gradient."""
    plan = build("layers", lenet(), micro_batches=2)
    first, last = plan.role["stage.0"], plan.role["stage.1"]
    assert first.buffers["data"].values == ("x",) and last.buffers["data"].values == ("labels",)
    assert (first.loss, last.loss) == ("none", "share")
    letters = [a.ins for r in plan.ranks for a in unroll(plan, r) if isinstance(a.ins, Send)]
    assert {(s.lane, str(s.tag[2])) for s in letters} == {
        ("activation", "conv2/max_pool"), ("gradient", "fc1/backward/matmul.2"),
    }  # fmt: skip
    assert total_nbytes(plan) == 2 * 2 * 4 * 2 * 2 * 32 * 4  # micro-batches, ways, samples of 2 x 2 x 32 floats
    assert sum(check(plan, 3).nbytes.values()) == total_nbytes(plan)


def test_a_stage_does_one_micro_batch_after_another():
    plan = build("layers", lenet(), micro_batches=2)
    story = ["/".join(map(str, a.id[1:])) for a in unroll(plan, Rank("stage.0"))]
    of = [
        "input/{m}", "forward/conv1/{m}", "forward/conv2/{m}", "activation/conv2/max_pool/{m}/stage.1/send",
        "gradient/fc1/backward/matmul.2/{m}/recv", "backward/conv2/{m}", "backward/conv1/{m}",
    ]  # fmt: skip
    assert story == [s.format(m=0) for s in of] + [s.format(m=1) for s in of] + ["accumulate/b0/1", "update/b0"]


def test_a_value_may_pass_over_a_stage():
    """Residual additions need what an earlier stage has made: it goes straight to whoever reads it."""
    model = MODELS["resnet50"].build(2, **MODELS["resnet50"].tiny)
    layers = len({p.name.split(".")[0] for p in model.of_kind(Kind.PARAMETER)})
    plan = build("layers", model, ranks=layers)  # one a stage
    check(plan, 1)
    hops = {int(s.to.role.split(".")[1]) - k for k in range(layers) for s in _sends(plan, k) if s.lane == "activation"}
    assert min(hops) == 1 and max(hops) > 1
    for k in range(layers):
        asked = [a.ins for a in unroll(plan, Rank(f"stage.{k}")) if isinstance(a.ins, Recv)]
        assert len({(r.source, r.tag) for r in asked}) == len(asked)


def _sends(plan, stage):
    return [a.ins for a in unroll(plan, Rank(f"stage.{stage}")) if isinstance(a.ins, Send)]


def test_stages_share_out_the_work():
    """Nothing is lost or done twice."""
    model = lenet(dropout=0.5)
    graph, plan = training_graph(model, SGD), build("layers", model, ranks=4)
    loaded = sum(r.buffers["data"].nbytes for r in plan.roles if "data" in r.buffers)
    found = sum((a.ins.work for r in plan.ranks for a in unroll(plan, r) if isinstance(a.ins, Do)), Work())
    assert found == sum(map(graph.work, graph.nodes), Work(bytes_read=loaded, bytes_written=loaded))


@pytest.mark.parametrize(("strategy", "options"), [("hybrid", {}), ("model", {}), ("layers", {})])
def test_joined_layers_send_the_same(strategy, options):
    """A graph whose layers were joined, so that their parameters bear other layers' names."""
    model = MODELS["alexnet-owt"].build(4, **MODELS["alexnet-owt"].tiny)
    joined = Graph(
        name=model.name, inputs=model.inputs, outputs=model.outputs,
        nodes=tuple(replace(n, layer={"conv2": "conv1", "fc7": "fc6"}.get(n.layer, n.layer)) for n in model),
    )  # fmt: skip
    plans = [build(strategy, m, **options) for m in (model, joined)]
    assert not check(plans[1], 1).lost
    if strategy != "layers":
        assert total_nbytes(plans[0]) == total_nbytes(plans[1])
        held = [sorted(v for b in p.role["worker"].buffers.values() if b.kind == "parameter" for v in b.values) for p in plans]
        assert held[0] == held[1]


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        (
            "layers",
            {"ranks": 6},
            "layers: lenet has 5 layers with parameters, which cannot be put on 6 ranks; use at most 5 ranks",
        ),
        ("layers", {"micro_batches": 0}, "layers takes a whole number micro_batches >= 1, got 0"),
        (
            "model",
            {"ranks": 3},
            r"3 ranks cannot share layer 'conv2' of lenet evenly \(32 columns\), but later ones; use 2 ranks",
        ),
        ("model", {"ranks": True}, "model takes a whole number ranks >= 1, got True"),
    ],
)
def test_refusals(strategy, options, message):
    with pytest.raises(InvalidPlan, match=message):
        build(strategy, lenet(), **options)
