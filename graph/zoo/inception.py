"""Inception-v3 (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, table 1), as torchvision has it.

Without the auxiliary classifier, which only training uses: 23,834,568 parameters with 1000 classes (torchvision's 27,161,264
count it too) and 5,713,216,096 multiply-adds a sample of 299x299. Every convolution is followed by batch normalization.

Images below 75x75 would not survive the convolutions without padding: there every window is padded and ``conv_1a`` has stride 1,
so images of any size go through. They must be square, at least so nearly that their last maps are.
"""

from graph.ir import Value
from graph.record import record
from graph.zoo.model import Classifier, Model, number_or_pair, scaled

LARGE = 75
DEPTH = 4
EPSILON = 1e-3
"""Of the batch normalizations; TensorFlow's and torchvision's."""


@record
class Conv:
    """A convolution of a branch; those with stride 2 are not padded, the others keep the extent of the maps."""

    maps: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


@record
class Branch:
    """Convolutions one after the other; `pool` goes before, and the convolutions of `fork` all read the last one's result."""

    name: str
    convs: tuple[Conv, ...] = ()
    fork: tuple[Conv, ...] = ()
    pool: str = ""


def _pooled(maps: int) -> Branch:
    return Branch(name="pool", convs=(Conv(maps=maps),), pool="avg_pool")


_DOUBLE = (Conv(maps=64), Conv(maps=96, kernel=(3, 3)))


def _a(pool_maps: int) -> tuple[Branch, ...]:
    """Figure 5 of the paper: 35x35 maps."""
    return (
        Branch(name="1x1", convs=(Conv(maps=64),)),
        Branch(name="5x5", convs=(Conv(maps=48), Conv(maps=64, kernel=(5, 5)))),
        Branch(name="3x3", convs=(*_DOUBLE, Conv(maps=96, kernel=(3, 3)))),
        _pooled(pool_maps),
    )


def _c(maps: int) -> tuple[Branch, ...]:
    """Figure 6 with n = 7: 17x17 maps."""
    row, column = Conv(maps=maps, kernel=(1, 7)), Conv(maps=maps, kernel=(7, 1))
    return (
        Branch(name="1x1", convs=(Conv(maps=192),)),
        Branch(name="7x7", convs=(Conv(maps=maps), row, Conv(maps=192, kernel=(7, 1)))),
        Branch(name="7x7x2", convs=(Conv(maps=maps), column, row, column, Conv(maps=192, kernel=(1, 7)))),
        _pooled(192),
    )


_B = (
    Branch(name="3x3", convs=(Conv(maps=384, kernel=(3, 3), stride=2),)),
    Branch(name="3x3x2", convs=(*_DOUBLE, Conv(maps=96, kernel=(3, 3), stride=2))),
    Branch(name="pool", pool="max_pool"),
)
_D = (
    Branch(name="3x3", convs=(Conv(maps=192), Conv(maps=320, kernel=(3, 3), stride=2))),
    Branch(
        name="7x7",
        convs=(
            Conv(maps=192),
            Conv(maps=192, kernel=(1, 7)),
            Conv(maps=192, kernel=(7, 1)),
            Conv(maps=192, kernel=(3, 3), stride=2),
        ),
    ),
    Branch(name="pool", pool="max_pool"),
)
_WIDE = (Conv(maps=384, kernel=(1, 3)), Conv(maps=384, kernel=(3, 1)))
_E = (  # figure 7: 8x8 maps
    Branch(name="1x1", convs=(Conv(maps=320),)),
    Branch(name="3x3", convs=(Conv(maps=384),), fork=_WIDE),
    Branch(name="3x3x2", convs=(Conv(maps=448), Conv(maps=384, kernel=(3, 3))), fork=_WIDE),
    _pooled(192),
)

STAGES: tuple[tuple[tuple[str, tuple[Branch, ...]], ...], ...] = (
    (("5b", _a(32)), ("5c", _a(64)), ("5d", _a(64))),
    (("6a", _B),),
    (("6b", _c(128)), ("6c", _c(160)), ("6d", _c(160)), ("6e", _c(192))),
    (("7a", _D),),
    (("7b", _E), ("7c", _E)),
)
"""Modules by stage, each with its branches."""


def inception_v3(net: Classifier) -> Value:
    """Inception-v3 with at most `depth` like modules in a row (default 4: all).

    Layers: ``conv_1a`` ... ``conv_4a``; ``mixed_5b_1x1_1`` ..., a convolution each, named after module, branch and place in it,
    of which the last of a module ends with its concatenation, and the last of all with the average; ``fc``, ``loss``.
    """
    parts = _Parts(net, is_large=min(net.image[:2]) >= LARGE)
    x, last = parts.stem(), "conv_4a"
    for stage in STAGES:
        for name, branches in stage if len(stage) == 1 else stage[: net.depth]:
            x, last = parts.module(f"mixed_{name}", x, branches)
    return net.dense("fc", net.average(last, x), net.classes, hidden=False)


class _Parts:
    """Adds parts to a net: on large images windows of the stem and with stride 2 are not padded, on small ones all are."""

    def __init__(self, net: Classifier, is_large: bool) -> None:
        self.net, self.is_large = net, is_large

    def conv(self, layer: str, x: Value, c: Conv, is_padded: bool | None = None) -> Value:
        padded = not self.is_large or (c.stride == 1 if is_padded is None else is_padded)
        pad = number_or_pair(*(n // 2 if padded else 0 for n in c.kernel))
        maps = scaled(c.maps, self.net.width)
        return self.net.normed_conv(layer, x, kernel=c.kernel, channels=maps, stride=c.stride, pad=pad, epsilon=EPSILON)

    def halve(self, layer: str, x: Value) -> Value:
        return self.net.max_pool(layer, x, window=3, stride=2, pad=0 if self.is_large else 1)

    def stem(self) -> Value:
        """The convolutions before the first module: to 192 maps of an eighth of the rows and columns."""
        three = (3, 3)
        x = self.conv("conv_1a", self.net.x, Conv(maps=32, kernel=three, stride=2 if self.is_large else 1), False)
        x = self.conv("conv_2a", x, Conv(maps=32, kernel=three), False)
        x = self.halve("conv_2b", self.conv("conv_2b", x, Conv(maps=64, kernel=three)))
        x = self.conv("conv_3b", x, Conv(maps=80))
        return self.halve("conv_4a", self.conv("conv_4a", x, Conv(maps=192, kernel=three), False))

    def module(self, name: str, x: Value, branches: tuple[Branch, ...]) -> tuple[Value, str]:
        """(The results of all branches side by side, the last layer)."""
        found: list[Value] = []
        layer = ""
        for b in branches:
            y = x
            if b.pool:
                layer = f"{name}_{b.name}_1" if b.convs else layer
                y = self._pool(layer, y, b.pool)
            for k, c in enumerate(b.convs, 1):
                layer = f"{name}_{b.name}_{k}"
                y = self.conv(layer, y, c)
            ends = [y] if not b.fork else []
            for side, c in zip("ab", b.fork, strict=False):
                layer = f"{name}_{b.name}_{len(b.convs) + 1}{side}"
                ends.append(self.conv(layer, y, c))
            found += ends
        with self.net.layer(layer):
            return self.net.builder.apply("concat", found)[0], layer

    def _pool(self, layer: str, x: Value, kind: str) -> Value:
        if kind == "max_pool":
            return self.halve(layer, x)
        with self.net.layer(layer):
            return self.net.builder.apply(kind, (x,), window=3, stride=1, pad=1)[0]


MODEL = Model(
    name="inception-v3",
    summary="Inception-v3 without its auxiliary classifier",
    layers=inception_v3,
    depth=DEPTH,
    deepest=DEPTH,
    image=(299, 299, 3),
    classes=1000,
    tiny={"image": (8, 8, 3), "classes": 10, "width": 0.125, "depth": 1},
)
