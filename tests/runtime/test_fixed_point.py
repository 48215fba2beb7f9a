"""Inference in fixed point, played with the CPU's kernels, against the interpreter: the same words."""

import numpy as np
import pytest

from graph import MODELS, DType, Kind, Sgd, inference_graph, init_parameters, run
from graph.fixed_point import Fixed
from graph.ops.common import numbers
from graph.parallel.strategies.inference import inference
from graph.passes.fixed_point import fixed_point, fixed_values
from hw.kernels.record import Platform
from hw.lower import lower
from runtime.evaluate import RANK
from runtime.executor import Executor

COARSE = Fixed(bits=16, fraction=6)
"""Products of two such numbers are multiples of 2^-12; a sum of them below 2^12 is exact in f32, in any order."""


@pytest.mark.parametrize(("model", "image"), [("lenet", (8, 8, 1)), ("mlp", (8, 8, 1)), ("vgg11", (32, 32, 3))])
def test_the_kernels_make_the_words_of_the_interpreter(model: str, image: tuple[int, ...]) -> None:
    net = inference_graph(MODELS[model].build(3, image=image, width=0.125))
    graph = fixed_point(net, neuron=COARSE, synapse=COARSE)
    values = {k: a + 0.3 * numbers(*a.shape) for k, a in init_parameters(net, 5).items()}
    given, x = fixed_values(graph, values), 4 * numbers(3, *image)
    want = run(graph, {**given, "x": x})

    lowered = lower(inference(graph, Sgd(learning_rate=0.1), ranks=1, steps=1), RANK.role, Platform.CPU)
    executor = Executor(lowered, RANK)
    executor.touch()
    executor.load({v.name: given[v.name] for kind in (Kind.PARAMETER, Kind.STATE) for v in graph.of_kind(kind)})
    executor.array("x")[...] = x
    executor.compute()
    logits = graph.outputs["logits"]
    np.testing.assert_array_equal(executor.array(logits), want[logits])
    assert len(np.unique(want[logits])) > 10
    words = sum(v.type.nbytes for v in graph.of_kind(Kind.PARAMETER))
    assert words == sum(v.type.nbytes for v in net.of_kind(Kind.PARAMETER)) / 2
    assert executor.array(graph.of_kind(Kind.PARAMETER)[0].name).dtype == DType.I16.numpy
