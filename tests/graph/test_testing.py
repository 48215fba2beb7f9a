"""The checks check: a record or a graph with a mistake is refused, with words that say which."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph import MODELS, OPS, Sgd, Work, init_parameters, step, training_graph
from graph.op import Op, Sample
from graph.testing import check_grad, check_op, sample_feeds

RELU = OPS["relu"]


def changes_its_operand(arrays, attrs):
    if arrays[0].size:
        arrays[0][...] = 0
    return RELU.reference(arrays, attrs)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (replace(RELU, samples=lambda: ()), "relu has no samples"),
        (replace(RELU, reference=lambda v, a: (v[0].astype("f8"),)), r"relu, sample 0: .* makes .*f64.*, infers"),
        (replace(RELU, reference=changes_its_operand), r"relu, sample \d: .* changes its operands"),
        (replace(RELU, work=lambda t, a: Work(flop=1)), r"bytes read and written are \(4, 4\), work says \(0, 0\)"),
        (replace(RELU, work=lambda t, a: replace(RELU.work(t, a), flop=0.5)), "work must be whole numbers >= 0"),
        (replace(RELU, outputs=("y", "z")), r"1 types for outputs \('y', 'z'\)"),
    ],
)
def test_check_op_notices(op: Op, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_op(op)


@pytest.mark.parametrize(
    ("vjp", "message"),
    [
        (None, "relu is not differentiable"),
        (lambda ev, a, g: (), "relu: 0 gradients for 1 operands"),
        (lambda ev, a, g: (None,), "gradient of x"),
        (lambda ev, a, g: ev.apply("scale", (g[0],), factor=1.001), "gradient of x"),
    ],
)
def test_check_grad_notices(vjp: Callable | None, message: str) -> None:
    wrong = replace(RELU, vjp=vjp)
    with pytest.raises(AssertionError, match=message):
        check_grad(wrong, Sample(inputs=(np.array([0.5, -0.5]),), attrs={}))


def test_feeds_are_the_same_every_time_and_fit() -> None:
    g = training_graph(MODELS["lenet"].build(4, image=(8, 8, 1), classes=3, dropout=0.5), Sgd(learning_rate=0.1))
    a, b = sample_feeds(g), sample_feeds(g)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert sorted(set(a["labels"].tolist())) == [0, 1, 2]
    assert not np.array_equal(a["x"], sample_feeds(g, seed=1)["x"])


def test_a_model_learns_in_the_interpreter() -> None:
    # Two classes, told apart by the sign of the sum of the features: the loss falls from log 2 to less than a quarter.
    g = training_graph(MODELS["mlp"].build(32, image=(6,), classes=2, width=0.1), Sgd(learning_rate=0.2, momentum=0.9))
    rng = np.random.default_rng(0)
    state = init_parameters(g, 0)
    losses = []
    for _ in range(60):
        x = rng.standard_normal((32, 6)).astype(np.float32)
        outputs, after = step(g, {**state, "x": x, "labels": (x.sum(axis=1) > 0).astype(np.int64)})
        state = {k: after[k] for k in state}
        losses.append(float(outputs["loss"]))
    assert np.mean(losses[-5:]) < np.log(2) / 4 < losses[0]
