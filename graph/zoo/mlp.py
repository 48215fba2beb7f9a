"""A multi-layer perceptron: hidden layers of 128, 64, 32 ... units times `width` (with two: the classic MNIST example net)."""

from graph.ir import Value
from graph.zoo.model import Classifier, Model, scaled

HIDDEN = 128
DEPTH = 2


def mlp(net: Classifier) -> Value:
    """A perceptron with `depth` hidden layers (default 2), each half as wide as the one before.

    Depth 0 is softmax regression. Layers: ``fc1`` ... , ``loss``.
    """
    x = net.x
    for k in range(net.depth):
        x = net.dense(f"fc{k + 1}", x, scaled(HIDDEN, net.width / 2**k), hidden=True)
    return net.dense(f"fc{net.depth + 1}", x, net.classes, hidden=False)


SUMMARY = "multi-layer perceptron, hidden layers of 128 and 64 units"
MODEL = Model(name="mlp", summary=SUMMARY, layers=mlp, depth=DEPTH, wants_maps=False)
