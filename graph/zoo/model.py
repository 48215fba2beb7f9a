"""What a model of the zoo is: a name and a function that builds its symbolic graph, with the same options for all."""

from collections.abc import Sequence
from typing import Protocol

from graph.errors import GraphError, nearest
from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind, Value
from graph.record import record
from graph.tensor_type import f32, i64

ACTIVATIONS = ("relu", "tanh")


class Build(Protocol):
    """A function that builds a model.

    Parameters
    ----------
    batch : samples in one (micro-)batch.
    image : extents of one sample, (rows, columns, channels) or (features,).
    classes : how many.
    width : scales every count of channels and hidden units (rounded, at least 1).
    depth : number of repeated blocks; None: the model's own.
    activation : ``"relu"`` or ``"tanh"``.
    dropout : rate after each hidden fully connected layer.
    denominator : what the sum of the losses is divided by: the global batch; None: `batch`.
    seed : of dropout.

    Returns
    -------
    Graph with the outputs ``"loss"`` and ``"logits"``, the data ``x`` and ``labels``, and with dropout the counters ``step`` and
    ``sample``.

    Raises
    ------
    GraphError : when the options cannot be met.
    """

    def __call__(
        self,
        batch: int,
        *,
        image: tuple[int, ...] = ...,
        classes: int = ...,
        width: float = ...,
        depth: int | None = ...,
        activation: str = ...,
        dropout: float = ...,
        denominator: int | None = ...,
        seed: int = ...,
    ) -> Graph: ...


@record
class Model:
    """A model of the zoo.

    Parameters
    ----------
    name : as scenarios write it.
    summary : one line for listings.
    build : makes its graph.
    depth : its own depth.
    """

    name: str
    summary: str
    build: Build
    depth: int


def scaled(count: int, width: float) -> int:
    """`count` times `width`, rounded half up, at least 1."""
    return max(1, int(count * width + 0.5))


class Classifier:
    """What the models share: declares inputs, adds layers, ends in softmax cross entropy."""

    def __init__(
        self,
        name: str,
        *,
        batch: int,
        image: Sequence[int],
        classes: int,
        width: float,
        depth: int,
        activation: str,
        dropout: float,
        denominator: int | None,
        seed: int,
    ) -> None:
        self.name, self.batch, self.activation, self.rate, self.seed = name, batch, activation, dropout, seed
        self.denominator = batch if denominator is None else denominator
        self._check(image, classes, width, depth)
        self.builder = Builder(name)
        self.x = self.builder.input("x", f32(batch, *image), Kind.DATA)
        self.labels = self.builder.input("labels", i64(batch), Kind.DATA)
        self.counters = () if not dropout else tuple(self.builder.input(c, i64(), Kind.COUNTER) for c in ("step", "sample"))
        self._dropouts = 0

    def _check(self, image: Sequence[int], classes: int, width: float, depth: int) -> None:
        if self.activation not in ACTIVATIONS:
            raise GraphError(f"{self.name}: unknown activation {self.activation!r}; {nearest(self.activation, ACTIVATIONS)}")
        for what, value, least in (("batch", self.batch, 1), ("classes", classes, 2), ("denominator", self.denominator, 1)):
            if value < least:
                raise GraphError(f"{self.name}: {what} must be >= {least}, got {value}")
        if depth < 0 or not width > 0:
            raise GraphError(f"{self.name}: depth must be >= 0 and width > 0, got depth {depth} and width {width}")
        if len(image) not in (1, 3) or min(image) < 1:
            raise GraphError(f"{self.name}: image must be (rows, columns, channels) or (features,), got {tuple(image)}")
        if not 0 <= self.rate < 1:
            raise GraphError(f"{self.name}: dropout must lie in [0, 1), got {self.rate}")

    def parameter(self, name: str, *shape: int) -> Value:
        return self.builder.input(name, f32(*shape), Kind.PARAMETER)

    def conv(self, layer: str, x: Value, *, kernel: int, pad: int, channels: int) -> Value:
        """Convolution, bias, activation and a 2x2 maximum pooling, as one layer."""
        weight = self.parameter(f"{layer}.weight", kernel, kernel, x.type.shape[3], channels)
        bias = self.parameter(f"{layer}.bias", channels)
        with self.builder.layer(layer):
            (y,) = self.builder.apply("conv2d", (x, weight), stride=1, pad=pad)
            (y,) = self.builder.apply("add_bias", (y, bias))
            (y,) = self.builder.apply(self.activation, (y,))
            y, _ = self.builder.apply("max_pool", (y,), window=2, stride=2)
        return y

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
        """Add the loss and make the graph."""
        with self.builder.layer("loss"):
            loss, _ = self.builder.apply("softmax_cross_entropy", (logits, self.labels), denominator=self.denominator)
        self.builder.output("loss", loss)
        self.builder.output("logits", logits)
        return self.builder.graph()
