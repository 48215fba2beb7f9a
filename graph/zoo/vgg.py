"""VGG-11 and VGG-16: 3x3 convolutions in five blocks (Simonyan and Zisserman, ICLR 2015, table 1, columns A and D).

On 224x224 images they have the published 132,863,336 and 138,357,544 parameters, and 7,609,090,048 and 15,470,264,320
multiply-adds a sample. Three fully connected layers follow. A block ends with 2x2 pooling; maps that have come down to one row
or column, on images below 32x32, are not pooled further.
"""

from collections.abc import Callable

from graph.ir import Value
from graph.zoo.model import Classifier, Model, scaled

MAPS = (64, 128, 256, 512, 512)
UNITS = 4096


def layers_of(convolutions: tuple[int, ...]) -> Callable[[Classifier], Value]:
    """A function that adds the layers of the net with so many convolutions in its five blocks."""

    def layers(net: Classifier) -> Value:
        """The net with its first `depth` blocks (default 5).

        Layers: ``conv1_1`` ... , ``fc6``, ``fc7``, ``fc8``, ``loss``; the last convolution of a block ends with pooling.
        """
        x = net.x
        for b, (maps, count) in enumerate(zip(MAPS[: net.depth], convolutions, strict=False), 1):
            for k in range(1, count + 1):
                x = net.conv(f"conv{b}_{k}", x, kernel=3, pad=1, channels=scaled(maps, net.width))
            if min(x.type.shape[1:3]) >= 2:
                x = net.max_pool(f"conv{b}_{count}", x, window=2, stride=2)
        for layer in ("fc6", "fc7"):
            x = net.dense(layer, x, scaled(UNITS, net.width), hidden=True)
        return net.dense("fc8", x, net.classes, hidden=False)

    return layers


def _model(name: str, convolutions: tuple[int, ...]) -> Model:
    tiny = {"image": (8, 8, 3), "classes": 10, "width": 0.125, "depth": 3}
    summary = f"VGG-{name.removeprefix('vgg')}: 3x3 convolutions in five blocks"
    return Model(
        name=name,
        summary=summary,
        layers=layers_of(convolutions),
        depth=len(MAPS),
        deepest=len(MAPS),
        image=(224, 224, 3),
        classes=1000,
        tiny=tiny,
    )


VGGS = (_model("vgg11", (1, 1, 2, 2, 2)), _model("vgg16", (2, 2, 3, 3, 3)))
