"""Type inference: the types of all values from the types of the inputs."""

from collections.abc import Mapping
from dataclasses import replace

from graph.errors import TypeMismatch
from graph.ir import Graph, Node, Value
from graph.tensor_type import TensorType


def infer_types(graph: Graph, inputs: Mapping[str, TensorType] | None = None) -> Graph:
    """The graph with every type inferred again, after giving some inputs other types (e.g. another batch size).

    Attributes stay as they are, so a gradient's recorded extents may no longer fit: change a model before differentiating it.
    Raises `TypeMismatch`, naming the node.
    """
    types = {i.value.name: (inputs or {}).get(i.value.name, i.value.type) for i in graph.inputs}
    nodes: list[Node] = []
    for n in graph.nodes:
        try:
            found = n.op.infer([types[v] for v in n.inputs], n.attrs)
        except TypeMismatch as e:
            raise TypeMismatch(f"{graph.name}, node {n.name!r}: {e}") from None
        outputs = tuple(Value(name=v.name, type=t) for v, t in zip(n.outputs, found, strict=True))
        types.update((v.name, v.type) for v in outputs)
        nodes.append(replace(n, outputs=outputs))
    given = tuple(replace(i, value=Value(name=i.value.name, type=types[i.value.name])) for i in graph.inputs)
    return Graph(name=graph.name, inputs=given, nodes=tuple(nodes), outputs=graph.outputs, updates=graph.updates)
