"""The symbolic front end: declare first, run later. A `Builder` is an `Evaluator` whose values are names and types.

A node is named after its layer and operator (``conv1/conv2d``, ``conv1/backward/conv2d_grad_weight``, numbered from the second
on), and its first result has the node's name; further results add their own (``conv1/max_pool.where``).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from graph.errors import GraphError, InvalidGraph, TypeMismatch, nearest
from graph.ir import Graph, Input, Kind, Node, Phase, Value
from graph.op import OPS, Attr
from graph.tensor_type import TensorType


class Builder:
    """Collects inputs and nodes and makes a `Graph` of them.

    Parameters
    ----------
    name : of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []
        self._outputs: dict[str, str] = {}
        self._updates: dict[str, str] = {}
        self._known: dict[str, Value] = {}
        self._taken: set[str] = set()  # names of nodes; a value's may have been changed since
        self._used: dict[str, int] = {}
        self._layer, self._phase = "", Phase.FORWARD

    @classmethod
    def extend(cls, graph: Graph) -> "Builder":
        """A builder that already holds what a graph holds."""
        new = cls(graph.name)
        new._inputs, new._nodes = list(graph.inputs), list(graph.nodes)
        new._outputs, new._updates = dict(graph.outputs), dict(graph.updates)
        new._known = dict(graph.values)
        new._taken = set(graph.node)
        return new

    def input(self, name: str, type: TensorType, kind: Kind) -> Value:
        """Declare an input; raises `InvalidGraph` when the name is taken."""
        value = self._define(name, type)
        self._inputs.append(Input(value=value, kind=kind))
        return value

    def apply(self, op: str, values: Sequence[Value], **attrs: Attr) -> tuple[Value, ...]:
        """Add a node; raises `UnknownName`, `TypeMismatch` or `GraphError`, naming the layer."""
        known = OPS[op]
        for v in values:
            if self._known.get(v.name) != v:
                hint = nearest(v.name, self._known)
                raise GraphError(f"{self._name}: {op} is given {v.name!r}: {v.type}, which is not of this graph; {hint}")
        try:
            full = known.complete(attrs)
            types = known.infer([v.type for v in values], full)
        except TypeMismatch as e:
            raise TypeMismatch(f"{self._name}, layer {self._layer!r}: {e}") from None
        node = self._unused("/".join(filter(None, (self._layer, self._phase * (self._phase is not Phase.FORWARD), op))))
        names = [node, *(f"{node}.{o}" for o in known.outputs[1:])]
        outputs = tuple(self._define(n, t) for n, t in zip(names, types, strict=True))
        self._nodes.append(
            Node(
                name=node,
                op=known,
                inputs=tuple(v.name for v in values),
                outputs=outputs,
                attrs=full,
                layer=self._layer,
                phase=self._phase,
            )
        )
        return outputs

    def type_of(self, value: Value) -> TensorType:
        return value.type

    @contextmanager
    def scope(self, layer: str, phase: str) -> Iterator[None]:
        """Nodes added inside belong to this layer and phase."""
        before = self._layer, self._phase
        self._layer, self._phase = layer, Phase(phase)
        try:
            yield
        finally:
            self._layer, self._phase = before

    def layer(self, name: str) -> AbstractContextManager[None]:
        """Nodes added inside belong to the forward phase of this layer."""
        return self.scope(name, Phase.FORWARD)

    def output(self, role: str, value: Value) -> None:
        """Declare what a value is to the outside, e.g. ``"loss"``."""
        if role in self._outputs:
            raise InvalidGraph(f"{self._name}: output {role!r} is declared twice")
        self._outputs[role] = value.name

    def update(self, old: Value, new: Value) -> None:
        """Declare that an input is replaced by another value after the step."""
        self._updates[old.name] = new.name

    def graph(self) -> Graph:
        """The graph so far; raises `InvalidGraph`."""
        return Graph(
            name=self._name, inputs=tuple(self._inputs), nodes=tuple(self._nodes), outputs=self._outputs, updates=self._updates
        )

    def _define(self, name: str, type: TensorType) -> Value:
        if name in self._known:
            raise InvalidGraph(f"{self._name}: the name {name!r} is taken")
        self._known[name] = Value(name=name, type=type)
        return self._known[name]

    def _unused(self, stem: str) -> str:
        name = stem
        while name in self._known or name in self._taken:
            self._used[stem] = self._used.get(stem, 1) + 1
            name = f"{stem}.{self._used[stem]}"
        self._taken.add(name)
        return name
