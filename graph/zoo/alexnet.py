"""AlexNet, three nets of that name: five convolutions, three fully connected layers.

``alexnet``
    The net of Krizhevsky, Sutskever and Hinton (NIPS 2012): its two towers are two groups of conv2, conv4 and conv5, response
    normalization follows conv1 and conv2, pooling windows overlap. 60,965,224 parameters, 724,406,816 multiply-adds a sample.
``alexnet-dense``
    The same without groups, every map seeing all maps before it: 62,378,344 parameters, 1,135,256,096 multiply-adds.
``alexnet-owt``
    The one-tower net of Krizhevsky, "One weird trick" (arXiv 1404.5997, 2014), with 64, 192, 384, 256, 256 maps and without
    response normalization, as PyTorch's torchvision has it: 61,100,840 parameters, 714,188,480 multiply-adds.

Which one a published table means:

=============================================================  =======================================================
Krizhevsky 2012 (two GPUs); convnet-burden                     ``alexnet``; the latter without response normalization
Krizhevsky 2014 (1 to 8 GPUs); soumith's convnet-benchmarks;   ``alexnet-owt``
PipeDream's layer profiles; torchvision
TensorFlow benchmarks 2017                                     ``alexnet-owt``, but with 384 maps in conv4: 838,788,800
                                                               multiply-adds, 61,838,248 parameters
MXNet (its example's net: performance tables of 2016, scaling  ``alexnet-dense`` on 223x223 images: 224x224 unpadded give
on p2 instances)                                               54x54 maps and 50,844,008 parameters, 203 MB
Layers of accelerator papers (227x227 to 55x55x96, no groups)  ``alexnet-dense``
=============================================================  =======================================================

The paper speaks of 224x224 images and of 55x55 maps, which an 11x11 kernel with stride 4 makes of 227x227 ones. Here an axis on
which the kernel does not fit evenly is padded by 2, so both sizes give the paper's maps. Images below 64x64 would not survive
this: there conv1 is 3x3 with stride 1, and pooling windows are padded by 1, so images of any size go through.
"""

from collections.abc import Callable

from graph.ir import Value
from graph.record import record
from graph.zoo.model import Classifier, Model, number_or_pair, scaled

KERNELS = (11, 5, 3, 3, 3)
UNITS = 4096
DEPTH = 5
LARGE = 64
LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
"""Krizhevsky et al. 2012, section 3.3."""


@record
class Shape:
    """What tells the three nets apart: maps and groups of each convolution, and whether responses are normalized."""

    maps: tuple[int, ...]
    groups: tuple[int, ...] = (1,) * DEPTH
    has_lrn: bool = True


def layers_of(shape: Shape) -> Callable[[Classifier], Value]:
    """A function that adds the layers of one of the nets."""

    def layers(net: Classifier) -> Value:
        """The first `depth` convolutions (default 5), then fc6, fc7 and fc8.

        Layers: ``conv1`` ... , ``fc6``, ``fc7``, ``fc8``, ``loss``. The first, second and last convolution end with pooling.
        `width` scales the maps of each group.
        """
        x, is_large = net.x, min(net.image[:2]) >= LARGE
        for k in range(net.depth):
            x = _convolution(net, shape, k, x, is_large)
            if k in (0, 1, net.depth - 1):
                x = net.max_pool(f"conv{k + 1}", x, window=3, stride=2, pad=0 if is_large else 1)
        for layer in ("fc6", "fc7"):
            x = net.dense(layer, x, scaled(UNITS, net.width), hidden=True)
        return net.dense("fc8", x, net.classes, hidden=False)

    return layers


def _convolution(net: Classifier, shape: Shape, k: int, x: Value, is_large: bool) -> Value:
    """Convolution number `k` with its response normalization."""
    layer, groups = f"conv{k + 1}", shape.groups[k]
    channels = _maps(shape, k, net.width)
    if k:
        x = net.conv(layer, x, kernel=KERNELS[k], pad=KERNELS[k] // 2, channels=channels, groups=groups)
    elif is_large:
        pad = number_or_pair(*(0 if (n - KERNELS[0]) % 4 == 0 else 2 for n in x.type.shape[1:3]))
        x = net.conv(layer, x, kernel=KERNELS[0], stride=4, pad=pad, channels=channels)
    else:
        x = net.conv(layer, x, kernel=3, pad=1, channels=channels)
    if shape.has_lrn and k < 2:
        with net.layer(layer):
            x, _ = net.builder.apply("lrn", (x,), **LRN)
    return x


def _maps(shape: Shape, k: int, width: float) -> int:
    """Maps of convolution `k`: as many in each group as `width` makes of the paper's; a net with groups keeps them all even."""
    towers = max(shape.groups)
    return towers * scaled(shape.maps[k] // towers, width)


_MAPS = (96, 256, 384, 384, 256)


def _model(name: str, summary: str, shape: Shape) -> Model:
    tiny = {"image": (8, 8, 3), "classes": 10, "width": 0.125}
    return Model(
        name=name,
        summary=summary,
        layers=layers_of(shape),
        depth=DEPTH,
        deepest=DEPTH,
        image=(224, 224, 3),
        classes=1000,
        tiny=tiny,
    )


ALEXNETS = (
    _model("alexnet", "AlexNet of 2012: two towers as groups, response normalization", Shape(maps=_MAPS, groups=(1, 2, 1, 2, 2))),
    _model(
        "alexnet-owt",
        "AlexNet of 2014 (one weird trick): one tower, as torchvision has it",
        Shape(maps=(64, 192, 384, 256, 256), has_lrn=False),
    ),
    _model("alexnet-dense", "AlexNet of 2012 without groups", Shape(maps=_MAPS)),
)
