"""Give values other names."""

from collections.abc import Mapping
from dataclasses import replace

from graph.ir import Graph, Input, Node, Value


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with values renamed (old -> new); raises `InvalidGraph` when a new name is taken."""

    def new(name: str) -> str:
        return names.get(name, name)

    def value(v: Value) -> Value:
        return replace(v, name=new(v.name)) if v.name in names else v

    def node(n: Node) -> Node:
        return replace(n, inputs=tuple(map(new, n.inputs)), outputs=tuple(map(value, n.outputs)))

    return Graph(
        name=graph.name,
        inputs=tuple(Input(value=value(i.value), kind=i.kind) for i in graph.inputs),
        nodes=tuple(map(node, graph.nodes)),
        outputs={role: new(v) for role, v in graph.outputs.items()},
        updates={new(a): new(b) for a, b in graph.updates.items()},
    )
