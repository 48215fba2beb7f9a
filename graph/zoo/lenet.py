"""LeNet: convolution and pooling blocks, then three fully connected layers (LeCun et al., Proc. IEEE 86 (11), 1998, figure 2).

On images of 20 or more rows and columns it is LeNet-5: 5x5 kernels, the first padded by 2, 6 and 16 channels, 120, 84 and 10
units; 28x28 images give the classic 61,706 parameters. It differs from the paper as most do today: maximum pooling, every map of
the second convolution sees all six of the first, softmax cross entropy, and relu unless tanh is asked for.

Smaller images, such as the 8x8 digits, would not survive two 5x5 kernels: there every kernel is 3x3, padded by 1.
"""

from graph.errors import GraphError
from graph.ir import Graph, Value
from graph.zoo.model import Classifier, Model, scaled

DEPTH = 2
LARGE = 20


def lenet(
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
    """LeNet with `depth` convolution blocks (default 2) of 6, 16, 32, 64 ... channels; options: `graph.zoo.model.Build`.

    Layers: ``conv1`` ... , ``fc1``, ``fc2``, ``fc3``, ``loss``; a convolution layer ends with its 2x2 pooling.
    """
    depth = DEPTH if depth is None else depth
    net = Classifier(
        "lenet",
        batch=batch,
        image=image,
        classes=classes,
        width=width,
        depth=depth,
        activation=activation,
        dropout=dropout,
        denominator=denominator,
        seed=seed,
    )
    x = net.x
    for k in range(depth):
        x = _block(net, k, x, image, width)
    for k, units in enumerate((120, 84)):
        x = net.dense(f"fc{k + 1}", x, scaled(units, width), hidden=True)
    return net.finish(net.dense("fc3", x, classes, hidden=False))


def _block(net: Classifier, k: int, x: Value, image: tuple[int, ...], width: float) -> Value:
    """Block number `k`; raises `GraphError` when the image has become too small for it."""
    large = min(image[:2]) >= LARGE
    kernel, pad = (5, 2 if k == 0 else 0) if large else (3, 1)
    left = min(x.type.shape[1:3]) + 2 * pad - kernel + 1
    if left < 2:
        raise GraphError(
            f"lenet: a {image[0]}x{image[1]} image is down to {x.type.shape[1]}x{x.type.shape[2]} after {k} blocks, "
            f"too small for a {kernel}x{kernel} convolution and a 2x2 pooling; depth must be <= {k}"
        )
    channels = 6 if k == 0 else 16 * 2 ** (k - 1)
    y = net.conv(f"conv{k + 1}", x, kernel=kernel, pad=pad, channels=scaled(channels, width))
    return net.max_pool(f"conv{k + 1}", y, window=2, stride=2)


MODEL = Model(name="lenet", summary="LeNet-5; on images below 20x20 with 3x3 kernels", build=lenet, depth=DEPTH)
