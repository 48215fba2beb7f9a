"""Constant folding: what multiplies by the constant one goes. Results keep their bits, since ``x * 1 == x`` exactly."""

from dataclasses import replace

from graph.ir import Graph, Node


def _is_one(node: Node | None) -> bool:
    return node is not None and node.op.name == "fill" and node.attrs["value"] == 1


def fold_constants(graph: Graph) -> Graph:
    """The graph without multiplications by a `fill` of one. The constants themselves are left to `dead_code`."""
    instead: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(instead.get(v, v) for v in node.inputs)
        if node.op.name == "scale_by" and _is_one(graph.producer.get(inputs[1])):
            instead[node.outputs[0].name] = inputs[0]
        else:
            kept.append(replace(node, inputs=inputs))
    return Graph(
        name=graph.name,
        inputs=graph.inputs,
        nodes=tuple(kept),
        outputs={role: instead.get(v, v) for role, v in graph.outputs.items()},
        updates={old: instead.get(v, v) for old, v in graph.updates.items()},
    )
