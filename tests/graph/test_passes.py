"""Passes keep the meaning of graphs."""

import numpy as np
import pytest

from graph import MODELS, Builder, Graph, Kind, Sgd, TypeMismatch, f32, i64, run, training_graph
from graph.passes import PASSES, Pass, dead_code, fold_constants, infer_types
from graph.passes.dead_code import unread_inputs
from graph.passes.rename import rename
from graph.testing import check_pass, sample_feeds
from graph.zoo import NETS


def scaled() -> Graph:
    """A graph with something for every pass: constants of one and of another number, dead nodes, an unread input."""
    b = Builder("scaled")
    x = b.input("x", f32(3, 2), Kind.DATA)
    w = b.input("w", f32(3, 2), Kind.PARAMETER)
    b.input("unread", f32(2), Kind.DATA)
    with b.layer("a"):
        (one,) = b.apply("fill", (), shape=(), value=1.0)
        (half,) = b.apply("fill", (), shape=(), value=0.5)
        (y,) = b.apply("scale_by", (x, one))
        (z,) = b.apply("scale_by", (y, half))
        (y,) = b.apply("add", (y, z))
        b.apply("relu", (y,))
        (new,) = b.apply("scale_by", (w, one))
    b.output("loss", b.apply("dot", (y, w))[0])
    b.output("y", y)
    b.update(w, new)
    return b.graph()


GRAPHS = {
    "scaled": scaled(),
    **{name: training_graph(MODELS[name].build(3, **MODELS[name].tiny, dropout=0.3), Sgd(learning_rate=0.1)) for name in NETS},
    **{name: m.build(3, **m.tiny) for name, m in MODELS.items() if name not in NETS},
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
@pytest.mark.parametrize("change", PASSES.values(), ids=list(PASSES))
def test_a_pass_keeps_the_meaning_and_repeats_to_the_same(change: Pass, graph: Graph) -> None:
    after = check_pass(change, graph)
    assert change(after) == after


def test_check_pass_notices_a_change_of_meaning() -> None:
    def wrong(g: Graph) -> Graph:
        return Graph(name=g.name, inputs=g.inputs, nodes=g.nodes, outputs={**g.outputs, "y": "a/scale_by.2"}, updates=g.updates)

    with pytest.raises(AssertionError, match="scaled: y"):
        check_pass(wrong, scaled())


def test_folding_then_dead_code() -> None:
    g = dead_code(fold_constants(scaled()))
    assert [n.name for n in g] == ["a/fill.2", "a/scale_by.2", "a/add", "dot"]
    assert g.node["a/scale_by.2"].inputs == ("x", "a/fill.2")
    assert g.updates == {"w": "w"}
    assert unread_inputs(g) == {"unread"}


def test_infer_types_carries_another_batch_through() -> None:
    net = MODELS["lenet"].build(4, image=(8, 8, 1), denominator=64)
    wider = infer_types(net, {"x": f32(9, 8, 8, 1), "labels": i64(9)})
    assert wider == MODELS["lenet"].build(9, image=(8, 8, 1), denominator=64)
    with pytest.raises(TypeMismatch, match=r"lenet, node 'loss/softmax_cross_entropy': .* wants one i64 label a sample"):
        infer_types(net, {"x": f32(9, 8, 8, 1)})


def test_rename() -> None:
    g = scaled()
    after = rename(g, {"a/add": "total", "w": "weight"})
    assert after.outputs["y"] == "total"
    assert after.updates == {"weight": g.updates["w"]}
    feeds = sample_feeds(after)
    old = run(g, {{"weight": "w"}.get(k, k): v for k, v in feeds.items()})
    assert np.array_equal(run(after, feeds)["total"], old["a/add"])
