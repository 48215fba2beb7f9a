"""The layers that DianNao was measured with, each as a model by itself: inference of one layer, without bias and activation.

The ten of table 5 of Chen et al., DianNao: A Small-Footprint High-Throughput Accelerator for Ubiquitous Machine-Learning (ASPLOS
2014), quoted from memory and not re-read; `hw.nfu.benchmark` says what confirms their extents. Convolutions are valid, with
stride 1; the windows of pooling lie side by side, since the table has no stride. ``conv2`` and ``conv5`` have private kernels
(`graph.ops.local_conv`); ``conv5-shared`` is the fifth as DaDianNao (MICRO 2014) lists it. The private ``conv5`` has 720 thousand
million weights: its graph can be priced, its parameters can be kept nowhere.

`image` and `classes` change what goes in and how many maps or units come out; there is nothing else to choose.
"""

from collections.abc import Callable

from graph.errors import GraphError
from graph.ir import Value
from graph.zoo.model import Classifier, Model

Layers = Callable[[Classifier], Value]
STREETS, FACES, SIGNS = "street scenes", "faces in videos", "traffic signs"
NUMBERS, OBJECTS = "house numbers", "objects in natural images"


def _classifier(net: Classifier) -> Value:
    """A matrix product."""
    _only_image_and_maps(net)
    with net.layer("classifier"):
        x = net.builder.apply("flatten", (net.x,))[0] if net.x.type.rank > 2 else net.x
        return net.builder.apply("matmul", (x, net.parameter("classifier.weight", x.type.shape[1], net.classes)))[0]


def _convolution(kernel: int) -> Layers:
    def layer(net: Classifier) -> Value:
        """A convolution whose kernels all places share."""
        _only_image_and_maps(net)
        weight = net.parameter("conv.weight", kernel, kernel, net.image[2], net.classes)
        with net.layer("conv"):
            return net.builder.apply("conv2d", (net.x, weight))[0]

    return layer


def _private(kernel: int) -> Layers:
    def layer(net: Classifier) -> Value:
        """A convolution with kernels of its own at every place."""
        _only_image_and_maps(net)
        places = (n - kernel + 1 for n in net.image[:2])
        weight = net.parameter("conv.weight", *places, kernel, kernel, net.image[2], net.classes)
        with net.layer("conv"):
            return net.builder.apply("local_conv2d", (net.x, weight))[0]

    return layer


def _pooling(window: int) -> Layers:
    def layer(net: Classifier) -> Value:
        """The maximum of windows side by side."""
        _only_image_and_maps(net)
        if net.classes != net.image[2]:
            raise GraphError(f"{net.name}: pooling makes as many maps as it is given, {net.image[2]}, not {net.classes}")
        return net.max_pool("pool", net.x, window=window, stride=window)

    return layer


def _only_image_and_maps(net: Classifier) -> None:
    """Raise `GraphError` when something is asked for that a single layer has not."""
    for what, value, own in (("width", net.width, 1.0), ("depth", net.depth, 1)):
        if value != own:
            raise GraphError(f"{net.name}: {what} is {value:g}, but a single layer takes input and classes (its maps) alone")


def _model(name: str, layer: Layers, image: tuple[int, int, int], maps: int, what: str, *, wants_maps: bool = True) -> Model:
    return Model(
        name=f"diannao-{name}",
        summary=what,
        layers=layer,
        depth=1,
        deepest=1,
        wants_maps=wants_maps,
        image=image,
        classes=maps,
        tiny={"image": (20, 20, 3), "classes": 3},
        trains=False,
    )


def _units(name: str, inputs: int, units: int, what: str) -> Model:
    return _model(name, _classifier, (1, 1, inputs), units, f"classifier, {what}", wants_maps=False)


def _maps(name: str, columns: int, rows: int, kernel: int, given: int, made: int, what: str) -> Model:
    said = f"{kernel}x{kernel} convolution, {what}"
    return _model(name, _convolution(kernel), (rows, columns, given), made, said)


def _own_maps(name: str, columns: int, rows: int, kernel: int, given: int, made: int, what: str) -> Model:
    said = f"{kernel}x{kernel} convolution with private kernels, {what}"
    return _model(name, _private(kernel), (rows, columns, given), made, said)


def _pool(name: str, columns: int, rows: int, window: int, maps: int, what: str) -> Model:
    return _model(name, _pooling(window), (rows, columns, maps), maps, f"{window}x{window} pooling, {what}")


LAYERS = (
    _units("class1", 960, 20, STREETS),
    _maps("conv1", 500, 375, 9, 32, 48, STREETS),
    _pool("pool1", 492, 367, 2, 12, STREETS),
    _own_maps("conv2", 200, 200, 18, 8, 8, FACES),
    _maps("conv3", 32, 32, 4, 108, 200, SIGNS),
    _pool("pool3", 32, 32, 4, 100, SIGNS),
    _units("class3", 200, 100, SIGNS),
    _maps("conv4", 32, 32, 7, 16, 512, NUMBERS),
    _own_maps("conv5", 256, 256, 11, 256, 384, OBJECTS),
    _pool("pool5", 256, 256, 2, 256, OBJECTS),
    _maps("conv5-shared", 256, 256, 11, 256, 384, OBJECTS),
)
"""The ten in the order of the paper's table, and the fifth convolution with shared kernels."""
