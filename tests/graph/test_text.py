"""The text form: what is printed parses back to an equal graph, and mistakes are named with their line."""

from typing import cast

import pytest

from graph import MODELS, Builder, Graph, GraphError, Kind, Sgd, f32, from_text, inference_graph, run, to_text, training_graph
from graph.op import OPS, Attr
from graph.testing import sample_feeds
from graph.zoo.model import Model


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_round_trip_of_models(model: Model, dropout: float) -> None:
    net = model.build(3, **model.tiny, dropout=dropout)
    trained = [training_graph(net, Sgd(learning_rate=1e-3, momentum=0.9))] if model.trains else []
    for g in (net, *trained, inference_graph(net)):
        back = from_text(to_text(g))
        assert back == g
        assert to_text(back) == to_text(g)


def test_a_parsed_graph_runs_to_the_same_bits() -> None:
    g = training_graph(MODELS["mlp"].build(3, image=(4,), classes=3), Sgd(learning_rate=0.1))
    feeds = sample_feeds(g)
    a, b = run(g, feeds), run(from_text(to_text(g)), feeds)
    assert list(a) == list(b)
    assert all(a[k].tobytes() == b[k].tobytes() for k in a)


def test_attributes_of_every_kind_come_back() -> None:
    b = Builder("kinds")
    b.apply("fill", (), shape=(2, 3), value=1e-30, dtype="f64")
    b.apply("fill", (), shape=(), value=-1, dtype="f32")
    b.apply("fill", (), shape=(5,), value=0.1, dtype="f32")
    g = b.graph()
    back = from_text(to_text(g))
    assert back == g
    for x, y in zip(back.nodes, g.nodes, strict=True):
        assert [type(v) for v in x.attrs.values()] == [type(v) for v in y.attrs.values()]


TEXT = """\
# a perceptron
graph small

input x: f32[2,4] data
input fc1.weight: f32[4,3] parameter
node fc1/matmul = matmul(x, fc1.weight; ta=False, tb=False) -> fc1/matmul: f32[2,3] @ forward fc1
node fc1/relu = relu(fc1/matmul) -> fc1/relu: f32[2,3] @ forward fc1
output logits = fc1/relu
update fc1.weight = fc1.weight
"""


def test_reading() -> None:
    g = from_text(TEXT)
    assert g.name == "small"
    assert g.node["fc1/matmul"].op is OPS["matmul"]
    assert g.node["fc1/relu"].layer == "fc1"
    assert g.outputs == {"logits": "fc1/relu"}
    assert g.updates == {"fc1.weight": "fc1.weight"}
    assert to_text(g) == "".join(line for line in TEXT.splitlines(keepends=True) if line.strip() and line[0] != "#")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("graph small", "graph", "line 2: cannot read ''; write graph NAME"),
        (
            "input x: f32[2,4] data",
            "input x f32[2,4] data",
            "line 4: cannot read 'x f32[2,4]'; write NAME: TYPE, e.g. x: f32[64,8,8,1]",
        ),
        ("f32[2,4] data", "f99[2,4] data", "line 4: not a tensor type: 'f99[2,4]'; write e.g. f32[64,8,8,1]"),
        ("f32[2,4] data", "f32[2,4] date", "line 4: unknown kind of input 'date'; known: data, parameter, state, counter"),
        ("input fc1.weight", "input x", "line 5: 'x' is defined a second time"),
        ("matmul(x,", "matmull(x,", "line 6: unknown operator 'matmull'; did you mean 'matmul'?"),
        ("matmul(x,", "matmul(y,", "line 6: 'y' is not defined before this line"),
        ("ta=False", "td=False", "line 6: matmul has no attribute 'td'; known: ta, tb"),
        ("ta=False", "ta=f(1)", "line 6: cannot read the attributes 'ta=f(1), tb=False'; write NAME=LITERAL, ..."),
        ("ta=False", "ta=True", "line 6: matmul(f32[2,4], f32[4,3]): inner extents 2 and 4 differ with ta=True, tb=False"),
        ("f32[2,3] @ forward fc1\nnode", "f32[3,3] @ forward fc1\nnode", "line 6: matmul makes f32[2,3] here, not f32[3,3]"),
        ("relu(fc1/matmul) ->", "relu(fc1/matmul)", "line 7: cannot read"),
        (
            "f32[2,3] @ forward fc1\noutput",
            "f32[2,3] @ foreward fc1\noutput",
            "line 7: unknown phase 'foreward'; known: forward,",
        ),
        ("output logits", "outputs logits", "line 8: a line begins with graph, input, node, output, update, not 'outputs'"),
        ("logits = fc1/relu", "logits = fc1/tanh", "line 8: 'fc1/tanh' is not defined before this line"),
        (
            "update fc1.weight =",
            "update fc1.weight <-",
            "line 9: cannot read 'fc1.weight <- fc1.weight'; write update INPUT = VALUE",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(GraphError) as e:
        from_text(TEXT.replace(old, new, 1))
    assert str(e.value).startswith(message)


def test_a_text_without_a_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="line 1: the text must begin with 'graph NAME'"):
        from_text("input x: f32[2] data\n")


def test_names_that_would_not_parse_back_are_refused() -> None:
    b = Builder("odd")
    b.input("two words", f32(2), Kind.DATA)
    with pytest.raises(GraphError, match="the name 'two words' has no text form"):
        to_text(b.graph())


def test_every_operator_has_a_text_form() -> None:
    for op in OPS.values():
        sample = next(iter(op.sizes()))
        b = Builder("one")
        values = [b.input(f"v{k}", t, Kind.DATA) for k, t in enumerate(sample.types)]
        attrs = cast(dict[str, Attr], dict(sample.attrs))
        b.apply(op.name, values, **attrs)
        g: Graph = b.graph()
        assert from_text(to_text(g)) == g
