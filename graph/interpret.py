"""The interpreter: runs operators and graphs with the operators' NumPy references. Slow, clear, the oracle of every executor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from graph.errors import GraphError, nearest
from graph.ir import Graph
from graph.op import OPS, Array, Attr
from graph.ops.common import type_of
from graph.tensor_type import TensorType


class Tensor:
    """A handle on an array, compared by identity, so that it can be a key where values are named."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def __repr__(self) -> str:
        return f"Tensor({type_of(self.array)})"


class NumpyEvaluator:
    """Applies operators at once, by their references. An `Evaluator` of `Tensor`, and what a `Tape` uses by default."""

    def value(self, array: Array) -> Tensor:
        """A handle on an array."""
        return Tensor(np.asarray(array))

    def array(self, value: Tensor) -> Array:
        """The array behind a handle."""
        return value.array

    def apply(self, op: str, values: Sequence[Tensor], **attrs: Attr) -> tuple[Tensor, ...]:
        """Run the operator; raises `UnknownName`, `TypeMismatch` or `GraphError`."""
        known = OPS[op]
        full = known.complete(attrs)
        known.infer([self.type_of(v) for v in values], full)
        return tuple(Tensor(np.asarray(a)) for a in known.reference([v.array for v in values], full))

    def type_of(self, value: Tensor) -> TensorType:
        return type_of(value.array)

    @contextmanager
    def scope(self, layer: str, phase: str) -> Iterator[None]:
        """Nothing is recorded here, so layers mean nothing."""
        yield


def run(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a graph.

    Parameters
    ----------
    graph : any graph.
    feeds : an array for each input; its shape and element type must be the input's.

    Returns
    -------
    Every value by name, the inputs included.

    Raises
    ------
    GraphError : when feeds are missing, unknown or of another type.
    """
    wanted = {i.value.name: i.value.type for i in graph.inputs}
    for name in feeds:
        if name not in wanted:
            raise GraphError(f"{graph.name} has no input {name!r}; {nearest(name, wanted)}")
    values: dict[str, Array] = {}
    for name, t in wanted.items():
        if name not in feeds:
            raise GraphError(f"{graph.name} needs its input {name!r}: {t}")
        values[name] = np.asarray(feeds[name])
        if (got := type_of(values[name])) != t:
            raise GraphError(f"{graph.name}: input {name!r} must be {t}, got {got}")
    for node in graph.nodes:
        results = node.op.reference([values[v] for v in node.inputs], node.attrs)
        values.update((v.name, np.asarray(a)) for v, a in zip(node.outputs, results, strict=True))
    return values


def step(graph: Graph, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run a training graph once: (outputs by role, the feeds with parameters and state replaced by their updates)."""
    values = run(graph, feeds)
    after = {name: values[graph.updates.get(name, name)] for name in feeds}
    return {role: values[name] for role, name in graph.outputs.items()}, after
