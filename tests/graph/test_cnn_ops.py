"""What the common checks do not see of groups, padding, normalization and concatenation."""

import numpy as np
import pytest

from graph import (
    MODELS,
    OPS,
    Builder,
    GraphError,
    Kind,
    Phase,
    Sgd,
    TypeMismatch,
    f32,
    inference_graph,
    init_parameters,
    step,
    training_graph,
)
from graph.interpret import run
from graph.op import Array, Attr
from graph.ops.common import numbers, type_of
from graph.testing import sample_feeds


def applied(op: str, *arrays: Array, **attrs: Attr) -> tuple[Array, ...]:
    full = OPS[op].complete(attrs)
    OPS[op].infer([type_of(a) for a in arrays], full)
    return OPS[op].reference(arrays, full)


def test_groups_are_convolutions_side_by_side() -> None:
    x, w = numbers(2, 6, 5, 8), numbers(3, 3, 4, 6, seed=1)
    (y,) = applied("conv2d", x, w, pad=1, groups=2)
    towers = [applied("conv2d", x[..., 4 * g : 4 * g + 4], w[..., 3 * g : 3 * g + 3], pad=1)[0] for g in range(2)]
    np.testing.assert_allclose(y, np.concatenate(towers, axis=-1), rtol=1e-6)


def test_padding_by_a_pair() -> None:
    x, w = numbers(2, 6, 5, 3), numbers(1, 7, 3, 4, seed=1)
    (y,) = applied("conv2d", x, w, pad=(0, 3))
    (right,) = applied("conv2d", np.pad(x, ((0, 0), (0, 0), (3, 3), (0, 0))), w)
    assert np.array_equal(y, right)
    square = numbers(3, 3, 3, 4, seed=1)
    assert np.array_equal(applied("conv2d", x, square, pad=(1, 1))[0], applied("conv2d", x, square, pad=1)[0])


def test_padding_never_wins_a_maximum_and_counts_as_zeros_in_an_average() -> None:
    x = -np.ones((1, 2, 2, 1), np.float32)
    y, where = applied("max_pool", x, window=3, stride=2, pad=1)
    assert (y.tolist(), where.tolist()) == ([[[[-1.0]]]], [[[[4]]]])  # row 1, column 1 of the window is the first pixel
    (mean,) = applied("avg_pool", x, window=3, stride=2, pad=1)
    assert mean[0, 0, 0, 0] == pytest.approx(-4 / 9)


def test_batch_norm_brings_every_channel_to_mean_and_deviation() -> None:
    x = 5 * numbers(6, 3, 3, 4) + 2
    y, mean, variance = applied("batch_norm", x, np.full(4, 3, "f4"), np.full(4, -1, "f4"), epsilon=1e-6)
    np.testing.assert_allclose(y.mean((0, 1, 2)), -1, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 3, rtol=1e-4)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-5)
    again = applied("batch_norm_inference", x, np.full(4, 3, "f4"), np.full(4, -1, "f4"), mean, variance, epsilon=1e-6)
    np.testing.assert_allclose(again[0], y, rtol=1e-5, atol=1e-5)


def test_alpha_is_not_divided_by_the_size() -> None:
    """Krizhevsky et al. 2012, section 3.3, for five channels of ones: the middle one sees all five."""
    y, scale = applied("lrn", np.ones((1, 5), "f4"), size=5, alpha=0.1, beta=0.75, k=2.0)
    np.testing.assert_allclose(scale[0], 2 + 0.1 * np.array([3, 4, 5, 4, 3]), rtol=1e-6)
    np.testing.assert_allclose(y[0, 2], 2.5**-0.75, rtol=1e-6)


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "message"),
    [
        ("conv2d", ((1, 4, 4, 6), (3, 3, 3, 5)), {"groups": 2}, "5 channels of the result do not divide over 2 groups"),
        ("conv2d", ((1, 4, 4, 6), (3, 3, 6, 4)), {"groups": 2}, "the image has 6 channels, the weight wants 12"),
        ("conv2d", ((1, 4, 4, 6), (3, 3, 6, 4)), {"pad": (1, 2, 3)}, r"pad must be a whole number >= 0 or a pair of them, got"),
        ("conv2d", ((1, 4, 4, 6), (3, 3, 6, 4)), {"pad": -1}, "pad must be a whole number >= 0 or a pair of them, got -1"),
        ("conv2d_grad_weight", ((1, 4, 4, 5), (1, 4, 4, 4)), {"kh": 1, "kw": 1, "groups": 2}, "5 channels of the image do not"),
        ("max_pool", ((1, 4, 4, 1),), {"window": 2, "stride": 2, "pad": 2}, "pad must be less than the window"),
        ("max_pool", ((1, 40, 40, 1),), {"window": 17, "stride": 1}, "window must be <= 16, got 17"),
        ("batch_norm", ((0, 3), (3,), (3,)), {"epsilon": 0.1}, "at least one sample to take the mean of"),
        ("batch_norm", ((2, 3), (3,), (2,)), {"epsilon": 0.1}, "wants one number a channel"),
        ("batch_norm", ((2, 3), (3,), (3,)), {"epsilon": 0.0}, "epsilon must be > 0, got 0.0"),
        ("lrn", ((2, 3),), {"size": 4, "alpha": 1e-4, "beta": 0.75, "k": 2.0}, "size must be odd"),
        ("lrn", ((2, 3),), {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 0.0}, "k must be > 0 and alpha >= 0"),
        ("concat", ((2, 3), (3, 3)), {}, "wants operands of one floating type that differ in the last axis alone"),
        ("slice_last", ((2, 3),), {"first": 2, "count": 2}, "has no 2 places from 2 on in its last axis"),
        ("blend", ((3,), (3,)), {"decay": 1.5}, r"decay must lie in \[0, 1\], got 1.5"),
    ],
)
def test_refused(op: str, shapes: tuple[tuple[int, ...], ...], attrs: dict[str, Attr], message: str) -> None:
    with pytest.raises((TypeMismatch, GraphError), match=message):
        OPS[op].infer([f32(*s) for s in shapes], OPS[op].complete(attrs))
    if op == "max_pool" and attrs["window"] == 17:  # only where an index into the window is kept
        assert OPS["avg_pool"].infer([f32(*shapes[0])], OPS["avg_pool"].complete(attrs)) == (f32(1, 24, 24, 1),)


def test_concat_of_nothing() -> None:
    with pytest.raises(TypeMismatch, match="takes 1 operand or more, got 0"):
        OPS["concat"].infer([], {})


@pytest.mark.parametrize("op", ["batch_norm", "lrn"])
def test_no_gradient_through_what_is_saved(op: str) -> None:
    b = Builder("through")
    x = b.input("l.x", f32(3, 4), Kind.PARAMETER)
    vectors = [b.input(f"l.{k}", f32(4), Kind.PARAMETER) for k in ("a", "b")] if op == "batch_norm" else []
    attrs = {"epsilon": 0.1} if op == "batch_norm" else {"size": 3, "alpha": 0.1, "beta": 0.5, "k": 1.0}
    with b.layer("l"):
        y, saved, *_ = b.apply(op, (x, *vectors), **attrs)
        loss = [b.apply("dot", (v, v))[0] for v in (y, saved)]
    b.output("loss", b.apply("add", loss)[0])
    with pytest.raises(GraphError, match="no gradient flows through"):
        training_graph(b.graph(), Sgd(learning_rate=0.1))


# ------------------------------------------------------------------------------------------------- running statistics


@pytest.fixture(scope="module")
def resnet():
    return MODELS["resnet50"].build(6, **MODELS["resnet50"].tiny)


def test_initial_values_of_a_normalization(resnet) -> None:
    found = init_parameters(training_graph(resnet, Sgd(learning_rate=0.1)), 3)
    for end, value in (("scale", 1), ("shift", 0), ("mean", 0), ("variance", 1), ("momentum", 0)):
        arrays = [a for name, a in found.items() if name.endswith(f".{end}")]
        assert arrays and all((a == value).all() for a in arrays), end


def test_a_step_blends_the_statistics_of_its_batch(resnet) -> None:
    g = training_graph(resnet, Sgd(learning_rate=0.1))
    feeds = {**sample_feeds(g), **init_parameters(g, 3)}
    values, (_, after) = run(g, feeds), step(g, feeds)
    for n in resnet:
        if n.op.name == "batch_norm":
            for name, v in zip(("mean", "variance"), n.outputs[1:], strict=True):
                old = feeds[f"{n.layer}.{name}"]
                np.testing.assert_allclose(after[f"{n.layer}.{name}"], 0.9 * old + 0.1 * values[v.name], rtol=1e-5, atol=1e-7)
    assert g.layers(Phase.UPDATE) == tuple(la for la in g.layers(Phase.BACKWARD) if la != "loss")


def test_logits_of_the_inference_graph_do_not_depend_on_the_other_samples(resnet) -> None:
    g = inference_graph(resnet)
    feeds = {**sample_feeds(g), **init_parameters(resnet, 3)}
    logits = run(g, feeds)[g.outputs["logits"]]
    feeds["x"] = np.concatenate([feeds["x"][:1], 2 * feeds["x"][1:]])
    np.testing.assert_allclose(run(g, feeds)[g.outputs["logits"]][0], logits[0], rtol=1e-6)


def test_inference_needs_running_statistics() -> None:
    b = Builder("none")
    x, scale = b.input("x", f32(3, 4), Kind.DATA), b.input("scale", f32(4), Kind.PARAMETER)
    b.output("logits", b.apply("batch_norm", (x, scale, scale), epsilon=0.1)[0])
    with pytest.raises(GraphError, match=r"none: nothing keeps running statistics of 'batch_norm'; blend 'batch_norm.mean' in"):
        inference_graph(b.graph())


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_running_statistics_stay_with_their_rank(resnet, micro_batches: int) -> None:
    from graph.parallel.plan import Collective
    from graph.parallel.strategies import STRATEGIES

    plan = STRATEGIES["data_parallel"].build(
        resnet, Sgd(learning_rate=0.1), ranks=2, steps=1, bucket_bytes=4096, micro_batches=micro_batches
    )
    worker = plan.role["worker"]
    kept = worker.buffers["statistics"]
    assert set(kept.values) == {s.name for s in resnet.of_kind(Kind.STATE)}
    assert (kept.kind, kept.sharded) == ("state", ("dp",))
    assert worker.graph is not None
    assert {worker.graph.node[n].op.name for n in worker.segments["update/statistics"]} == {"blend"}
    stream = list(plan.start(plan.first_rank("worker")))
    assert not [c for c in stream if isinstance(c, Collective) and c.what.buffer == "statistics"]
    assert sum(i.id[1:] == ("update", "statistics") for i in stream) == 1  # once a step, from the last micro-batch
