"""The records underneath: types, registries, the graph's own rules, the builder."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from graph import (
    Builder,
    DType,
    Graph,
    GraphError,
    InvalidGraph,
    Kind,
    Phase,
    TensorType,
    TypeMismatch,
    UnknownName,
    f32,
    i64,
    run,
    u8,
)
from graph.errors import nearest
from graph.op import OPS
from graph.ops.common import type_of
from graph.passes.rename import rename
from graph.registry import Registry


def test_tensor_types() -> None:
    t = f32(2, 3)
    assert (t.size, t.nbytes, t.rank, str(t)) == (6, 24, 2, "f32[2,3]")
    assert (i64().size, i64().nbytes, str(i64())) == (1, 8, "i64[]")
    assert u8(0, 4).nbytes == 0
    for text in ("f32[]", "f64[1]", "u8[3,0,2]", "i32[7]"):
        assert str(TensorType.parse(text)) == text
    for text in ("f32", "f32[1,]", "f32[-1]", "float[1]", "f32[1] "):
        with pytest.raises(GraphError, match="not a tensor type"):
            TensorType.parse(text)
    for shape in ((-1,), (1.0,), (True,)):
        with pytest.raises(GraphError, match="whole numbers >= 0"):
            TensorType(shape=shape)  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        t.shape = ()  # type: ignore[misc]


def test_types_of_arrays() -> None:
    for d in DType:
        assert type_of(np.zeros((2,), d.numpy)) == TensorType(shape=(2,), dtype=d)
        assert np.zeros((), d.numpy).itemsize == d.itemsize
    with pytest.raises(TypeMismatch, match="no tensor type for arrays of complex128"):
        type_of(np.zeros(2, complex))


def test_registries() -> None:
    r: Registry[int] = Registry("fruit")
    r.add("apple", 1)
    assert (dict(r), len(r), "apple" in r, "pear" in r) == ({"apple": 1}, 1, True, False)
    with pytest.raises(GraphError, match="fruit 'apple' is registered twice"):
        r.add("apple", 2)
    with pytest.raises(UnknownName, match=r"unknown fruit 'aple'; did you mean 'apple'\?"):
        r["aple"]
    with pytest.raises(UnknownName, match="unknown fruit 'zzz'; known: apple"):
        r["zzz"]
    assert nearest("x", []) == "known: none"


def small() -> Builder:
    b = Builder("small")
    x = b.input("x", f32(2, 4), Kind.DATA)
    w = b.input("fc1.weight", f32(4, 3), Kind.PARAMETER)
    with b.layer("fc1"):
        (y,) = b.apply("matmul", (x, w))
        (y,) = b.apply("relu", (y,))
        (y,) = b.apply("relu", (y,))
    b.output("logits", y)
    return b


def test_the_builder_names_nodes_and_values() -> None:
    g = small().graph()
    assert [n.name for n in g] == ["fc1/matmul", "fc1/relu", "fc1/relu.2"]
    assert list(g.values) == ["x", "fc1.weight", "fc1/matmul", "fc1/relu", "fc1/relu.2"]
    assert g.producer["fc1/relu"].op.name == "relu"
    assert [n.name for n in g.consumers["fc1/matmul"]] == ["fc1/relu"]
    assert g.of_kind(Kind.PARAMETER)[0].name == "fc1.weight"
    assert g.layers(Phase.FORWARD) == ("fc1",)
    assert g.layers(Phase.BACKWARD) == ()
    assert g.work(g.node["fc1/matmul"]).flop == 2 * 2 * 3 * 4
    assert g.nodes[0].attrs == {"ta": False, "tb": False}
    assert g == small().graph()
    assert hash(g) == hash(small().graph())
    assert g != "a graph"


def test_further_results_carry_the_operators_name_for_them() -> None:
    b = Builder("pool")
    with b.layer("p"):
        y, where = b.apply("max_pool", (b.input("x", f32(1, 4, 4, 1), Kind.DATA),), window=2, stride=2)
    assert (y.name, where.name, where.type) == ("p/max_pool", "p/max_pool.where", u8(1, 2, 2, 1))


def test_a_graph_can_be_extended_after_its_values_were_renamed() -> None:
    b = Builder.extend(rename(small().graph(), {"fc1/relu.2": "y"}))
    with b.layer("fc1"):
        (z,) = b.apply("relu", (b.graph().values["y"],))
    assert z.name == "fc1/relu.3"
    assert [n.name for n in b.graph()] == ["fc1/matmul", "fc1/relu", "fc1/relu.2", "fc1/relu.3"]
    assert b.graph().outputs == {"logits": "y"}


def test_the_builder_says_what_is_wrong_and_where() -> None:
    b = small()
    x = b.graph().values["x"]
    with (
        b.layer("fc2"),
        pytest.raises(TypeMismatch, match=r"small, layer 'fc2': matmul\(f32\[2,4\], f32\[2,4\]\): inner extents 4 and 2"),
    ):
        b.apply("matmul", (x, x))
    with pytest.raises(UnknownName, match=r"unknown operator 'mtmul'; did you mean 'matmul'\?"):
        b.apply("mtmul", (x, x))
    with pytest.raises(GraphError, match="relu is given 'X': f32"):
        b.apply("relu", (replace(x, name="X"),))
    with pytest.raises(InvalidGraph, match="the name 'x' is taken"):
        b.input("x", f32(1), Kind.DATA)
    with pytest.raises(InvalidGraph, match="output 'logits' is declared twice"):
        b.output("logits", x)


def remade(g: Graph, **changes: object) -> Graph:
    parts = {"name": g.name, "inputs": g.inputs, "nodes": g.nodes, "outputs": g.outputs, "updates": g.updates}
    return Graph(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: {"inputs": (*g.inputs, g.inputs[0])}, "input 'x' is given twice"),
        (lambda g: {"nodes": (*g.nodes, g.nodes[0])}, "two nodes are named 'fc1/matmul'"),
        (lambda g: {"nodes": g.nodes[1:]}, "node 'fc1/relu' reads 'fc1/matmul' before it exists"),
        (lambda g: {"nodes": (*g.nodes, replace(g.nodes[1], name="again"))}, "node 'again' defines 'fc1/relu' a second time"),
        (
            lambda g: {"nodes": (replace(g.nodes[0], attrs={"ta": False}), *g.nodes[1:])},
            r"attributes \['ta'\], not \['ta', 'tb'\]",
        ),
        (
            lambda g: {"nodes": (replace(g.nodes[0], outputs=(replace(g.nodes[0].outputs[0], type=f32(9)),)), *g.nodes[1:])},
            r"node 'fc1/matmul' declares \['f32\[9\]'\], but matmul makes \['f32\[2,3\]'\]",
        ),
        (
            lambda g: {"outputs": {"logits": "fc1/rel"}},
            "output 'logits' is 'fc1/rel', which nothing defines; did you mean 'fc1/relu",
        ),
        (lambda g: {"updates": {"x": "fc1/relu"}}, "update 'x' <- 'fc1/relu' needs an input and a value of its type"),
        (lambda g: {"updates": {"fc1/relu": "fc1/relu"}}, "update 'fc1/relu' <- 'fc1/relu' needs an input"),
    ],
)
def test_a_graph_refuses_what_breaks_its_rules(change: Callable[[Graph], dict[str, object]], message: str) -> None:
    g = small().graph()
    with pytest.raises(InvalidGraph, match=message):
        remade(g, **change(g))


def test_the_interpreter_checks_its_feeds() -> None:
    g = small().graph()
    feeds = {"x": np.ones((2, 4), np.float32), "fc1.weight": np.ones((4, 3), np.float32)}
    assert run(g, feeds)["fc1/relu.2"].tolist() == [[4.0] * 3] * 2
    with pytest.raises(GraphError, match=r"small needs its input 'x': f32\[2,4\]"):
        run(g, {"fc1.weight": feeds["fc1.weight"]})
    with pytest.raises(GraphError, match=r"small has no input 'fc1\.wait'; did you mean 'fc1\.weight'"):
        run(g, {**feeds, "fc1.wait": feeds["x"]})
    with pytest.raises(GraphError, match=r"input 'x' must be f32\[2,4\], got f64\[2,4\]"):
        run(g, {**feeds, "x": np.ones((2, 4))})


def test_an_operator_answers_like_questions_with_the_same_answer():
    """It is asked once; and what only looks like the same question is another one."""
    conv = OPS["conv2d"]
    types, attrs = (f32(2, 8, 8, 3), f32(3, 3, 3, 4)), conv.complete({"stride": 1, "pad": 1})
    assert conv.infer(types, attrs) is conv.infer(list(types), dict(attrs))
    assert conv.work(types, attrs) is conv.work(list(types), dict(attrs))
    with pytest.raises(TypeMismatch, match="stride"):
        conv.infer(types, {**attrs, "stride": True})
    with pytest.raises(TypeMismatch, match="pad"):
        conv.infer(types, {**attrs, "pad": [1, 1]})
