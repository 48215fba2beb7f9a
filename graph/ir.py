"""The graph: values, nodes in topological order, and what goes in and out. Immutable; passes return new graphs.

Values are named and a node names its operands, so a graph is plain data: it compares by value, prints as text
(`graph.text`) and parses back. Build one with `graph.frontend.symbol`.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property

from graph.errors import InvalidGraph, nearest
from graph.op import Attrs, Op, Work
from graph.record import record
from graph.tensor_type import TensorType


class Kind(StrEnum):
    """What a graph input is."""

    DATA = "data"  # a mini-batch, or its labels: new every step, first axis is the sample
    PARAMETER = "parameter"  # trained
    STATE = "state"  # kept between steps, not trained by gradient (momentum)
    COUNTER = "counter"  # a scalar i64 the player sets: "step", and "sample", the index of the first sample


class Phase(StrEnum):
    """Which part of a training step a node belongs to."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UPDATE = "update"


@record
class Value:
    """A named, typed value. The producer is found through `Graph.producer`."""

    name: str
    type: TensorType


@record
class Input:
    """A value that the graph is given."""

    value: Value
    kind: Kind


@record
class Node:
    """One application of an operator.

    Parameters
    ----------
    name : unique path, e.g. ``"conv1/relu"``.
    op : the operator.
    inputs : names of values.
    outputs : values it defines.
    attrs : every attribute of the operator, defaults filled in.
    layer : the layer it belongs to, e.g. ``"conv1"``; segments of a plan are made of layers.
    phase : part of the training step.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    attrs: Attrs
    layer: str
    phase: Phase


class Graph:
    """An immutable dataflow graph.

    Parameters
    ----------
    name : what it is, e.g. ``"lenet"``.
    inputs : what it is given, each with its kind.
    nodes : in topological order.
    outputs : role -> value name. By convention ``"loss"``, ``"logits"``; ``"grad:<parameter>"`` for gradients.
    updates : input name -> name of the value that replaces it after the step (parameters and state).
    """

    def __init__(
        self,
        *,
        name: str,
        inputs: tuple[Input, ...],
        nodes: tuple[Node, ...],
        outputs: Mapping[str, str],
        updates: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.nodes = nodes
        self.outputs = dict(outputs)
        self.updates = dict(updates or {})
        self.validate()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, len(self.nodes), len(self.inputs)))

    def _key(self) -> tuple[object, ...]:
        return self.name, self.inputs, self.nodes, self.outputs, self.updates

    @cached_property
    def values(self) -> dict[str, Value]:
        """Every value by name, inputs first."""
        found = {i.value.name: i.value for i in self.inputs}
        for node in self.nodes:
            found.update((v.name, v) for v in node.outputs)
        return found

    @cached_property
    def producer(self) -> dict[str, Node]:
        """The node that defines each value that is not an input."""
        return {v.name: n for n in self.nodes for v in n.outputs}

    @cached_property
    def node(self) -> dict[str, Node]:
        """Nodes by name."""
        return {n.name: n for n in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each value, in order."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for n in self.nodes:
            for v in dict.fromkeys(n.inputs):
                found[v].append(n)
        return {k: tuple(v) for k, v in found.items()}

    def type_of(self, name: str) -> TensorType:
        return self.values[name].type

    def of_kind(self, kind: Kind) -> tuple[Value, ...]:
        """The inputs of this kind, in order."""
        return tuple(i.value for i in self.inputs if i.kind is kind)

    def work(self, node: Node) -> Work:
        """Exact work of one node."""
        return node.op.work([self.type_of(v) for v in node.inputs], node.attrs)

    def layers(self, phase: Phase) -> tuple[str, ...]:
        """Names of the layers with nodes in this phase, in order of first appearance."""
        return tuple(dict.fromkeys(n.layer for n in self.nodes if n.phase is phase))

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def validate(self) -> None:
        """Check every rule of the IR; raises `InvalidGraph` naming the node."""
        known: dict[str, TensorType] = {}
        for i in self.inputs:
            if i.value.name in known:
                raise InvalidGraph(f"{self.name}: input {i.value.name!r} is given twice")
            known[i.value.name] = i.value.type
        names: set[str] = set()
        for n in self.nodes:
            if n.name in names:
                raise InvalidGraph(f"{self.name}: two nodes are named {n.name!r}")
            names.add(n.name)
            self._validate_node(n, known)
            for out in n.outputs:
                if out.name in known:
                    raise InvalidGraph(f"{self.name}: node {n.name!r} defines {out.name!r} a second time")
                known[out.name] = out.type
        for role, name in self.outputs.items():
            if name not in known:
                raise InvalidGraph(f"{self.name}: output {role!r} is {name!r}, which nothing defines; {nearest(name, known)}")
        inputs = {i.value.name: i.value.type for i in self.inputs}
        for old, new in self.updates.items():
            if old not in inputs or new not in known or known[new] != inputs[old]:
                raise InvalidGraph(f"{self.name}: update {old!r} <- {new!r} needs an input and a value of its type")

    def _validate_node(self, n: Node, known: Mapping[str, TensorType]) -> None:
        """Check operands, attributes and types of a node against the values known before it."""
        for v in n.inputs:
            if v not in known:
                raise InvalidGraph(f"{self.name}: node {n.name!r} reads {v!r} before it exists; {nearest(v, known)}")
        if n.attrs.keys() != n.op.attrs.keys():
            raise InvalidGraph(f"{self.name}: node {n.name!r} has attributes {sorted(n.attrs)}, not {sorted(n.op.attrs)}")
        inferred = n.op.infer([known[v] for v in n.inputs], n.attrs)
        if inferred != tuple(v.type for v in n.outputs):
            raise InvalidGraph(
                f"{self.name}: node {n.name!r} declares {[str(v.type) for v in n.outputs]}, "
                f"but {n.op.name} makes {[str(t) for t in inferred]}"
            )
