"""The published nets of the zoo: parameters, multiply-adds and feature memory equal to what others counted.

Which AlexNet a source means: convnet-burden's ``alexnet`` is the grouped net of 2012 without response normalization (as
MatConvNet has it), torchvision's and that of soumith's benchmarks are the one-tower net of 2014.
"""

from math import prod

import numpy as np
import pytest

from graph import MODELS, Graph, GraphError, Kind, Sgd, init_parameters, step, training_graph
from graph.parallel.check import check
from graph.parallel.strategies import STRATEGIES
from graph.summary import summary
from graph.testing import sample_feeds

SGD = Sgd(learning_rate=0.1, momentum=0.9)
PUBLISHED = tuple(m.name for m in MODELS.values() if m.classes == 1000)

# (parameters, multiply-adds a sample). Parameters: torchvision's `num_params` of AlexNet, VGG16, ResNet50 and ResNet152 weights;
# Inception-v3's 27,161,264 less the 3,326,696 of the auxiliary classifier. Multiply-adds: torchvision's `_ops`, in 10^9: 0.714,
# 15.47, 5.713. The others by hand, below.
COUNTS = {
    "alexnet": (60_965_224, 724_406_816),
    "alexnet-dense": (62_378_344, 1_135_256_096),
    "alexnet-owt": (61_100_840, 714_188_480),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg16": (138_357_544, 15_470_264_320),
    "resnet50": (25_557_032, 3_857_973_248),
    "resnet152": (60_192_808, 11_282_415_616),
    "inception-v3": (23_834_568, 5_713_216_096),
}


def published(name: str, **options: object) -> Graph:
    model = MODELS[name]
    return model.build(1, **{"image": model.image, "classes": model.classes, **options})


def macs(name: str, **options: object) -> dict[str, int]:
    """Layer -> multiply-adds."""
    return {k["name"]: k["macs"] for k in summary(published(name, **options))["layers"]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds(name: str) -> None:
    found = summary(published(name))
    assert (found["parameters"], found["forward_macs_per_sample"]) == COUNTS[name]


# msr-fiddle/pipedream, profiler/*/profiles/*/graph.txt: bytes of all parameters; Inception-v3 with the auxiliary classifier.
PIPEDREAM = {
    "alexnet-owt": 244_403_360,
    "vgg16": 553_430_176,
    "resnet50": 102_228_128,
    "inception-v3": 108_645_056 - 4 * 3_326_696,
}


@pytest.mark.parametrize("name", PIPEDREAM)
def test_bytes_of_parameters_in_pipedreams_profiles(name: str) -> None:
    assert 4 * summary(published(name))["parameters"] == PIPEDREAM[name]


def test_mxnets_alexnet_is_the_dense_one_on_54x54_maps() -> None:
    """203 MB, says the table of its scaling on p2 instances (Amazon and MXNet, 2016)."""
    g = published("alexnet-dense", image=(223, 223, 3))
    assert g.producer["conv1/conv2d"].outputs[0].type.shape == (1, 54, 54, 96)
    assert round(4 * summary(g)["parameters"] / 1e6) == 203


def test_the_auxiliary_classifier_is_all_that_inception_lacks() -> None:
    # 768 maps -> 128 by 1x1, -> 768 by 5x5, each normalized (a scale and a shift a map), -> 1000 classes.
    auxiliary = 768 * 128 + 2 * 128 + 5 * 5 * 128 * 768 + 2 * 768 + 768 * 1000 + 1000
    assert COUNTS["inception-v3"][0] + auxiliary == 27_161_264


@pytest.mark.parametrize("size", [224, 227])
def test_alexnet_by_hand(size: int) -> None:
    """Krizhevsky et al. 2012, figure 2: 55x55, 27x27 and 13x13 maps; a tower sees half the maps in conv2, conv4 and conv5."""
    image = (size, size, 3)
    conv1, fc = 55**2 * 96 * 11**2 * 3, {"fc6": 36 * 256 * 4096, "fc7": 4096**2, "fc8": 4096 * 1000, "loss": 0}
    rest = {"conv3": 13**2 * 384 * 9 * 256}
    two = {"conv2": 27**2 * 256 * 25 * 48, "conv4": 13**2 * 384 * 9 * 192, "conv5": 13**2 * 256 * 9 * 192}
    assert macs("alexnet", image=image) == {"conv1": conv1, **two, **rest, **fc}
    assert macs("alexnet-dense", image=image) == {"conv1": conv1, **{k: 2 * v for k, v in two.items()}, **rest, **fc}
    half = [48 * 25 * 256, 192 * 9 * 384, 192 * 9 * 256]  # weights that the dense net has more
    assert COUNTS["alexnet-dense"][0] - COUNTS["alexnet"][0] == sum(half)


def test_alexnet_has_what_the_paper_says_of_it() -> None:
    g = published("alexnet")
    assert [n.attrs["groups"] for n in g if n.op.name == "conv2d"] == [1, 2, 1, 2, 2]
    assert [(n.layer, n.attrs["size"], n.attrs["k"]) for n in g if n.op.name == "lrn"] == [("conv1", 5, 2.0), ("conv2", 5, 2.0)]
    pools = [(n.layer, n.attrs["window"], n.attrs["stride"]) for n in g if n.op.name == "max_pool"]
    assert pools == [("conv1", 3, 2), ("conv2", 3, 2), ("conv5", 3, 2)]
    # Section 3.5: "253,440-186,624-64,896-64,896-43,264-4096-4096-1000" neurons; 55 x 55 x 96 are 290,400.
    neurons = [prod(n.outputs[0].type.shape) for n in g if n.op.name == "add_bias"]
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


@pytest.mark.parametrize(("name", "torchvision"), [("resnet50", 4.089e9), ("resnet152", 11.514e9)])
def test_residual_nets_are_v1(name: str, torchvision: float) -> None:
    """With the stride in the 3x3 convolution three 1x1 convolutions have four times the pixels: torchvision's `_ops`."""
    more = sum(3 * rows**2 * (4 * maps) * (2 * maps) for rows, maps in ((28, 64), (14, 128), (7, 256)))
    assert more == 231_211_008
    assert COUNTS[name][1] + more == pytest.approx(torchvision, rel=2e-4)
    # He et al., table 1: 3.8 and 11.3 billion.
    assert COUNTS[name][1] / 1e9 == pytest.approx({"resnet50": 3.8, "resnet152": 11.3}[name], abs=0.06)


# convnet-burden (S. Albanie, github.com/albanie/convnet-burden, README.md; Inception-v3: reports/inception-v3.md): model, pixels,
# MB of parameters, MB of features of one image, multiply-adds, as printed (MB are 2^20 bytes, counts 10^9 or 10^6).
BURDEN = (
    ("alexnet", 227, 233, 3, "727 M"),
    ("vgg16", 224, 528, 58, "16 G"),
    ("resnet50", 224, 98, 103, "4 G"),
    ("resnet152", 224, 230, 219, "11 G"),
    ("inception-v3", 299, 91, 89, "6 G"),
)
MADE = ("conv2d", "matmul", "batch_norm", "add", "max_pool", "avg_pool", "concat")
"""Operators that make features of their own; bias, activation and dropout work in place."""


FORKS = 4 * (2 * 2 * 768 * 8 * 8)
"""Bytes of the two forks of each of Inception's last two modules, which torchvision puts side by side before all branches are."""


def burden_count(g: Graph) -> int:
    """Operations as core/burden.m counts them: fused multiply-adds and additions of a bias or a sum once, 2 for a relu,
    2 stride^2 for a pooled value, nothing for normalization, which it takes for merged."""
    found = 0
    for n in g:
        size = n.outputs[0].type.size
        match n.op.name:
            case "conv2d" | "matmul":
                found += g.work(n).flop // 2
            case "add_bias" | "add":
                found += size
            case "relu":
                found += 2 * size
            case "max_pool" | "avg_pool":
                found += 2 * size * int(n.attrs["stride"]) ** 2
    return found


@pytest.mark.parametrize(("name", "pixels", "parameter_mb", "feature_mb", "count"), BURDEN, ids=[b[0] for b in BURDEN])
def test_convnet_burden(name: str, pixels: int, parameter_mb: int, feature_mb: int, count: str) -> None:
    g = published(name, image=(pixels, pixels, 3))
    held = sum(v.type.nbytes for kind in (Kind.PARAMETER, Kind.STATE) for v in g.of_kind(kind))  # statistics are counted in
    assert round(held / 2**20) == parameter_mb
    features = sum(n.outputs[0].type.nbytes for n in g if n.op.name in MADE)
    features += FORKS if name == "inception-v3" else 0
    assert round(features / 2**20) == feature_mb
    figure, unit = count.split()
    assert round(burden_count(g) / {"M": 1e6, "G": 1e9}[unit]) == int(figure)


# -------------------------------------------------------------------------------------------------------- tiny versions


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("image", [(1, 1, 1), (8, 8, 1), (31, 31, 3), (40, 40, 2), (64, 64, 3), (75, 75, 3)])
def test_images_of_every_size_go_through(name: str, image: tuple[int, ...]) -> None:
    g = MODELS[name].build(2, image=image, classes=3, width=0.05)
    assert g.type_of(g.outputs["logits"]).shape == (2, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_tiny_version_learns_ten_images_by_heart(name: str) -> None:
    net = MODELS[name].build(10, **MODELS[name].tiny)
    g = training_graph(net, Sgd(learning_rate=0.006, momentum=0.9))
    feeds = {**sample_feeds(g), **init_parameters(g, 1)}
    feeds["labels"] = np.arange(10)
    feeds["x"] = np.random.default_rng(0).standard_normal(feeds["x"].shape).astype("f4")
    losses = []
    for _ in range(40):
        outputs, feeds = step(g, feeds)
        losses.append(float(outputs["loss"]))
    assert losses[0] > 2 > 0.3 > losses[-1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alexnet", {"depth": 6}, "alexnet: depth must be <= 5, got 6"),
        ("vgg16", {"depth": 6}, "vgg16: depth must be <= 5, got 6"),
        ("resnet50", {"depth": 7}, "resnet50: depth must be <= 6, got 7"),
        ("inception-v3", {"depth": 5}, "inception-v3: depth must be <= 4, got 5"),
        ("resnet152", {"image": (64, 96, 3)}, "a 64x96 image ends in maps of 2x3, .* must be square, such as 64x64"),
        ("inception-v3", {"image": (299, 224, 3)}, "a 299x224 image ends in maps of 8x5, .* must be square, such as 224x224"),
        ("vgg16", {"image": (224,)}, r"image must be \(rows, columns, channels\), got \(224,\)"),
    ],
)
def test_what_cannot_be_built(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        MODELS[name].build(2, **options)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_net_can_be_cut_by_layer(name: str, ranks: int) -> None:
    """Whole, not tiny: every layer of the published net; its plan is proven."""
    plan = STRATEGIES["data_parallel"].build(published(name), SGD, ranks=ranks, steps=1, bucket_bytes=1 << 22)
    assert not check(plan, steps=1).lost
    worker = plan.role["worker"]
    assert sum(b.nbytes for b in worker.buffers.values() if b.kind == "parameter") == 4 * COUNTS[name][0]
    assert worker.graph is not None
    assert sorted(n for s in worker.segments.values() for n in s) == sorted(n.name for n in worker.graph)
