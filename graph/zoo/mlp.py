"""A multi-layer perceptron: hidden layers of 128, 64, 32 ... units times `width` (with two: the classic MNIST example net)."""

from graph.ir import Graph
from graph.zoo.model import Classifier, Model, scaled

HIDDEN = 128
DEPTH = 2


def mlp(
    batch: int,
    *,
    image: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    width: float = 1.0,
    depth: int | None = None,
    activation: str = "relu",
    dropout: float = 0.0,
    denominator: int | None = None,
    seed: int = 0,
) -> Graph:
    """A perceptron with `depth` hidden layers (default 2), each half as wide as the one before; options: `graph.zoo.model.Build`.

    Depth 0 is softmax regression. Layers: ``fc1`` ... , ``loss``.
    """
    depth = DEPTH if depth is None else depth
    net = Classifier(
        "mlp",
        batch=batch,
        image=image,
        classes=classes,
        width=width,
        depth=depth,
        activation=activation,
        dropout=dropout,
        denominator=denominator,
        seed=seed,
        wants_maps=False,
    )
    x = net.x
    for k in range(depth):
        x = net.dense(f"fc{k + 1}", x, scaled(HIDDEN, width / 2**k), hidden=True)
    return net.finish(net.dense(f"fc{depth + 1}", x, classes, hidden=False))


MODEL = Model(name="mlp", summary="multi-layer perceptron, hidden layers of 128 and 64 units", build=mlp, depth=DEPTH)
