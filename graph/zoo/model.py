"""What a model of the zoo is: a name and a function that adds its layers, with the same options for all."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Any

from graph.errors import GraphError, nearest
from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind, Phase, Value
from graph.passes.rename import rename
from graph.record import record
from graph.tensor_type import f32, i64

ACTIVATIONS = ("relu", "tanh")
DECAY = 0.9
"""Of running statistics: after 30 steps what they began with weighs 4 %."""


@record
class Model:
    """A model of the zoo.

    Parameters
    ----------
    name : as scenarios write it.
    summary : one line for listings.
    layers : adds its layers to a net, and returns the logits.
    depth : its own depth.
    deepest : the most blocks there are; None: any number.
    wants_maps : it wants images, not only features.
    image, classes : what it was published for, and the defaults of `build`.
    tiny : options that make it small enough to train in a test.
    trains : False: there is nothing to train it by, so it has neither labels nor a loss; only inference takes it.
    """

    name: str
    summary: str
    layers: Callable[["Classifier"], Value]
    depth: int
    deepest: int | None = None
    wants_maps: bool = True
    image: tuple[int, int, int] = (28, 28, 1)
    classes: int = 10
    tiny: Mapping[str, Any] = field(default_factory=lambda: {"image": (8, 8, 1)})
    trains: bool = True

    def build(
        self,
        batch: int,
        *,
        image: tuple[int, ...] | None = None,
        classes: int | None = None,
        width: float = 1.0,
        depth: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        denominator: int | None = None,
        seed: int = 0,
    ) -> Graph:
        """The model's graph.

        Parameters
        ----------
        batch : samples in one (micro-)batch.
        image : extents of one sample, (rows, columns, channels) or (features,); None: the model's own.
        classes : how many; None: the model's own.
        width : scales every count of channels and hidden units (rounded, at least 1).
        depth : number of repeated blocks (each model says of which); None: the model's own.
        activation : ``"relu"`` or ``"tanh"``.
        dropout : rate after each hidden fully connected layer; in a net without one, of what the classifier reads.
        denominator : what the sum of the losses is divided by: the global batch; None: `batch`.
        seed : of dropout.

        Returns
        -------
        Graph with the outputs ``"loss"`` and ``"logits"``, the data ``x`` and ``labels``, and with dropout the counters ``step``
        and ``sample``. A net with batch normalization keeps running statistics, the states ``"<layer>.mean"`` and
        ``"<layer>.variance"``, which nodes of the update phase renew. A model that is not trained has the output ``"logits"`` and
        the data ``x`` alone.

        Raises
        ------
        GraphError : when the options cannot be met.
        """
        net = Classifier(
            self,
            batch=batch,
            image=self.image if image is None else image,
            classes=self.classes if classes is None else classes,
            width=width,
            depth=self.depth if depth is None else depth,
            activation=activation,
            dropout=dropout,
            denominator=batch if denominator is None else denominator,
            seed=seed,
        )
        return net.finish(self.layers(net))


def scaled(count: int, width: float) -> int:
    """`count` times `width`, rounded half up, at least 1."""
    return max(1, int(count * width + 0.5))


def number_or_pair(rows: int, columns: int) -> int | tuple[int, int]:
    """Padding as an operator takes it: one number where both are the same."""
    return rows if rows == columns else (rows, columns)


class Classifier:
    """What the models share: declares inputs, adds layers, and where it is trained ends in softmax cross entropy."""

    def __init__(
        self,
        model: Model,
        *,
        batch: int,
        image: Sequence[int],
        classes: int,
        width: float,
        depth: int,
        activation: str,
        dropout: float,
        denominator: int,
        seed: int,
    ) -> None:
        self.name, self.batch, self.image, self.classes, self.width, self.depth = model.name, batch, image, classes, width, depth
        self.activation, self.rate, self.denominator, self.seed = activation, dropout, denominator, seed
        self._check()
        if model.wants_maps and len(image) != 3:
            raise GraphError(f"{self.name}: image must be (rows, columns, channels), got {tuple(image)}")
        if model.deepest is not None and depth > model.deepest:
            raise GraphError(f"{self.name}: depth must be <= {model.deepest}, got {depth}")
        self.builder = Builder(self.name)
        self.x = self.builder.input("x", f32(batch, *image), Kind.DATA)
        self.labels = self.builder.input("labels", i64(batch), Kind.DATA) if model.trains else None
        self.counters = () if not dropout else tuple(self.builder.input(c, i64(), Kind.COUNTER) for c in ("step", "sample"))
        self._dropouts = 0
        self._statistics: list[tuple[str, Value, Value]] = []  # layer, running statistic, the batch's

    def _check(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise GraphError(f"{self.name}: unknown activation {self.activation!r}; {nearest(self.activation, ACTIVATIONS)}")
        for what, value, least in (("batch", self.batch, 1), ("classes", self.classes, 2), ("denominator", self.denominator, 1)):
            if value < least:
                raise GraphError(f"{self.name}: {what} must be >= {least}, got {value}")
        if self.depth < 0 or not self.width > 0:
            raise GraphError(f"{self.name}: depth must be >= 0 and width > 0, got depth {self.depth} and width {self.width}")
        if len(self.image) not in (1, 3) or min(self.image) < 1:
            raise GraphError(f"{self.name}: image must be (rows, columns, channels) or (features,), got {tuple(self.image)}")
        if not 0 <= self.rate < 1:
            raise GraphError(f"{self.name}: dropout must lie in [0, 1), got {self.rate}")

    def parameter(self, name: str, *shape: int) -> Value:
        return self.builder.input(name, f32(*shape), Kind.PARAMETER)

    def layer(self, name: str) -> AbstractContextManager[None]:
        """Nodes added inside belong to this layer."""
        return self.builder.layer(name)

    def activate(self, layer: str, x: Value) -> Value:
        with self.layer(layer):
            return self.builder.apply(self.activation, (x,))[0]

    def conv(
        self,
        layer: str,
        x: Value,
        *,
        kernel: int,
        channels: int,
        stride: int = 1,
        pad: int | tuple[int, int] = 0,
        groups: int = 1,
    ) -> Value:
        """Convolution, bias and activation."""
        weight = self.parameter(f"{layer}.weight", kernel, kernel, x.type.shape[3] // groups, channels)
        bias = self.parameter(f"{layer}.bias", channels)
        with self.layer(layer):
            (y,) = self.builder.apply("conv2d", (x, weight), stride=stride, pad=pad, groups=groups)
            (y,) = self.builder.apply("add_bias", (y, bias))
        return self.activate(layer, y)

    def normed_conv(
        self,
        layer: str,
        x: Value,
        *,
        kernel: int | tuple[int, int],
        channels: int,
        stride: int = 1,
        pad: int | tuple[int, int] = 0,
        epsilon: float = 1e-5,
        is_active: bool = True,
    ) -> Value:
        """Convolution without bias, batch normalization, and activation unless `is_active` is false."""
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = self.parameter(f"{layer}.weight", rows, columns, x.type.shape[3], channels)
        scale, shift = self.parameter(f"{layer}.scale", channels), self.parameter(f"{layer}.shift", channels)
        with self.layer(layer):
            (y,) = self.builder.apply("conv2d", (x, weight), stride=stride, pad=pad)
            y, *batch = self.builder.apply("batch_norm", (y, scale, shift), epsilon=epsilon)
        for name, value in zip(("mean", "variance"), batch, strict=True):
            running = self.builder.input(f"{layer}.{name}", value.type, Kind.STATE)
            self._statistics.append((layer, running, value))
        return self.activate(layer, y) if is_active else y

    def max_pool(self, layer: str, x: Value, *, window: int, stride: int, pad: int = 0) -> Value:
        with self.layer(layer):
            return self.builder.apply("max_pool", (x,), window=window, stride=stride, pad=pad)[0]

    def average(self, layer: str, x: Value) -> Value:
        """The mean of every map, dropout; raises `GraphError` when the maps are not square."""
        rows, columns = x.type.shape[1:3]
        if rows != columns:
            (_, height, width, _), side = self.x.type.shape, min(self.x.type.shape[1:3])
            raise GraphError(
                f"{self.name}: a {height}x{width} image ends in maps of {rows}x{columns}, which no square window averages; "
                f"image must be square, such as {side}x{side}"
            )
        with self.layer(layer):
            return self._drop(self.builder.apply("avg_pool", (x,), window=rows, stride=1)[0])

    def dense(self, layer: str, x: Value, units: int, *, hidden: bool) -> Value:
        """Flatten if need be, matrix product, bias; a hidden layer adds the activation and dropout."""
        with self.builder.layer(layer):
            if x.type.rank > 2:
                (x,) = self.builder.apply("flatten", (x,))
            weight = self.parameter(f"{layer}.weight", x.type.shape[1], units)
            bias = self.parameter(f"{layer}.bias", units)
            (y,) = self.builder.apply("matmul", (x, weight))
            (y,) = self.builder.apply("add_bias", (y, bias))
            if hidden:
                (y,) = self.builder.apply(self.activation, (y,))
                y = self._drop(y)
        return y

    def _drop(self, x: Value) -> Value:
        if not self.rate:
            return x
        self._dropouts += 1
        return self.builder.apply("dropout", (x, *self.counters), rate=self.rate, seed=self.seed, key=self._dropouts)[0]

    def finish(self, logits: Value) -> Graph:
        """Add the loss, where there are labels, and make the graph."""
        if self.labels is not None:
            with self.builder.layer("loss"):
                loss, _ = self.builder.apply("softmax_cross_entropy", (logits, self.labels), denominator=self.denominator)
            self.builder.output("loss", loss)
        self.builder.output("logits", logits)
        names: dict[str, str] = {}
        for layer, running, value in self._statistics:
            with self.builder.scope(layer, Phase.UPDATE):
                (new,) = self.builder.apply("blend", (running, value), decay=DECAY)
            self.builder.update(running, new)
            names[new.name] = f"{running.name}.new"
        graph = self.builder.graph()
        return rename(graph, names) if names else graph
