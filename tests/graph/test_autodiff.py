"""Autodiff on the graph: right numbers, lean graphs, conventions of names, layers and phases."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from graph import MODELS, Builder, Graph, GraphError, Kind, Phase, Sgd, differentiate, f32, run, training_graph
from graph.autodiff import layer_of
from graph.ir import Input, Node, Value
from graph.tensor_type import DType, TensorType
from graph.testing import sample_feeds
from graph.zoo import NETS

SGD = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def in_float64(g: Graph) -> Graph:
    """The same graph on float64."""

    def wide(v: Value) -> Value:
        t = v.type
        return Value(name=v.name, type=TensorType(shape=t.shape, dtype=DType.F64) if t.dtype is DType.F32 else t)

    nodes = tuple(
        Node(
            name=n.name,
            op=n.op,
            inputs=n.inputs,
            outputs=tuple(map(wide, n.outputs)),
            attrs=n.attrs,
            layer=n.layer,
            phase=n.phase,
        )
        for n in g.nodes
    )
    inputs = tuple(Input(value=wide(i.value), kind=i.kind) for i in g.inputs)
    return Graph(name=g.name, inputs=inputs, nodes=nodes, outputs=g.outputs)


SMALL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mlp", {"image": (5, 4, 1), "width": 0.2}),
    ("mlp", {"image": (5, 4, 1), "width": 0.2, "dropout": 0.3}),
    ("lenet", {"image": (8, 8, 2), "width": 0.2}),
    ("lenet", {"image": (8, 8, 2), "width": 0.2, "dropout": 0.3}),
    ("lenet", {"image": (20, 20, 1), "width": 0.2}),
    ("alexnet", {"image": (4, 4, 2), "width": 0.01, "dropout": 0.3}),
    ("alexnet", {"image": (65, 67, 1), "width": 0.01}),
    ("vgg16", {"image": (3, 3, 1), "width": 0.01, "depth": 2}),
    ("resnet50", {"image": (5, 5, 1), "width": 0.02, "depth": 1}),
    ("inception-v3", {"image": (3, 3, 1), "width": 0.01, "depth": 1, "dropout": 0.3}),
)


@pytest.mark.parametrize(("model", "options"), SMALL)
def test_gradients_of_a_model_equal_finite_differences(model: str, options: dict[str, Any]) -> None:
    net = MODELS[model].build(2, classes=3, activation="tanh", **options)
    g = differentiate(in_float64(net))
    feeds = sample_feeds(g)
    values = run(g, feeds)
    step, rng = 1e-6, np.random.default_rng(0)
    for p in net.of_kind(Kind.PARAMETER):
        direction = rng.standard_normal(p.type.shape)
        sides = [run(g, {**feeds, p.name: feeds[p.name] + s * direction})[g.outputs["loss"]] for s in (step, -step)]
        slope = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose((values[f"d.{p.name}"] * direction).sum(), slope, rtol=1e-6, atol=1e-8, err_msg=p.name)


@pytest.mark.parametrize("model", NETS)
def test_the_training_graph_is_lean(model: str) -> None:
    net = MODELS[model].build(4, **MODELS[model].tiny)
    g = training_graph(net, SGD)
    ops, own = [n.op.name for n in g.nodes], [n.op.name for n in net.nodes]
    assert not {"fill", "scale", "scale_by"} & (set(ops) - set(own))
    branches = sum(len(net.consumers[v.name]) - 1 for n in net for v in n.outputs if len(net.consumers[v.name]) > 1)
    assert ops.count("add") == own.count("add") + branches  # a value that several read gets the sum of their gradients
    assert ops.count("matmul") == 3 * own.count("matmul") - (model == "mlp")  # nobody wants the gradient of the data
    assert ops.count("conv2d_grad_input") == max(own.count("conv2d") - 1, 0)
    assert ops.count("conv2d_grad_weight") == ops.count("conv2d")
    shown = {*g.outputs.values(), *g.updates.values()}
    for n in g.nodes:
        assert any(v.name in shown or g.consumers[v.name] for v in n.outputs), f"{n.name} is computed for nobody"


def test_the_story_of_a_small_training_graph() -> None:
    g = training_graph(MODELS["mlp"].build(4, image=(6,), classes=3, width=0.05, depth=1), SGD)
    assert [(n.phase.value, n.layer, n.op.name, n.inputs, n.outputs[0].name) for n in g.nodes] == [
        ("forward", "fc1", "matmul", ("x", "fc1.weight"), "fc1/matmul"),
        ("forward", "fc1", "add_bias", ("fc1/matmul", "fc1.bias"), "fc1/add_bias"),
        ("forward", "fc1", "relu", ("fc1/add_bias",), "fc1/relu"),
        ("forward", "fc2", "matmul", ("fc1/relu", "fc2.weight"), "fc2/matmul"),
        ("forward", "fc2", "add_bias", ("fc2/matmul", "fc2.bias"), "fc2/add_bias"),
        ("forward", "loss", "softmax_cross_entropy", ("fc2/add_bias", "labels"), "loss/softmax_cross_entropy"),
        (
            "backward",
            "loss",
            "softmax_cross_entropy_grad",
            ("loss/softmax_cross_entropy.probs", "labels"),
            "loss/backward/softmax_cross_entropy_grad",
        ),
        ("backward", "fc2", "bias_grad", ("loss/backward/softmax_cross_entropy_grad",), "d.fc2.bias"),
        ("backward", "fc2", "matmul", ("fc1/relu", "loss/backward/softmax_cross_entropy_grad"), "d.fc2.weight"),
        ("backward", "fc2", "matmul", ("loss/backward/softmax_cross_entropy_grad", "fc2.weight"), "fc2/backward/matmul.2"),
        ("backward", "fc1", "relu_grad", ("fc1/relu", "fc2/backward/matmul.2"), "fc1/backward/relu_grad"),
        ("backward", "fc1", "bias_grad", ("fc1/backward/relu_grad",), "d.fc1.bias"),
        ("backward", "fc1", "matmul", ("x", "fc1/backward/relu_grad"), "d.fc1.weight"),
        ("update", "fc2", "sgd", ("fc2.bias", "d.fc2.bias", "fc2.bias.momentum"), "fc2.bias.new"),
        ("update", "fc2", "sgd", ("fc2.weight", "d.fc2.weight", "fc2.weight.momentum"), "fc2.weight.new"),
        ("update", "fc1", "sgd", ("fc1.bias", "d.fc1.bias", "fc1.bias.momentum"), "fc1.bias.new"),
        ("update", "fc1", "sgd", ("fc1.weight", "d.fc1.weight", "fc1.weight.momentum"), "fc1.weight.new"),
    ]


@pytest.mark.parametrize("model", NETS)
def test_conventions_of_a_training_graph(model: str) -> None:
    net = MODELS[model].build(4, **MODELS[model].tiny, dropout=0.1)
    g = training_graph(net, SGD)
    parameters, kept = [p.name for p in g.of_kind(Kind.PARAMETER)], [s.name for s in net.of_kind(Kind.STATE)]
    assert [s.name for s in g.of_kind(Kind.STATE)] == kept + [f"{p}.momentum" for p in parameters]
    assert [c.name for c in g.of_kind(Kind.COUNTER)] == ["step", "sample"]
    assert g.updates == {k: f"{k}.new" for k in (*kept, *(k for p in parameters for k in (p, f"{p}.momentum")))}
    for s in kept:
        new = g.producer[f"{s}.new"]
        assert (new.op.name, new.phase, new.layer, new.inputs[0]) == ("blend", Phase.UPDATE, layer_of(s), s)
    for p in parameters:
        assert g.outputs[f"grad:{p}"] == f"d.{p}"
        made = g.producer[f"d.{p}"]
        assert (made.phase, made.layer) == (Phase.BACKWARD, layer_of(p))
        new = g.producer[f"{p}.new"]
        assert (new.phase, new.layer, new.inputs) == (Phase.UPDATE, layer_of(p), (p, f"d.{p}", f"{p}.momentum"))
    assert g.layers(Phase.BACKWARD) == net.layers(Phase.FORWARD)[::-1]
    phases = [n.phase for n in g.nodes]
    assert phases == sorted(phases, key=list(Phase).index)
    for phase in Phase:  # a layer's nodes stand together, so a segment is a run of nodes
        runs = [n.layer for n in g.nodes if n.phase is phase]
        assert len(g.layers(phase)) == 1 + sum(a != b for a, b in pairwise(runs))


def test_gradients_of_micro_batches_add_up_to_that_of_the_batch() -> None:
    def gradients(feeds, batch: int) -> dict[str, np.ndarray]:
        g = in_float64(MODELS["lenet"].build(batch, image=(8, 8, 1), denominator=6, width=0.5))
        values = run(differentiate(g), feeds)
        return {p.name: values[f"d.{p.name}"] for p in g.of_kind(Kind.PARAMETER)}

    feeds = sample_feeds(in_float64(MODELS["lenet"].build(6, image=(8, 8, 1), width=0.5)))
    whole = gradients(feeds, 6)
    parts = [gradients({**feeds, **{k: feeds[k][i : i + 2] for k in ("x", "labels")}}, 2) for i in (0, 2, 4)]
    for name, g in whole.items():
        np.testing.assert_allclose(sum(p[name] for p in parts), g, rtol=1e-12, atol=1e-14)


def one_layer(*, twice: bool = False, unused: bool = False) -> Graph:
    b = Builder("small")
    x = b.input("x", f32(3), Kind.DATA)
    p = b.input("a.weight", f32(3), Kind.PARAMETER)
    q = b.input("b.weight", f32(3), Kind.PARAMETER) if twice or unused else p
    with b.layer("a"):
        (y,) = b.apply("add", (p, q if twice else x))
        (loss,) = b.apply("dot", (y, x))
    b.output("loss", loss)
    return b.graph()


def test_parameters_that_share_a_gradient_get_a_copy_each() -> None:
    g = differentiate(one_layer(twice=True))
    assert (g.outputs["grad:a.weight"], g.outputs["grad:b.weight"]) == ("d.a.weight", "d.b.weight")
    feeds = sample_feeds(g)
    values = run(g, feeds)
    assert np.array_equal(values["d.a.weight"], feeds["x"])
    assert np.array_equal(values["d.b.weight"], feeds["x"])


def test_differentiate_says_what_is_wrong() -> None:
    with pytest.raises(GraphError, match=r"parameter 'b\.weight' does not influence 'loss'"):
        differentiate(one_layer(unused=True))
    with pytest.raises(GraphError, match="no output 'los' to differentiate; did you mean 'loss'"):
        differentiate(one_layer(), "los")
    with pytest.raises(GraphError, match=r"a loss is a floating scalar, got f32\[4,10\]"):
        differentiate(MODELS["mlp"].build(4), "logits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be > 0, got nan"),
        ({"learning_rate": 0.1, "momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.1, "weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
    ],
)
def test_sgd_checks_its_numbers(options: dict[str, float], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Sgd(**options)


def test_sgd_with_momentum_against_its_formula() -> None:
    g = training_graph(one_layer(), SGD)
    feeds = sample_feeds(g)
    values = run(g, feeds)
    p, m = feeds["a.weight"].astype("f8"), feeds["a.weight.momentum"].astype("f8")
    m = 0.9 * m + (values["d.a.weight"] + 0.01 * p)
    np.testing.assert_allclose(values["a.weight.momentum.new"], m, rtol=1e-6)
    np.testing.assert_allclose(values["a.weight.new"], p - 0.1 * m, rtol=1e-6)
