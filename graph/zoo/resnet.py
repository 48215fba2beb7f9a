"""Residual nets (He, Zhang, Ren and Sun, CVPR 2016): ``resnet50`` and ``resnet152`` with bottlenecks (table 1), and ``resnet20``,
which the paper made for CIFAR-10 (section 4.2).

As in the paper (*v1*) the first 1x1 convolution of a stage halves the maps; nets called *v1.5*, torchvision's among them, do it
in the 3x3 convolution, with the same parameters and 231,211,008 more multiply-adds. With 1000 classes they have 25,557,032 and
60,192,808 parameters, without the running statistics, and 3,857,973,248 and 11,282,415,616 multiply-adds a sample of 224x224.

A projection (``s``) carries the input past the first block of a stage. Images below 64x64 begin with a 3x3 convolution and
without pooling, as section 4.2 of the paper has it for 32x32 ones. They must be square, at least so nearly that their last maps
are.

A block of ``resnet20`` has two 3x3 convolutions, and the input passes it as it is (*option A*): where a stage begins, every other
pixel of it, and zeros for the maps that are new. So it has 6n + 2 layers with parameters, n blocks in each of three stages of 16,
32 and 64 maps: with n = 3, for images of 32x32x3 and ten classes, 269,722 parameters and 40,551,040 multiply-adds.
"""

from collections.abc import Callable

from graph.ir import Value
from graph.zoo.model import Classifier, Model, scaled

MAPS = (64, 128, 256, 512)
EXPANSION = 4
LARGE = 64
SMALL_MAPS = (16, 32, 64)
SMALL_BLOCKS = 3
"""Blocks in a stage of ``resnet20``."""


def layers_of(blocks: tuple[int, ...]) -> Callable[[Classifier], Value]:
    """A function that adds the layers of the net with so many blocks in its four stages."""

    def layers(net: Classifier) -> Value:
        """A residual net with at most `depth` blocks in each stage (default: all).

        Layers: ``conv1``; ``conv2_1a``, ``conv2_1b``, ``conv2_1c``, the three convolutions of the first block of the second row
        of the paper's table, after ``conv2_1s``, its projection; ... ; ``fc``, ``loss``. The last one ends with the average.
        """
        x, last = _stem(net, min(net.image[:2]) >= LARGE), "conv1"
        for stage, (maps, count) in enumerate(zip(MAPS, blocks, strict=True), 2):
            for k in range(1, min(count, net.depth) + 1):
                x = _block(net, f"conv{stage}_{k}", x, scaled(maps, net.width), k == 1, 2 if k == 1 and stage > 2 else 1)
                last = f"conv{stage}_{k}c"
        return net.dense("fc", net.average(last, x), net.classes, hidden=False)

    return layers


def _stem(net: Classifier, is_large: bool) -> Value:
    channels = scaled(MAPS[0], net.width)
    if not is_large:
        return net.normed_conv("conv1", net.x, kernel=3, pad=1, channels=channels)
    x = net.normed_conv("conv1", net.x, kernel=7, stride=2, pad=3, channels=channels)
    return net.max_pool("conv1", x, window=3, stride=2, pad=1)


def _block(net: Classifier, name: str, x: Value, maps: int, is_first: bool, stride: int) -> Value:
    """A bottleneck: 1x1, 3x3, 1x1, and what went in, projected in the first block of a stage."""
    past = x
    if is_first:
        past = net.normed_conv(f"{name}s", x, kernel=1, stride=stride, channels=EXPANSION * maps, is_active=False)
    y = net.normed_conv(f"{name}a", x, kernel=1, stride=stride, channels=maps)
    y = net.normed_conv(f"{name}b", y, kernel=3, pad=1, channels=maps)
    y = net.normed_conv(f"{name}c", y, kernel=1, channels=EXPANSION * maps, is_active=False)
    with net.layer(f"{name}c"):
        (y,) = net.builder.apply("add", (y, past))
    return net.activate(f"{name}c", y)


def _small_layers(net: Classifier) -> Value:
    """A residual net for small images with at most `depth` blocks in each stage.

    Layers: ``conv1``; ``conv2_1a``, ``conv2_1b``, the convolutions of the first block of the first stage; ... ; ``fc``, ``loss``.
    """
    x, last = net.normed_conv("conv1", net.x, kernel=3, pad=1, channels=scaled(SMALL_MAPS[0], net.width)), "conv1"
    for stage, maps in enumerate(SMALL_MAPS, 2):
        for k in range(1, min(SMALL_BLOCKS, net.depth) + 1):
            x = _small_block(net, f"conv{stage}_{k}", x, scaled(maps, net.width), 2 if k == 1 and stage > 2 else 1)
            last = f"conv{stage}_{k}b"
    return net.dense("fc", net.average(last, x), net.classes, hidden=False)


def _small_block(net: Classifier, name: str, x: Value, maps: int, stride: int) -> Value:
    """Two 3x3 convolutions, and what went in: every `stride`-th pixel of it, and zeros for maps that it had not."""
    y = net.normed_conv(f"{name}a", x, kernel=3, pad=1, stride=stride, channels=maps)
    y = net.normed_conv(f"{name}b", y, kernel=3, pad=1, channels=maps, is_active=False)
    with net.layer(f"{name}b"):
        if stride > 1:
            (x,) = net.builder.apply("avg_pool", (x,), window=1, stride=stride)
        *pixels, had = x.type.shape
        if had < maps:
            zeros = net.builder.apply("fill", (), shape=(*pixels, maps - had), value=0.0, dtype=x.type.dtype.value)
            (x,) = net.builder.apply("concat", (x, *zeros))
        (y,) = net.builder.apply("add", (y, x))
    return net.activate(f"{name}b", y)


def _model(name: str, blocks: tuple[int, ...], tiny_depth: int) -> Model:
    tiny = {"image": (8, 8, 3), "classes": 10, "width": 0.0625, "depth": tiny_depth}
    summary = f"residual net of {name.removeprefix('resnet')} layers, v1: bottlenecks, batch normalization"
    return Model(
        name=name,
        summary=summary,
        layers=layers_of(blocks),
        depth=max(blocks),
        deepest=max(blocks),
        image=(224, 224, 3),
        classes=1000,
        tiny=tiny,
    )


RESNET20 = Model(
    name="resnet20",
    summary="residual net of 20 layers for images of 32x32, batch normalization",
    layers=_small_layers,
    depth=SMALL_BLOCKS,
    deepest=SMALL_BLOCKS,
    image=(32, 32, 3),
    tiny={"image": (8, 8, 3), "classes": 10, "width": 0.25, "depth": 1},
)
RESNETS = (_model("resnet50", (3, 4, 6, 3), 1), _model("resnet152", (3, 8, 36, 3), 2), RESNET20)
