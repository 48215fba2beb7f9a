"""Cutting a model over ranks: which layers exchange what, what is held in parts, and what cannot be."""

import pytest

from graph.errors import InvalidPlan
from graph.frontend.symbol import Builder
from graph.ir import Kind
from graph.parallel.shard import shard
from graph.tensor_type import f32, i64
from graph.zoo import MODELS

TINY = {"image": (16, 16, 3), "classes": 10, "width": 0.125}


def build(model, batch=4, **options):
    return MODELS[model].build(batch, **{**TINY, **options})


def exchanges(cut):
    """layer -> (operator, its gradient is not summed)"""
    return {n.layer: (n.op.name, n.attrs["same"]) for n in cut.graph if n.op.name in ("gather_rows", "scatter_rows")}


def test_towers_need_no_exchange():
    """AlexNet of 2012 on two ranks: what conv3 gathers, conv4 and conv5 go on with, each in its tower."""
    cut = shard(build("alexnet"), 2)
    assert exchanges(cut) == {
        "conv1.gather": ("gather_rows", True),  # response normalization looks across both towers, and every rank does it
        "conv1.whole.part": ("scatter_rows", True),  # then conv2 takes its tower
        "conv2.gather": ("gather_rows", False),
        "conv5.gather": ("gather_rows", False),
        "fc6.gather": ("gather_rows", False),
        "fc7.gather": ("gather_rows", False),
        "fc8.gather": ("gather_rows", True),  # the loss, at every rank
    }
    convolutions = {n.layer: n for n in cut.graph if n.op.name == "conv2d"}
    assert {layer: n.attrs["groups"] for layer, n in convolutions.items()} == dict.fromkeys(convolutions, 1)
    whole = {n.layer: n for n in build("alexnet") if n.op.name == "conv2d"}
    for layer, n in convolutions.items():
        assert 2 * n.outputs[0].type.shape[-1] == whole[layer].outputs[0].type.shape[-1]


def test_without_groups_every_convolution_gathers():
    gathered = [layer for layer, (op, _) in exchanges(shard(build("alexnet-dense"), 2)).items() if op == "gather_rows"]
    assert gathered == [f"{layer}.gather" for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")]


def test_parameters_are_cut_by_their_last_axis():
    whole, cut = build("resnet50", depth=1), shard(build("resnet50", depth=1), 2)
    trained = [v for kind in (Kind.PARAMETER, Kind.STATE) for v in whole.of_kind(kind)]
    assert cut.axes == {v.name: v.type.rank - 1 for v in trained}  # running statistics, too
    for v in trained:
        assert cut.graph.type_of(v.name).shape == (*v.type.shape[:-1], v.type.shape[-1] // 2)
    assert not cut.copied and not cut.border


def test_additions_and_normalizations_stay_with_their_channels():
    """A residual block adds columns to columns: it gathers for its convolutions, and for nothing else."""
    cut = shard(build("resnet50", depth=1), 2)
    whole = {n.op.name for n in cut.graph if n.layer.endswith(".whole")}
    assert not whole & {"add", "batch_norm", "relu", "max_pool", "avg_pool"}
    gathers = sum(n.op.name == "gather_rows" for n in cut.graph)
    readers = {n.inputs[0] for n in build("resnet50", depth=1) if n.op.name in ("conv2d", "matmul")} - {"x"}
    assert gathers == len(readers) + 1  # and the logits


def test_a_scheme_leaves_convolutions_alone():
    cut = shard(build("alexnet-owt"), 2, "turns")
    assert cut.border == {"conv5.gather", "labels.gather"}
    assert {layer for layer in cut.inner if "." not in layer} == {"fc6", "fc7", "fc8", "loss"}
    assert {name.split(".")[0] for name in cut.axes} == {"fc6", "fc7", "fc8"}
    whole = {n.name: n for n in build("alexnet-owt")}
    assert all(n == whole[n.name] for n in cut.graph if n.layer.startswith("conv") and n.layer not in cut.border)


def test_what_does_not_divide_is_computed_whole_at_the_end():
    cut = shard(build("alexnet-owt"), 4, "whole")  # 512, 512, 10 units
    assert cut.copied == {"fc8.weight", "fc8.bias"}
    assert exchanges(cut)["fc7.gather"] == ("gather_rows", True)
    assert cut.graph.outputs["logits"] == "fc8/add_bias"


def test_dropout_is_drawn_for_whole_rows():
    cut = shard(build("alexnet-owt", dropout=0.5), 2, "whole")
    drops = [n for n in cut.graph if n.op.name == "dropout"]
    assert [n.layer for n in drops] == ["fc6.whole", "fc7.whole"]
    assert all(n.inputs[1:] == ("step", "gathered_sample") for n in drops)
    assert [v.name for v in cut.graph.of_kind(Kind.COUNTER)] == ["step", "gathered_sample"]
    drops = [n for n in shard(build("alexnet-owt", dropout=0.5), 2).graph if n.op.name == "dropout"]
    assert all(n.inputs[1:] == ("step", "sample") for n in drops)  # every rank has every sample


def test_one_rank_is_the_model():
    model = build("alexnet")
    for scheme in (None, "parts"):
        cut = shard(model, 1, scheme)
        assert cut.graph == model and not cut.inner and not cut.axes


@pytest.mark.parametrize(
    ("model", "ranks", "scheme", "message"),
    [
        ("mlp", 2, "whole", "hybrid wants convolutions before the fully connected layers, mlp has none; use model or layers"),
        ("alexnet-owt", 11, "whole", r"alexnet-owt has no layer that 11 ranks can share evenly; use 8 ranks"),
        ("alexnet", 4, None, r"4 ranks cannot share layer 'conv2' of alexnet evenly \(2 groups\), but later ones; use 2 ranks"),
        ("alexnet-owt", 3, None, r"cannot share layer 'conv1' of alexnet-owt evenly \(8 columns\), but later ones; use 2 ranks"),
        ("vgg16", 7, None, "vgg16 has no layer that 7 ranks can share evenly; use 4 ranks"),
    ],
)
def test_what_cannot_be_names_what_can(model, ranks, scheme, message):
    net = build(model, image=(8, 8, 3) if model == "vgg16" else (16, 16, 3))
    with pytest.raises(InvalidPlan, match=message):
        shard(net, ranks, scheme)


def net(late_convolution=False, convolution=True):
    b = Builder("odd")
    x, labels = b.input("x", f32(2, 4, 4, 3), Kind.DATA), b.input("labels", i64(2), Kind.DATA)
    if convolution:
        with b.layer("conv"):
            (x,) = b.apply("conv2d", (x, b.input("conv.weight", f32(1, 1, 3, 4), Kind.PARAMETER)))
    with b.layer("fc"):
        (y,) = b.apply("flatten", (x,))
        if late_convolution:
            (y,) = b.apply("matmul", (y, b.input("fc.weight", f32(64, 16), Kind.PARAMETER)))
            (y,) = b.apply("reshape", (y,), shape=(2, 2, 2, 4))
    if late_convolution:
        with b.layer("late"):
            (y,) = b.apply("conv2d", (y, b.input("late.weight", f32(2, 2, 4, 6), Kind.PARAMETER)))
            (y,) = b.apply("flatten", (y,))
    with b.layer("loss"):
        loss, _ = b.apply("softmax_cross_entropy", (y, labels))
    b.output("loss", loss)
    b.output("logits", y)
    return b.graph()


def test_the_hybrid_wants_convolutions_then_fully_connected_layers():
    with pytest.raises(
        InvalidPlan, match="hybrid cuts fully connected layers, and odd has none; use data_parallel, model or layers"
    ):
        shard(net(), 2, "whole")
    with pytest.raises(InvalidPlan, match="before the fully connected layers, but late follows fc; use model"):
        shard(net(late_convolution=True), 2, "whole")
    assert exchanges(shard(net(late_convolution=True), 2))["late.gather"] == ("gather_rows", True)
