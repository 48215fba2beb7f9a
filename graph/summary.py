"""What a model amounts to: parameters, multiply-adds and activations, in all and by layer."""

from typing import Any

from graph.ir import Graph, Kind, Node, Phase

MULTIPLY_ADD = ("conv2d", "local_conv2d", "matmul")
"""The operators whose multiply-adds are counted, as is usual; the others add a few percent of flop and no macs."""


def batch_of(graph: Graph) -> int:
    """Samples in one batch: the first extent of the data."""
    return graph.of_kind(Kind.DATA)[0].type.shape[0]


def _macs(graph: Graph, node: Node) -> int:
    return graph.work(node).flop // 2 if node.op.name in MULTIPLY_ADD else 0


def _layer(graph: Graph, name: str, nodes: list[Node]) -> dict[str, Any]:
    kinds = {i.value.name: i.kind for i in graph.inputs}
    held = dict.fromkeys(v for n in nodes for v in n.inputs if kinds.get(v) is Kind.PARAMETER)
    return {
        "name": name,
        "operators": [n.op.name for n in nodes],
        "output_shape": list(nodes[-1].outputs[0].type.shape),
        "parameters": sum(graph.type_of(v).size for v in held),
        "macs": sum(_macs(graph, n) for n in nodes) // batch_of(graph),
    }


def summary(graph: Graph) -> dict[str, Any]:
    """Numbers of a model's forward pass, ready for JSON.

    Returns
    -------
    ``parameters``: elements of all parameters. ``forward_macs_per_sample``: multiply-adds of convolutions and matrix products.
    ``activation_bytes_per_sample``: everything the forward pass computes, views and scalars aside. ``layers``: for each layer its
    ``name``, ``operators``, ``output_shape`` (with the batch), ``parameters`` and ``macs`` (per sample).
    """
    forward = [n for n in graph.nodes if n.phase is Phase.FORWARD]
    kept = [v.type for n in forward if not n.op.is_view for v in n.outputs if v.type.rank]
    layers = [_layer(graph, name, [n for n in forward if n.layer == name]) for name in graph.layers(Phase.FORWARD)]
    return {
        "parameters": sum(p.type.size for p in graph.of_kind(Kind.PARAMETER)),
        "forward_macs_per_sample": sum(layer["macs"] for layer in layers),
        "activation_bytes_per_sample": sum(t.nbytes for t in kept) // batch_of(graph),
        "layers": layers,
    }
