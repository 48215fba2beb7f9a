"""Inference graphs in fixed point: where conversions stand, and how far the results are from those in floats."""

from itertools import pairwise

import numpy as np
import pytest

from graph import (
    MODELS,
    OPS,
    Builder,
    DType,
    Graph,
    GraphError,
    Kind,
    TypeMismatch,
    f32,
    from_text,
    inference_graph,
    run,
    to_text,
)
from graph.fixed_point import Fixed, Rounding, real
from graph.init import init_parameters
from graph.op import Array
from graph.ops.common import numbers
from graph.parallel.cut import segments_of
from graph.passes.fixed_point import DEVICE_OPERATORS, fixed_formats, fixed_point, fixed_values
from graph.passes.join_layers import join_layers

NEURON, SYNAPSE = Fixed(bits=16, fraction=10), Fixed(bits=16, fraction=12)


def model(name: str, **options: object) -> Graph:
    return inference_graph(MODELS[name].build(2, **{**MODELS[name].tiny, **options}))


def fixed(graph: Graph, **options: object) -> Graph:
    return fixed_point(graph, **{"neuron": NEURON, "synapse": SYNAPSE, **options})


def feeds_of(graph: Graph) -> dict[str, Array]:
    """Also biases and statistics that are not those of the beginning."""
    found = init_parameters(graph, 3)
    for k, (name, a) in enumerate(found.items()):
        found[name] = a + np.float32(0.1) * numbers(*a.shape, seed=k) if a.ndim == 1 else a
    return {**found, **{v.name: numbers(*v.type.shape) for v in graph.of_kind(Kind.DATA)}}


def _small() -> Graph:
    """Something of everything: a run, a pooling, what the device lacks, a view, two readers in two layers."""
    b = Builder("small")
    x = b.input("x", f32(2, 4, 4, 3), Kind.DATA)
    w, c = b.input("a.weight", f32(3, 3, 3, 8), Kind.PARAMETER), b.input("a.bias", f32(8), Kind.PARAMETER)
    v = b.input("b.weight", f32(32, 5), Kind.PARAMETER)
    with b.layer("a"):
        (y,) = b.apply("conv2d", (x, w), stride=1, pad=1)
        (y,) = b.apply("add_bias", (y, c))
        (y,) = b.apply("relu", (y,))
        y, _ = b.apply("lrn", (y,), size=5, alpha=0.1, beta=0.5, k=2.0)
        (y,) = b.apply("avg_pool", (y,), window=2, stride=2)
    with b.layer("b"):
        (z,) = b.apply("flatten", (y,))
        (z,) = b.apply("matmul", (z, v))
    with b.layer("c"):
        (s,) = b.apply("add", (y, y))
        (s,) = b.apply("tanh", (s,))
    b.output("logits", z)
    b.output("s", s)
    return b.graph()


STORY = """\
graph small
input x: f32[2,4,4,3] data
input a.weight: i16[3,3,3,8] parameter
input a.bias: i16[8] parameter
input b.weight: i16[32,5] parameter
node input/quantize = quantize(x; fraction=10, bits=16, rounding='floor') -> input/quantize: i16[2,4,4,3] @ forward input
node a/dequantize = dequantize(input/quantize; fraction=10, bits=16) -> a/dequantize: f32[2,4,4,3] @ forward a
node a/dequantize.2 = dequantize(a.weight; fraction=12, bits=16) -> a/dequantize.2: f32[3,3,3,8] @ forward a
node a/dequantize.3 = dequantize(a.bias; fraction=14, bits=16) -> a/dequantize.3: f32[8] @ forward a
node a/conv2d = conv2d(a/dequantize, a/dequantize.2; stride=1, pad=1, groups=1) -> a/conv2d: f32[2,4,4,8] @ forward a
node a/add_bias = add_bias(a/conv2d, a/dequantize.3) -> a/add_bias: f32[2,4,4,8] @ forward a
node a/relu = relu(a/add_bias) -> a/relu: f32[2,4,4,8] @ forward a
node a/quantize = quantize(a/relu; fraction=10, bits=16, rounding='floor') -> a/quantize: i16[2,4,4,8] @ forward a
node a/dequantize.4 = dequantize(a/quantize; fraction=10, bits=16) -> a/dequantize.4: f32[2,4,4,8] @ forward a
node a/lrn = lrn(a/dequantize.4; size=5, alpha=0.1, beta=0.5, k=2.0) -> a/lrn: f32[2,4,4,8], a/lrn.scale: f32[2,4,4,8] @ forward a
node a/quantize.2 = quantize(a/lrn; fraction=10, bits=16, rounding='floor') -> a/quantize.2: i16[2,4,4,8] @ forward a
node a/dequantize.5 = dequantize(a/quantize.2; fraction=10, bits=16) -> a/dequantize.5: f32[2,4,4,8] @ forward a
node a/avg_pool = avg_pool(a/dequantize.5; window=2, stride=2, pad=0) -> a/avg_pool: f32[2,2,2,8] @ forward a
node a/quantize.3 = quantize(a/avg_pool; fraction=10, bits=16, rounding='floor') -> a/quantize.3: i16[2,2,2,8] @ forward a
node b/flatten = flatten(a/quantize.3) -> b/flatten: i16[2,32] @ forward b
node b/dequantize = dequantize(b/flatten; fraction=10, bits=16) -> b/dequantize: f32[2,32] @ forward b
node b/dequantize.2 = dequantize(b.weight; fraction=12, bits=16) -> b/dequantize.2: f32[32,5] @ forward b
node b/matmul = matmul(b/dequantize, b/dequantize.2; ta=False, tb=False) -> b/matmul: f32[2,5] @ forward b
node b/quantize = quantize(b/matmul; fraction=10, bits=16, rounding='floor') -> b/quantize: i16[2,5] @ forward b
node c/dequantize = dequantize(a/quantize.3; fraction=10, bits=16) -> c/dequantize: f32[2,2,2,8] @ forward c
node c/add = add(c/dequantize, c/dequantize) -> c/add: f32[2,2,2,8] @ forward c
node c/quantize = quantize(c/add; fraction=10, bits=16, rounding='floor') -> c/quantize: i16[2,2,2,8] @ forward c
node c/dequantize.2 = dequantize(c/quantize; fraction=10, bits=16) -> c/dequantize.2: f32[2,2,2,8] @ forward c
node c/tanh = tanh(c/dequantize.2) -> c/tanh: f32[2,2,2,8] @ forward c
node c/quantize.2 = quantize(c/tanh; fraction=10, bits=16, rounding='floor') -> c/quantize.2: i16[2,2,2,8] @ forward c
node b/dequantize.3 = dequantize(b/quantize; fraction=10, bits=16) -> b/dequantize.3: f32[2,5] @ forward b
node c/dequantize.3 = dequantize(c/quantize.2; fraction=10, bits=16) -> c/dequantize.3: f32[2,2,2,8] @ forward c
output logits = b/dequantize.3
output s = c/dequantize.3
"""


def test_the_whole_story() -> None:
    found = fixed(_small(), bias=Fixed(bits=16, fraction=14), rounding=Rounding.FLOOR)
    assert to_text(found) == STORY
    assert from_text(STORY) == found


def test_operators_that_the_device_lacks_stay_floats() -> None:
    only = fixed(_small(), operators={"conv2d", "relu"})
    assert [n.name for n in only if n.op.name == "quantize"] == ["input/quantize", "a/quantize", "a/quantize.2", "a/quantize.3"]
    assert only.node["a/quantize.2"].inputs == ("a/add_bias",)  # made by the host, read by the device
    assert only.type_of("a.bias") == f32(8) and only.type_of("b.weight") == f32(32, 5)
    assert only.outputs == {"logits": "b/matmul", "s": "c/tanh"}
    assert fixed(_small(), operators=()).nodes == _small().nodes


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_every_net_converts(name: str, activation: str) -> None:
    graph = model(name, activation=activation)
    found = fixed(graph)
    assert from_text(to_text(found)) == found
    assert set(segments_of(found)) == {f"forward/{layer}" for layer in ("input", *graph.layers(graph.nodes[0].phase))}
    assert [n.name for n in graph] == [n.name for n in found if n.name in graph.node]
    assert {n.op.name for n in found if n.name not in graph.node} == {"quantize", "dequantize"}
    assert found.type_of("x").dtype is found.type_of(found.outputs["logits"]).dtype is DType.F32
    formats = fixed_formats(found)
    assert formats.keys() == {v.name for v in found.values.values() if v.type.dtype is DType.I16}
    for n in found:
        makers = [found.producer[v].op.name if v in found.producer else "input" for v in n.inputs]
        if n.op.name == "quantize":
            assert makers != ["dequantize"]
        elif n.op.name in ("conv2d", "matmul"):
            assert makers == ["dequantize"] * 2 and found.type_of(found.producer[n.inputs[1]].inputs[0]).dtype is DType.I16
        elif n.op.name in ("max_pool", "avg_pool"):
            assert makers == ["dequantize"]
        elif n.op.name in DEVICE_OPERATORS:
            assert set(makers) <= {"dequantize", "conv2d", "matmul", "add_bias"}
        if n.op.name == "dequantize":
            assert all(reader.layer == n.layer for reader in found.consumers[n.outputs[0].name])
        if n.op.name in DEVICE_OPERATORS:
            assert len(found.consumers[n.outputs[0].name]) == 1, "what a run makes goes into its next node or a quantize"


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "inception-v3"])
def test_numbers_between_runs_lie_on_the_grid(name: str) -> None:
    graph = model(name)
    found, feeds = fixed(graph), feeds_of(graph)
    values = run(found, fixed_values(found, feeds))
    for v, f in fixed_formats(found).items():
        assert values[v].dtype == np.int16
        for reader in (n for n in found.consumers[v] if n.op.name == "dequantize"):
            np.testing.assert_array_equal(values[reader.outputs[0].name], real(values[v], f))
    floats, logits = run(graph, feeds)[graph.outputs["logits"]], values[found.outputs["logits"]]
    assert np.all(logits * 2.0**NEURON.fraction == np.round(logits * 2.0**NEURON.fraction))
    assert 0 < np.abs(logits - floats).max() < 0.5 * np.abs(floats).max()


def bounds(graph: Graph, found: Graph, feeds: dict[str, Array], unit: float) -> tuple[dict[str, Array], dict[str, Array]]:
    """(values in float64, bounds of their errors in fixed point), element by element.

    A product of x with error e and w with error d errs by at most |x| d + e (|w| + d), and its sum of n terms in float32 by n
    units of 2^-24 of the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Activations
    and maxima do not enlarge errors. Data and what a run makes err by `unit` more.
    """
    formats, quantized = fixed_formats(found), {n.inputs[0] for n in found if n.op.name == "quantize"}
    values = {name: a.astype(np.float64) for name, a in feeds.items()}
    errors = {name: np.full(a.shape, formats[name].step / 2 if name in formats else unit) for name, a in values.items()}
    for n in graph:
        args, name, op, attrs = [values[v] for v in n.inputs], n.outputs[0].name, n.op, n.attrs
        e = [errors[v] for v in n.inputs]
        values[name] = op.reference(args, attrs)[0]
        if op.name in ("conv2d", "matmul"):
            (x, w), (dx, dw) = map(np.abs, args), e
            terms = np.prod(w.shape[:-1])
            (a,), (b,), (c,) = (op.reference(p, attrs) for p in ((x, dw), (dx, w + dw), (x + dx, w + dw)))
            errors[name] = a + b + terms * 2.0**-24 * c
        elif op.name == "add_bias":
            errors[name] = e[0] + e[1] + 2.0**-24 * np.abs(values[name])
        elif op.name in ("relu", "tanh"):
            errors[name] = e[0] + 2.0**-22 * (op.name == "tanh")
        else:
            assert op.name in ("max_pool", "flatten")
            errors[name] = op.reference(e, attrs)[0]
        errors[name] = errors[name] + unit * (name in quantized)
    return values, errors


@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.ZERO, Rounding.NEAREST])
@pytest.mark.parametrize(("name", "activation"), [("mlp", "relu"), ("lenet", "relu"), ("lenet", "tanh")])
def test_errors_keep_within_their_bound(name: str, activation: str, rounding: Rounding) -> None:
    graph = model(name, activation=activation, width=0.25)
    feeds, worst = feeds_of(graph), []
    for fraction in (5, 8, 11):
        neuron = Fixed(bits=16, fraction=fraction)
        found = fixed(graph, neuron=neuron, synapse=Fixed(bits=16, fraction=13), rounding=rounding)
        exact, errors = bounds(graph, found, feeds, neuron.step / (2 if rounding is Rounding.NEAREST else 1))
        values = run(found, fixed_values(found, feeds))
        for n in (n for n in found if n.op.name == "quantize"):
            words = values[n.outputs[0].name]
            assert neuron.lowest < words.min() and words.max() < neuron.highest, "nothing saturates"
            assert np.all(np.abs(real(words, neuron) - exact[n.inputs[0]]) <= errors[n.inputs[0]])
        worst.append(float(np.abs(values[found.outputs["logits"]] - exact[graph.outputs["logits"]]).max()))
    assert errors[graph.outputs["logits"]].max() < np.abs(exact[graph.outputs["logits"]]).max(), "the bound says something"
    assert all(coarse > 2 * fine > 0 for coarse, fine in pairwise(worst))  # of 8 that three more bits should bring


def test_values_as_words() -> None:
    graph = model("resnet50")
    found, feeds = fixed(graph), feeds_of(graph)
    given = fixed_values(found, {**feeds, "labels": np.zeros(2, np.int64)})
    assert set(given) == set(feeds)
    statistics = next(v for v in feeds if v.endswith(".mean"))
    assert given[statistics].dtype == np.float32
    weight = next(v for v in feeds if v.endswith(".weight"))
    np.testing.assert_array_equal(given[weight], np.ceil(feeds[weight].astype(float) * 4096 - 0.5))
    floor = fixed_values(found, {weight: feeds[weight]}, rounding=Rounding.FLOOR)
    np.testing.assert_array_equal(floor[weight], np.floor(feeds[weight].astype(float) * 4096))
    assert fixed_values(found, given)[weight] is given[weight]


def test_a_view_of_data_and_of_a_parameter() -> None:
    b = Builder("views")
    x, w = b.input("x", f32(2, 2, 3), Kind.DATA), b.input("w", f32(12), Kind.PARAMETER)
    with b.layer("a"):
        (flat,) = b.apply("flatten", (x,))
        (matrix,) = b.apply("reshape", (w,), shape=(6, 2))
        (y,) = b.apply("matmul", (flat, matrix))
    b.output("y", y)
    found = fixed(b.graph())
    assert found.type_of("a/flatten").dtype is found.type_of("a/reshape").dtype is found.type_of("w").dtype is DType.I16
    assert fixed_formats(found)["w"] == SYNAPSE
    assert sum(n.op.name == "quantize" for n in found) == 2


def test_it_can_be_joined_and_made_again() -> None:
    graph = model("lenet")
    joined = join_layers(graph, 1 << 20)
    assert {n.layer for n in fixed(joined)} == {"input", "conv1"}
    assert inference_graph(fixed(graph)) == fixed(graph)


def test_refused() -> None:
    graph = model("mlp")
    with pytest.raises(GraphError, match="mlp is no inference graph"):
        fixed(from_text(to_text(graph).replace("@ forward fc2", "@ backward fc2")))
    with pytest.raises(GraphError, match="no run in fixed point is made of 'conv2'; did you mean 'conv2d'"):
        fixed(graph, operators=("conv2",))
    with pytest.raises(TypeMismatch, match="not built yet"):
        fixed(graph, rounding=Rounding.STOCHASTIC)
    with pytest.raises(GraphError, match=r"fixed point replaces f32, but 'x' is f64"):
        fixed(from_text(to_text(graph).replace("f32", "f64")))
    alone = from_text("graph g\ninput w: i16[3] parameter\noutput w = w\n")
    with pytest.raises(GraphError, match="nothing says which fixed-point format the words 'w' have"):
        fixed_values(alone, {"w": np.ones(3, np.float32)})
    assert OPS["quantize"].vjp is None
