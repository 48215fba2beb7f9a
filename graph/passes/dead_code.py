"""Dead code: nodes whose results reach no output and no update."""

from graph.ir import Graph, Node


def dead_code(graph: Graph) -> Graph:
    """The graph without nodes that nothing asks for. Inputs stay: they are the graph's signature."""
    needed = {*graph.outputs.values(), *graph.updates.values()}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in needed for v in node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return Graph(name=graph.name, inputs=graph.inputs, nodes=tuple(reversed(kept)), outputs=graph.outputs, updates=graph.updates)


def unread_inputs(graph: Graph) -> frozenset[str]:
    """Names of the inputs that nothing reads."""
    shown = {*graph.outputs.values(), *graph.updates, *graph.updates.values()}
    return frozenset(i.value.name for i in graph.inputs if not graph.consumers[i.value.name] and i.value.name not in shown)
