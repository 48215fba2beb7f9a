"""The strategy `features`: the evaluation graph on two roles, which work at once and make the logits of one worker."""

import numpy as np
import pytest

from graph.errors import GraphError, InvalidPlan
from graph.fixed_point import Fixed, Rounding
from graph.init import init_parameters
from graph.ir import Kind
from graph.optimizer import Sgd
from graph.parallel import spmd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes, traffic
from graph.parallel.plan import Do, Rank
from graph.parallel.strategies import STRATEGIES
from graph.passes.fixed_point import fixed_point, fixed_values
from graph.passes.inference import inference_graph
from graph.tensor_type import DType
from graph.zoo import MODELS

SGD = Sgd(learning_rate=0.1)
FIXED = {"word": 16, "fraction": 10, "rounding": "nearest"}


def forward(name, batch):
    return MODELS[name].build(batch, **MODELS[name].tiny)


NETS = [n for n in MODELS if n != "mlp" and not n.startswith("diannao-")]  # those are single layers


def built(name, batch=2, *, strategy="features", **options):
    return STRATEGIES[strategy].build(forward(name, batch), SGD, **{"ranks": 2, "steps": 3, **options})


def batches(model, batch, steps):
    rng = np.random.Generator(np.random.Philox(5))
    shape = model.type_of("x").shape[1:]
    return [{"x": rng.standard_normal((batch, *shape)).astype(np.float32)} for _ in range(steps)]


def started(graph):
    """Values to begin with: states that are no zeros, since running variances are not."""
    values = init_parameters(graph, 3)
    return {**values, **{v.name: np.abs(values[v.name]) + 0.5 for v in graph.of_kind(Kind.STATE)}}


def one_worker(graph, values, data):
    """Logits of a whole batch, operator by operator."""
    found = {**values, **data}
    for n in graph:
        found.update(zip((v.name for v in n.outputs), n.op.reference([found[v] for v in n.inputs], n.attrs), strict=True))
    return found[graph.outputs["logits"]]


@pytest.mark.parametrize("name", NETS)
def test_both_halves_are_the_evaluation_graph(name):
    """Each node once; what crosses is all that the classifier is given, and the last thing that the features make."""
    plan, whole = built(name), inference_graph(forward(name, 2))
    first, second = (r.graph for r in plan.roles)
    assert [n.name for n in (*first, *second)] == [n.name for n in whole]
    assert not any(n.op.name == "conv2d" for n in second)
    assert "matmul" in {n.op.name for n in second} and "matmul" not in {n.op.name for n in first}
    (given,) = second.of_kind(Kind.DATA)
    assert given.name == first.nodes[-1].outputs[0].name
    assert plan.role["features"].loss == plan.role["classifier"].loss == "none"


@pytest.mark.parametrize(
    ("name", "ranks", "classifiers"), [("lenet", 4, 2), ("lenet", 3, 1), ("resnet50", 2, 1), ("alexnet", 2, 2)]
)
def test_logits_are_those_of_one_worker(name, ranks, classifiers):
    """In float64, in several orders of events; a classifier's logits come in the order of the ranks that feed it."""
    plan, steps = built(name, ranks=ranks, classifiers=classifiers), 3
    model = forward(name, 2 * ranks)
    whole = inference_graph(model)
    values, data = started(whole), batches(model, 2 * ranks, steps)
    expected = [one_worker(whole, *({k: a.astype(np.float64) for k, a in d.items()} for d in (values, step))) for step in data]
    for seed in range(3):
        run = spmd.run(plan, values, data, seed=seed, dtype=np.float64)
        of = [run.logits[Rank("classifier", (c,))] for c in range(classifiers)]
        each = ranks // classifiers
        for step in range(steps):
            found = np.concatenate([x for logits in of for x in logits[step * each : (step + 1) * each]])
            assert np.abs(found - expected[step]).max() <= 1e-9 * np.abs(expected[step]).max()
        assert not any(run.logits[Rank("features", (r,))] for r in range(ranks))


def test_words_cross_in_fixed_point_and_mean_what_one_worker_computes():
    """The same words, bit for bit, and half the bytes."""
    ranks, steps = 2, 2
    plan = built("lenet", ranks=ranks, steps=steps, **FIXED)
    model = forward("lenet", 2 * ranks)
    whole = fixed_point(inference_graph(model), neuron=Fixed(), synapse=Fixed(), rounding=Rounding.NEAREST)
    values = fixed_values(whole, started(inference_graph(model)))
    data = batches(model, 2 * ranks, steps)
    run = spmd.run(plan, values, data)
    for step in range(steps):
        found = np.concatenate(run.logits[Rank("classifier", (0,))][step * ranks : (step + 1) * ranks])
        assert (found == one_worker(whole, values, data[step])).all()
    (crossing,) = plan.role["classifier"].graph.of_kind(Kind.DATA)
    assert crossing.type.dtype is DType.I16
    assert 2 * total_nbytes(plan) == total_nbytes(built("lenet", ranks=ranks))


@pytest.mark.parametrize("options", [{}, FIXED])
def test_bytes_by_hand(options):
    """Two poolings leave a tiny LeNet of 8x8 images 2x2 maps; of each sample all of them are sent, and nothing else."""
    plan = built("lenet", ranks=4, classifiers=2, **options)
    maps = plan.role["features"].graph.nodes[-1].outputs[0].type.shape[-1]
    size = 2 * 2 * maps * (2 if options else 4)
    assert total_nbytes(plan, 3) == traffic(plan, 3).total == sum(check(plan).nbytes.values()) == 3 * 4 * 2 * size


def test_inference_in_fixed_point():
    """The same graph as of the pass; without the options the graph in floats, and the plan as ever."""
    plan = built("alexnet", strategy="inference", **FIXED)
    (role,) = plan.roles
    assert role.graph == fixed_point(inference_graph(forward("alexnet", 2)), neuron=Fixed(), synapse=Fixed())
    assert role.buffers["w.i16"].itemsize == 2 and "w" not in role.buffers
    assert set(role.buffers["w.i16"].values) == {v.name for v in role.graph.of_kind(Kind.PARAMETER)}
    plain = built("alexnet", strategy="inference").roles[0]
    assert plain.graph == inference_graph(forward("alexnet", 2)) and set(plain.buffers) == {"data", "w"}
    eighth = built("alexnet", strategy="inference", word=8, fraction=3).roles[0].graph
    assert {n.attrs["bits"] for n in eighth if n.op.name in ("quantize", "dequantize")} == {8}


class TestPipe:
    """Features take 3 s, the classifier 2 s for what one rank sent; messages take no time."""

    @staticmethod
    def ends(plan, clock, features, classifier, steps):
        """Step -> when it ends, by the role."""
        layers = {r.name: sum(s.startswith("forward/") for s in r.segments) for r in plan.roles}

        def seconds(rank: Rank, do: Do) -> float:
            whole = features if rank.role == "features" else classifier
            return 0.0 if do.kernel == "input" else whole / layers[rank.role]

        spans = clock(plan, seconds)
        found = {}
        for role in ("features", "classifier"):
            mine = [(id[0], span[1]) for (rank, id), span in spans.items() if rank.role == role and id[1] == "forward"]
            found[role] = [max(end for step, end in mine if step == k) for k in range(steps)]
        return found

    def test_both_work_at_once(self, clock):
        """The classifier is done 2 s after each rank; a step every 3 s, not every 5."""
        ends = self.ends(built("lenet", ranks=1, steps=5), clock, 3.0, 2.0, 5)
        assert ends["features"] == pytest.approx([3, 6, 9, 12, 15])
        assert ends["classifier"] == pytest.approx([5, 8, 11, 14, 17])

    def test_a_slow_classifier_sets_the_pace_and_holds_the_others_back(self, clock):
        """What is made and not yet taken up waits in 2 slots here, 2 on the way and 2 there, so nobody is further ahead."""
        steps = 12
        plan = built("lenet", ranks=1, steps=steps)
        ends = self.ends(plan, clock, 1.0, 10.0, steps)
        assert np.diff(ends["classifier"]) == pytest.approx([10.0] * (steps - 1))
        ahead = [sum(f <= c for f in ends["features"]) - k - 1 for k, c in enumerate(ends["classifier"][:4])]
        assert max(ahead) <= 2 + 2 + 2

    def test_several_ranks_feed_one(self, clock):
        """Three ranks of 3 s each and 2 s for each of theirs: 6 s a step."""
        ends = self.ends(built("lenet", ranks=3, steps=4), clock, 3.0, 2.0, 4)
        assert np.diff(ends["classifier"]) == pytest.approx([6.0] * 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {"ranks": 0}, "ranks >= 1"),
        ("lenet", {"classifiers": 0}, "classifiers >= 1"),
        (
            "lenet",
            {"ranks": 4, "classifiers": 3},
            "4 ranks cannot feed 3 classifiers alike; use a number of ranks that 3 divides",
        ),
        ("mlp", {}, "features wants convolutions before the first matrix product, mlp has none; use inference"),
        ("lenet", {"rounding": "up"}, "unknown rounding 'up'"),
        ("lenet", {"rounding": "stochastic"}, "unknown rounding 'stochastic'"),
        ("lenet", {"word": 12, "fraction": 12}, "a word of 12 bits has 0 to 11 fraction bits, got 12"),
    ],
)
def test_refused(name, options, message):
    with pytest.raises(GraphError) as e:
        built(name, **options)
    assert message in str(e.value)


def test_a_net_without_a_classifier_is_refused(monkeypatch):
    from graph.frontend.symbol import Builder
    from graph.tensor_type import f32

    b = Builder("conv-only")
    x = b.input("x", f32(2, 4, 4, 1), Kind.DATA)
    w = b.input("c.weight", f32(3, 3, 1, 2), Kind.PARAMETER)
    with b.layer("c"):
        (y,) = b.apply("conv2d", (x, w), stride=1, pad=1, groups=1)
    b.output("logits", y)
    with pytest.raises(InvalidPlan, match="conv-only has no matrix product"):
        STRATEGIES["features"].build(b.graph(), SGD, ranks=1, steps=1)
