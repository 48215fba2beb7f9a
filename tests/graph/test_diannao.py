"""The single layers of the zoo: extents, words and multiply-adds as derived by hand, and what a single layer does not take."""

import numpy as np
import pytest

from graph import MODELS, OPS, GraphError, Kind, Sgd, inference_graph, run, summary, training_graph
from graph.testing import sample_feeds
from graph.zoo.diannao import LAYERS
from hw.nfu.benchmark import LAYERS as BENCHMARK
from hw.nfu.layer import Kind as LayerKind

# Words of inputs, parameters and results, and multiply-adds, of one sample: extents of the paper's table 5 multiplied out.
BY_HAND = {
    "diannao-class1": (960, 960 * 20, 20, 19_200),
    "diannao-conv1": (500 * 375 * 32, 9 * 9 * 32 * 48, 492 * 367 * 48, 22_465_050_624),
    "diannao-pool1": (492 * 367 * 12, 0, 246 * 183 * 12, 0),
    "diannao-conv2": (200 * 200 * 8, 183 * 183 * 18 * 18 * 8 * 8, 183 * 183 * 8, 694_427_904),
    "diannao-conv3": (32 * 32 * 108, 4 * 4 * 108 * 200, 29 * 29 * 200, 290_649_600),
    "diannao-pool3": (32 * 32 * 100, 0, 8 * 8 * 100, 0),
    "diannao-class3": (200, 200 * 100, 100, 20_000),
    "diannao-conv4": (32 * 32 * 16, 7 * 7 * 16 * 512, 26 * 26 * 512, 271_351_808),
    "diannao-conv5": (256 * 256 * 256, 246 * 246 * 11 * 11 * 256 * 384, 246 * 246 * 384, 719_824_748_544),
    "diannao-pool5": (256 * 256 * 256, 0, 128 * 128 * 256, 0),
    "diannao-conv5-shared": (256 * 256 * 256, 11 * 11 * 256 * 384, 246 * 246 * 384, 719_824_748_544),
}


def test_there_are_ten_and_one_more_way_to_see_the_fifth_convolution() -> None:
    assert [m.name for m in LAYERS] == list(BY_HAND)
    assert all(MODELS[m.name] is m and not m.trains for m in LAYERS)


@pytest.mark.parametrize("name", BY_HAND)
def test_words_and_multiply_adds(name: str) -> None:
    g = MODELS[name].build(1)
    (x,), parameters, made = g.of_kind(Kind.DATA), g.of_kind(Kind.PARAMETER), g.type_of(g.outputs["logits"])
    words = x.type.size, sum(p.type.size for p in parameters), made.size
    assert (*words, summary(g)["forward_macs_per_sample"]) == BY_HAND[name]
    assert set(g.outputs) == {"logits"}


@pytest.mark.parametrize("name", BY_HAND)
def test_it_is_the_layer_that_the_nfu_is_measured_with(name: str) -> None:
    layer, g = BENCHMARK[name.removeprefix("diannao-").upper().replace("-SHARED", "_shared")], MODELS[name].build(1)
    assert BY_HAND[name] == (layer.inputs, layer.synapses, layer.outputs, layer.macs)
    (node,) = (n for n in g if not n.op.is_view)
    ops = {LayerKind.CLASSIFIER: "matmul", LayerKind.POOL: "max_pool", LayerKind.CONV: "conv2d"}
    assert node.op.name == ("local_conv2d" if layer.is_private else ops[layer.kind])
    if layer.kind is not LayerKind.CLASSIFIER:
        assert g.of_kind(Kind.DATA)[0].type.shape[1:] == (layer.ny, layer.nx, layer.ni)
        assert g.type_of(g.outputs["logits"]).shape == (1, layer.oy, layer.ox, layer.no)


def test_private_kernels_that_are_all_alike_make_a_convolution() -> None:
    g = MODELS["diannao-conv2"].build(2, image=(20, 21, 3), classes=5)
    feeds = sample_feeds(g)
    shared = np.random.default_rng(0).standard_normal((18, 18, 3, 5)).astype("f4")
    feeds["conv.weight"] = np.broadcast_to(shared, g.type_of("conv.weight").shape)
    (want,) = OPS["conv2d"].reference([feeds["x"], shared], {"stride": 1, "pad": 0, "groups": 1})
    np.testing.assert_allclose(run(g, feeds)[g.outputs["logits"]], want, rtol=1e-4, atol=1e-4)


def test_an_inference_graph_is_the_layer_itself() -> None:
    for model in LAYERS:
        g = model.build(2, **model.tiny)
        assert inference_graph(g) == g


def test_nothing_trains_a_layer() -> None:
    with pytest.raises(GraphError, match="diannao-conv1 has no output 'loss' to differentiate"):
        training_graph(MODELS["diannao-conv1"].build(1), Sgd(learning_rate=0.1))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("diannao-conv1", {"width": 2.0}, "width is 2, but a single layer takes input and classes"),
        ("diannao-class1", {"depth": 0}, "depth is 0, but a single layer"),
        ("diannao-class1", {"depth": 2}, "depth must be <= 1, got 2"),
        ("diannao-pool3", {"classes": 7}, "pooling makes as many maps as it is given, 100, not 7"),
        ("diannao-conv2", {"image": (17, 20, 8)}, "a 18x18 kernel does not fit a 17x20 image"),
        ("diannao-conv3", {"image": (64,)}, r"image must be \(rows, columns, channels\), got \(64,\)"),
    ],
)
def test_what_cannot_be_built(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        MODELS[name].build(1, **options)
