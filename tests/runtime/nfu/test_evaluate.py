"""Whole nets on the NFU: every layer against one that is computed number by number, and exact sums against floats."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph import MODELS, Builder, Graph, GraphError, Kind, f32, inference_graph
from graph.fixed_point import Fixed, Rounding, quantized
from graph.init import init_parameters
from graph.interpret import run
from graph.op import Array
from graph.ops.common import numbers
from graph.passes.fixed_point import fixed_point, fixed_values
from hw.nfu.config import WIDE, Arithmetic, Nfu
from hw.nfu.layer import Function
from runtime.nfu.evaluate import Inference, logits

NARROW = Fixed(bits=16, fraction=10)
COARSE = Fixed(bits=8, fraction=4)


def net_of(name: str, word: Fixed, batch: int = 2, **options: object) -> tuple[Graph, dict[str, Array], Array]:
    """A net in fixed point, its parameters with biases that are not zero, and images."""
    graph = inference_graph(MODELS[name].build(batch, **{**MODELS[name].tiny, **options}))
    values = init_parameters(graph, 5)
    for k, (key, a) in enumerate(values.items()):
        values[key] = a + np.float32(0.1) * numbers(*a.shape, seed=k) if a.ndim == 1 else a
    return fixed_point(graph, neuron=word, synapse=word), values, numbers(*graph.type_of("x").shape)


def test_a_net_number_by_number(naive: Callable[[Nfu], object]) -> None:
    """A convolution with a border, a pooling, fully connected layers; products cut towards zero, sums that wrap around."""
    nfu = Nfu(neuron=NARROW, synapse=NARROW)
    graph, values, images = net_of("lenet", NARROW, image=(4, 4, 2), classes=3, depth=1, width=0.05, activation="tanh")
    unit = naive(nfu)
    words = {k: quantized(a, NARROW).astype(int) for k, a in values.items()}

    def neuron(x: Array, w: Array, bias: int, function: Function) -> int:
        total = unit.bias(bias)
        for a, b in zip(x.ravel().tolist(), w.ravel().tolist(), strict=True):  # wrapping, so the order of additions cannot matter
            total = unit.add(total, unit.cut(a * b, nfu.arithmetic.cut, int))
        return unit.output(total, function, int)

    found = []
    for image in quantized(images, NARROW).astype(int):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        w, b = words["conv1.weight"], words["conv1.bias"]
        maps = np.zeros((4, 4, w.shape[3]), int)
        for y, x, o in np.ndindex(maps.shape):
            maps[y, x, o] = neuron(padded[y : y + 3, x : x + 3], w[..., o], b[o], Function.TANH)
        vector = maps.reshape(2, 2, 2, 2, -1).max(axis=(1, 3)).ravel()
        for layer, function in (("fc1", Function.TANH), ("fc2", Function.TANH), ("fc3", Function.LINEAR)):
            w, b = words[f"{layer}.weight"], words[f"{layer}.bias"]
            vector = np.array([neuron(vector, w[:, o], b[o], function) for o in range(w.shape[1])])
        found.append(vector)
    assert np.array_equal(logits(graph, values, images, nfu), np.array(found) * np.float32(NARROW.step))
    assert len(np.unique(found)) > 3


@pytest.mark.parametrize("name", ["mlp", "lenet", "alexnet", "vgg11", "resnet50"])
def test_exact_sums_are_those_of_floats(name: str) -> None:
    """8-bit words: every sum is exact in f32, so the graph in floats on the same words says what each layer makes, to the bit."""
    graph, values, images = net_of(name, COARSE)
    mine = Inference(graph)
    found = mine.run(values, images, Nfu(neuron=COARSE, synapse=COARSE, arithmetic=WIDE))
    wanted = run(mine.graph, fixed_values(mine.graph, {**values, "x": images}))
    for call in mine.calls.values():
        if not call.kernel.endswith("avg_pool"):  # whose line has a slope that 9 does not divide
            assert np.array_equal(found[call.writes[0]], wanted[call.writes[0]]), call.nodes
    assert len(mine.calls) > 2


def test_layers_of_every_kind() -> None:
    """Private kernels, an average, a function by itself, a transposed matrix: as in floats but for the straight lines of tanh."""
    b = Builder("kinds")
    x = b.input("x", f32(2, 5, 5, 2), Kind.DATA)
    w, v = b.input("a.weight", f32(3, 3, 3, 3, 2, 4), Kind.PARAMETER), b.input("b.weight", f32(3, 4), Kind.PARAMETER)
    with b.layer("a"):
        (y,) = b.apply("local_conv2d", (x, w), stride=2, pad=1)
        (y,) = b.apply("relu", (y,))
        (y,) = b.apply("avg_pool", (y,), window=2, stride=2)
        (y,) = b.apply("tanh", (y,))
    with b.layer("b"):
        (y,) = b.apply("flatten", (y,))
        (y,) = b.apply("matmul", (y, v), tb=True)
    b.output("logits", y)
    graph = fixed_point(b.graph(), neuron=NARROW, synapse=NARROW)
    values = {"a.weight": numbers(3, 3, 3, 3, 2, 4, seed=1), "b.weight": numbers(3, 4, seed=2)}
    images = numbers(2, 5, 5, 2)
    mine = Inference(graph)
    assert {c.kernel for c in mine.calls.values()} == {"nfu.local_conv2d", "nfu.avg_pool", "nfu.tanh", "nfu.matmul"}
    found = mine.logits(values, images, Nfu(arithmetic=WIDE))
    wanted = run(mine.graph, fixed_values(mine.graph, {**values, "x": images}))[mine.graph.outputs["logits"]]
    assert (
        np.abs(found - wanted).max() < 4 * 0.0085
    )  # 4 products of at most 1 with the error of tanh on [-3, 3]: 0.0076 and steps
    assert np.abs(wanted).max() > 0.1


def test_any_number_of_images() -> None:
    graph, values, images = net_of("mlp", NARROW)
    more = np.concatenate([images, -images, images[:1]])
    nfu, mine = Nfu(), Inference(graph)
    parts = [mine.logits(values, more[k : k + 2], nfu) for k in (0, 2)]
    assert np.array_equal(mine.logits(values, more, nfu), np.concatenate([*parts, parts[0][:1]]))


def test_arithmetic_counts() -> None:
    graph, values, images = net_of("mlp", NARROW)
    mine = Inference(graph)
    made = {r: mine.logits(values, images, Nfu(arithmetic=Arithmetic(rounding=r))) for r in Rounding}
    assert all(not np.array_equal(made[a], made[b]) for a in Rounding for b in Rounding if a < b)
    again = mine.logits(values, images, Nfu(arithmetic=Arithmetic(rounding=Rounding.STOCHASTIC)))
    assert np.array_equal(again, made[Rounding.STOCHASTIC])


def test_formats_are_those_of_the_graph() -> None:
    graph, values, images = net_of("mlp", COARSE)
    eight = Nfu(neuron=Fixed(bits=8, fraction=2), synapse=Fixed(bits=8, fraction=3), arithmetic=WIDE)
    same = replace(eight, neuron=COARSE, synapse=COARSE)
    mine = Inference(graph)
    assert np.array_equal(mine.logits(values, images, eight), mine.logits(values, images, same))


def test_what_is_missing() -> None:
    graph, values, images = net_of("mlp", NARROW)
    mine = Inference(graph)
    first = next(iter(values))
    with pytest.raises(GraphError, match=rf"wants '{first}' of shape .* missing"):
        mine.run({k: a for k, a in values.items() if k != first}, images, Nfu())
    with pytest.raises(GraphError, match=r"wants 'x' of shape .* got"):
        mine.run(values, images[:1], Nfu())
