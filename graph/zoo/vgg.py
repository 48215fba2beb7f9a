"""VGG-11 and VGG-16: 3x3 convolutions in five blocks (Simonyan and Zisserman, ICLR 2015, table 1, columns A and D).

On 224x224 images they have the published 132,863,336 and 138,357,544 parameters, and 7,609,090,048 and 15,470,264,320
multiply-adds a sample. Three fully connected layers follow. A block ends with 2x2 pooling; maps that have come down to one row
or column, on images below 32x32, are not pooled further.
"""

from graph.ir import Graph
from graph.zoo.model import Build, Classifier, Model, scaled

MAPS = (64, 128, 256, 512, 512)
UNITS = 4096


def builder(name: str, convolutions: tuple[int, ...]) -> Build:
    """A function that builds the net with so many convolutions in its five blocks."""

    def build(
        batch: int,
        *,
        image: tuple[int, ...] = (224, 224, 3),
        classes: int = 1000,
        width: float = 1.0,
        depth: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        denominator: int | None = None,
        seed: int = 0,
    ) -> Graph:
        """The net with its first `depth` blocks (default 5); options: `graph.zoo.model.Build`.

        Layers: ``conv1_1`` ... , ``fc6``, ``fc7``, ``fc8``, ``loss``; the last convolution of a block ends with pooling.
        """
        depth = len(MAPS) if depth is None else depth
        net = Classifier(
            name,
            batch=batch,
            image=image,
            classes=classes,
            width=width,
            depth=depth,
            activation=activation,
            dropout=dropout,
            denominator=denominator,
            seed=seed,
            deepest=len(MAPS),
        )
        x = net.x
        for b, (maps, count) in enumerate(zip(MAPS[:depth], convolutions, strict=False), 1):
            for k in range(1, count + 1):
                x = net.conv(f"conv{b}_{k}", x, kernel=3, pad=1, channels=scaled(maps, width))
            if min(x.type.shape[1:3]) >= 2:
                x = net.max_pool(f"conv{b}_{count}", x, window=2, stride=2)
        for layer in ("fc6", "fc7"):
            x = net.dense(layer, x, scaled(UNITS, width), hidden=True)
        return net.finish(net.dense("fc8", x, classes, hidden=False))

    return build


vgg11 = builder("vgg11", (1, 1, 2, 2, 2))
vgg16 = builder("vgg16", (2, 2, 3, 3, 3))


def _model(name: str, build: Build) -> Model:
    tiny = {"image": (8, 8, 3), "classes": 10, "width": 0.125, "depth": 3}
    summary = f"VGG-{name.removeprefix('vgg')}: 3x3 convolutions in five blocks"
    return Model(name=name, summary=summary, build=build, depth=len(MAPS), image=(224, 224, 3), classes=1000, tiny=tiny)


VGGS = (_model("vgg11", vgg11), _model("vgg16", vgg16))
