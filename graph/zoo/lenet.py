"""LeNet: convolution and pooling blocks, then three fully connected layers (LeCun et al., Proc. IEEE 86 (11), 1998, figure 2).

On images of 20 or more rows and columns it is LeNet-5: 5x5 kernels, the first padded by 2, 6 and 16 channels, 120, 84 and 10
units; 28x28 images give the classic 61,706 parameters. It differs from the paper as most do today: maximum pooling, every map of
the second convolution sees all six of the first, softmax cross entropy, and relu unless tanh is asked for.

Smaller images, such as the 8x8 digits, would not survive two 5x5 kernels: there every kernel is 3x3, padded by 1.
"""

from graph.errors import GraphError
from graph.ir import Value
from graph.zoo.model import Classifier, Model, scaled

DEPTH = 2
LARGE = 20


def lenet(net: Classifier) -> Value:
    """LeNet with `depth` convolution blocks (default 2) of 6, 16, 32, 64 ... channels.

    Layers: ``conv1`` ... , ``fc1``, ``fc2``, ``fc3``, ``loss``; a convolution layer ends with its 2x2 pooling.
    """
    x = net.x
    for k in range(net.depth):
        x = _block(net, k, x)
    for k, units in enumerate((120, 84)):
        x = net.dense(f"fc{k + 1}", x, scaled(units, net.width), hidden=True)
    return net.dense("fc3", x, net.classes, hidden=False)


def _block(net: Classifier, k: int, x: Value) -> Value:
    """Block number `k`; raises `GraphError` when the image has become too small for it."""
    large = min(net.image[:2]) >= LARGE
    kernel, pad = (5, 2 if k == 0 else 0) if large else (3, 1)
    left = min(x.type.shape[1:3]) + 2 * pad - kernel + 1
    if left < 2:
        raise GraphError(
            f"lenet: a {net.image[0]}x{net.image[1]} image is down to {x.type.shape[1]}x{x.type.shape[2]} after {k} blocks, "
            f"too small for a {kernel}x{kernel} convolution and a 2x2 pooling; depth must be <= {k}"
        )
    channels = 6 if k == 0 else 16 * 2 ** (k - 1)
    y = net.conv(f"conv{k + 1}", x, kernel=kernel, pad=pad, channels=scaled(channels, net.width))
    return net.max_pool(f"conv{k + 1}", y, window=2, stride=2)


MODEL = Model(name="lenet", summary="LeNet-5; on images below 20x20 with 3x3 kernels", layers=lenet, depth=DEPTH)
