"""The zoo: counts derived by hand, options, and what cannot be built."""

import numpy as np
import pytest

from graph import MODELS, GraphError, Kind, Phase, inference_graph, init_parameters, run, summary
from graph.autodiff import layer_of
from graph.init import fans
from graph.testing import sample_feeds
from graph.zoo import NETS

lenet, mlp = MODELS["lenet"].build, MODELS["mlp"].build


def layers(graph) -> dict[str, tuple[int, int]]:
    """Layer -> (parameters, macs)."""
    return {k["name"]: (k["parameters"], k["macs"]) for k in summary(graph)["layers"]}


def test_lenet5_counts() -> None:
    found = summary(lenet(2))
    assert layers(lenet(2)) == {
        "conv1": (5 * 5 * 1 * 6 + 6, 28 * 28 * 5 * 5 * 1 * 6),  # 156, 117,600; padded by 2, so 28x28 stays
        "conv2": (5 * 5 * 6 * 16 + 16, 10 * 10 * 5 * 5 * 6 * 16),  # 2,416, 240,000; 14x14 in, 10x10 out
        "fc1": (400 * 120 + 120, 400 * 120),  # 48,120; 5*5*16 = 400 in
        "fc2": (120 * 84 + 84, 120 * 84),  # 10,164
        "fc3": (84 * 10 + 10, 84 * 10),  # 850
        "loss": (0, 0),
    }
    assert found["parameters"] == 61_706  # 156 + 2,416 + 48,120 + 10,164 + 850
    assert found["forward_macs_per_sample"] == 416_520  # 117,600 + 240,000 + 48,000 + 10,080 + 840
    # float32 elements: conv1, its bias and relu 3 * 4,704, pooled 1,176; conv2 3 * 1,600, pooled 400; fc1 3 * 120; fc2 3 * 84;
    # fc3 2 * 10; probabilities 10. One byte each: where the maxima were, 1,176 + 400. The flattened view counts once.
    assert found["activation_bytes_per_sample"] == 4 * (14_112 + 1_176 + 4_800 + 400 + 360 + 252 + 20 + 10) + 1_576
    assert [k["output_shape"] for k in found["layers"]] == [[2, 14, 14, 6], [2, 5, 5, 16], [2, 120], [2, 84], [2, 10], []]
    assert found["layers"][2]["operators"] == ["flatten", "matmul", "add_bias", "relu"]


def test_digits_lenet_counts() -> None:
    assert layers(lenet(2, image=(8, 8, 1))) == {
        "conv1": (3 * 3 * 1 * 6 + 6, 8 * 8 * 3 * 3 * 1 * 6),  # 60, 3,456
        "conv2": (3 * 3 * 6 * 16 + 16, 4 * 4 * 3 * 3 * 6 * 16),  # 880, 13,824
        "fc1": (64 * 120 + 120, 64 * 120),  # 7,800; 2*2*16 = 64 in
        "fc2": (10_164, 10_080),
        "fc3": (850, 840),
        "loss": (0, 0),
    }
    assert summary(lenet(2, image=(8, 8, 1)))["parameters"] == 19_754
    assert summary(lenet(2, image=(8, 8, 1)))["forward_macs_per_sample"] == 35_880


def test_mlp_counts() -> None:
    assert layers(mlp(3)) == {
        "fc1": (784 * 128 + 128, 784 * 128),  # 100,480
        "fc2": (128 * 64 + 64, 128 * 64),  # 8,256
        "fc3": (64 * 10 + 10, 64 * 10),  # 650
        "loss": (0, 0),
    }
    assert summary(mlp(3))["parameters"] == 109_386


def test_resnet20_counts() -> None:
    """He et al. 2016, section 4.2: 6n + 2 layers, 2n of them on 32x32, 16x16 and 8x8 pixels; table 6: 0.27 million parameters."""
    net = MODELS["resnet20"].build(2)
    found, per_layer = summary(net), layers(net)
    assert len(per_layer) - 1 == 6 * 3 + 2 and found["layers"][-3]["output_shape"] == [2, 1, 1, 64]
    want = {"conv1": (9 * 3 * 16, 32), "fc": (64 * 10 + 10, 1), "loss": (0, 0)}  # weights, pixels a side
    for stage, (had, maps, side) in enumerate(((16, 16, 32), (16, 32, 16), (32, 64, 8)), 2):
        for k, part in ((k, part) for k in (1, 2, 3) for part in "ab"):
            want[f"conv{stage}_{k}{part}"] = 9 * (had if (k, part) == (1, "a") else maps) * maps, side
    maps = {"conv1": 16, **{n: {"2": 16, "3": 32, "4": 64}[n[4]] for n in want if "_" in n}}
    assert per_layer == {
        n: (w + 2 * maps.get(n, 0), 640 if n == "fc" else w * side**2)  # scale and shift of each map; biases multiply nothing
        for n, (w, side) in want.items()
    }
    # Weights 432 + 13,824 + 50,688 + 202,752, scales and shifts 2 (7 16 + 6 32 + 6 64), fc 650.
    assert (found["parameters"], found["forward_macs_per_sample"]) == (269_722, 40_551_040)


def test_what_passes_a_block_of_resnet20_is_every_other_pixel_and_zeros() -> None:
    net = MODELS["resnet20"].build(2, image=(7, 7, 3), width=0.2, depth=1)  # 3, 6 and 13 maps
    feeds = {**sample_feeds(net), **init_parameters(net, 1)}
    for v in net.of_kind(Kind.PARAMETER):  # the convolutions of all blocks come to nothing
        if v.name.endswith(("b.scale", "b.shift")):
            feeds[v.name] = np.zeros(v.type.shape, np.float32)
    values = run(net, feeds)
    x, y = (
        values[next(n for n in net if n.layer == layer and n.op.name == "relu").outputs[0].name]
        for layer in ("conv1", "conv4_1b")
    )
    assert x.shape == (2, 7, 7, 3) and y.shape == (2, 2, 2, 13)
    np.testing.assert_array_equal(y[..., :3], x[:, ::4, ::4])
    assert not y[..., 3:].any()


def test_summary_of_a_training_graph_is_that_of_its_model() -> None:
    from graph import Sgd, training_graph

    net = lenet(4, image=(8, 8, 1))
    assert summary(training_graph(net, Sgd(learning_rate=0.1))) == summary(net)


@pytest.mark.parametrize("model", NETS)
def test_every_model_runs_and_meets_the_conventions(model: str) -> None:
    g = MODELS[model].build(4, **{**MODELS[model].tiny, "image": (8, 8, 1)})
    assert g.name == model
    assert [v.name for v in g.of_kind(Kind.DATA)] == ["x", "labels"]
    assert set(g.outputs) == {"loss", "logits"}
    assert g.layers(Phase.FORWARD)[-1] == "loss"
    assert {layer_of(p.name) for p in g.of_kind(Kind.PARAMETER)} == set(g.layers(Phase.FORWARD)) - {"loss"}
    values = run(g, {**sample_feeds(g), **init_parameters(g, 1)})
    assert values[g.outputs["logits"]].shape == (4, 10)
    # With every parameter zero all ten classes are as likely.
    nothing = {p.name: np.zeros(p.type.shape, np.float32) for p in g.of_kind(Kind.PARAMETER)}
    assert run(g, {**sample_feeds(g), **nothing})[g.outputs["loss"]] == pytest.approx(np.log(10), rel=1e-6)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_width_and_depth(model: str) -> None:
    build = MODELS[model].build
    narrow, wide = build(2, image=(8, 8, 1), width=0.5), build(2, image=(8, 8, 1), width=2)
    first = "fc1.weight" if model == "mlp" else "conv1.weight"
    units = 128 if model == "mlp" else 6
    assert narrow.type_of(first).shape[-1] == units // 2
    assert wide.type_of(first).shape[-1] == units * 2
    assert build(2, image=(8, 8, 1), width=0.001).type_of(first).shape[-1] == 1
    assert build(2, image=(8, 8, 1), depth=MODELS[model].depth) == build(2, image=(8, 8, 1))
    deeper = build(2, image=(8, 8, 1), depth=3)
    assert len(deeper.layers(Phase.FORWARD)) == len(narrow.layers(Phase.FORWARD)) + 1


def test_depth_zero() -> None:
    assert mlp(2, depth=0).layers(Phase.FORWARD) == ("fc1", "loss")
    assert lenet(2, depth=0).layers(Phase.FORWARD) == ("fc1", "fc2", "fc3", "loss")


def test_activation_and_dropout() -> None:
    g = lenet(2, image=(8, 8, 1), activation="tanh", dropout=0.2, seed=5)
    ops = [n.op.name for n in g]
    assert (ops.count("tanh"), ops.count("relu"), ops.count("dropout")) == (4, 0, 2)
    drops = [n.attrs for n in g if n.op.name == "dropout"]
    assert drops == [{"rate": 0.2, "seed": 5, "key": k} for k in (1, 2)]
    assert [v.name for v in g.of_kind(Kind.COUNTER)] == ["step", "sample"]
    assert not lenet(2).of_kind(Kind.COUNTER)


def test_denominator_is_the_batch_or_what_is_asked() -> None:
    assert mlp(4).node["loss/softmax_cross_entropy"].attrs["denominator"] == 4
    assert mlp(4, denominator=16).node["loss/softmax_cross_entropy"].attrs["denominator"] == 16


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lenet, {"image": (8, 8, 1), "depth": 4}, "a 8x8 image is down to 1x1 after 3 blocks, too small .* depth must be <= 3"),
        (
            lenet,
            {"depth": 3},
            "a 28x28 image is down to 5x5 after 2 blocks, too small for a 5x5 convolution .* depth must be <= 2",
        ),
        (lenet, {"image": (1, 8, 1)}, "depth must be <= 0"),
        (lenet, {"image": (64,)}, r"image must be \(rows, columns, channels\), got \(64,\)"),
        (mlp, {"image": (8, 8)}, r"image must be \(rows, columns, channels\) or \(features,\), got \(8, 8\)"),
        (mlp, {"activation": "rely"}, "unknown activation 'rely'; did you mean 'relu'?"),
        (mlp, {"width": 0}, "width > 0, got depth 2 and width 0"),
        (mlp, {"depth": -1}, "depth must be >= 0"),
        (mlp, {"classes": 1}, "classes must be >= 2, got 1"),
        (mlp, {"denominator": 0}, "denominator must be >= 1, got 0"),
        (mlp, {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_built(build, options: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        build(4, **options)
    with pytest.raises(GraphError, match="batch must be >= 1, got 0"):
        build(0)


# -------------------------------------------------------------------------------------------------------- initial values


def test_initial_values_depend_on_seed_and_name_only() -> None:
    g, other = lenet(2, image=(8, 8, 1)), lenet(64, image=(8, 8, 1), dropout=0.5)
    a, b = init_parameters(g, 7), init_parameters(other, 7)
    assert list(a) == [p.name for p in g.of_kind(Kind.PARAMETER)]
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["fc1.weight"], init_parameters(g, 8)["fc1.weight"])


def test_initial_values_are_in_their_bounds() -> None:
    assert fans((5, 5, 6, 16)) == (150, 400)
    relu, tanh = init_parameters(lenet(2), 1), init_parameters(lenet(2, activation="tanh"), 1)
    for name, w in relu.items():
        if w.ndim == 1:
            assert not w.any()
            continue
        fan_in, fan_out = fans(w.shape)
        he, glorot = np.sqrt(6 / fan_in), np.sqrt(6 / (fan_in + fan_out))
        bounds = {"relu": glorot if name == "fc3.weight" else he, "tanh": glorot}
        for found, bound in ((w, bounds["relu"]), (tanh[name], bounds["tanh"])):
            assert 0.9 * bound < np.abs(found).max() <= bound * (1 + 1e-6)
            assert found.dtype == np.float32


# ------------------------------------------------------------------------------------------------------------- inference


@pytest.mark.parametrize("model", NETS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_inference_graph(model: str, dropout: float) -> None:
    from graph import Sgd, training_graph

    tiny = MODELS[model].tiny
    net = MODELS[model].build(3, **tiny, dropout=dropout)
    g = inference_graph(net)
    assert g.outputs.keys() == {"logits"}
    read = {*net.of_kind(Kind.PARAMETER), *net.of_kind(Kind.STATE)}
    assert [i.value.name for i in g.inputs] == ["x", *(i.value.name for i in net.inputs if i.value in read)]
    assert not {"dropout", "softmax_cross_entropy", "batch_norm", "blend"} & {n.op.name for n in g}
    again = inference_graph(training_graph(net, Sgd(learning_rate=0.1)))
    assert {i.value.name for i in again.inputs} == {i.value.name for i in g.inputs}
    assert again.nodes == g.nodes
    plain = MODELS[model].build(3, **tiny)
    feeds = {**sample_feeds(plain), **init_parameters(plain, 1)}
    trained = run(plain, feeds)
    for n in plain:  # with the batch's own statistics inference computes what training does
        if n.op.name == "batch_norm":
            layer = n.layer
            feeds |= {f"{layer}.mean": trained[n.outputs[1].name], f"{layer}.variance": trained[n.outputs[2].name]}
    values = run(g, {k: v for k, v in feeds.items() if k != "labels"})
    np.testing.assert_allclose(values[g.outputs["logits"]], trained[plain.outputs["logits"]], rtol=1e-3, atol=1e-4)


def test_inference_graph_wants_logits() -> None:
    from graph import Builder, f32

    b = Builder("none")
    b.output("loss", b.input("x", f32(), Kind.DATA))
    with pytest.raises(GraphError, match="none has no output 'logits', only loss"):
        inference_graph(b.graph())
