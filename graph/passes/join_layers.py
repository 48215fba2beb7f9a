"""Join consecutive layers, so that a plan has fewer actions and a player less to do."""

from dataclasses import replace

from graph.ir import Graph, Kind, Phase


def join_layers(model: Graph, nbytes: int) -> Graph:
    """The same graph with consecutive layers as one, until their parameters hold at least so many bytes.

    What a plan sends is the same bytes in at least as large buckets; a bucket is complete when the first of its layers has
    finished backward, which joining does not change. A joined layer has the name of its first one.

    Parameters
    ----------
    model : forward graph.
    nbytes : of parameters in a joined layer, at least; the last one may have less.
    """
    sizes = {v.name: v.type.nbytes for v in model.of_kind(Kind.PARAMETER)}
    own: dict[str, int] = {}
    for n in model.nodes:
        own[n.layer] = own.get(n.layer, 0) + sum(sizes.pop(v, 0) for v in n.inputs)
    joined: dict[str, str] = {}
    first, held = "", nbytes
    for layer in model.layers(Phase.FORWARD):
        if held >= nbytes:
            first, held = layer, 0
        joined[layer] = first
        held += own[layer]
    nodes = tuple(replace(n, layer=joined.get(n.layer, n.layer)) for n in model.nodes)
    return Graph(name=model.name, inputs=model.inputs, nodes=nodes, outputs=model.outputs, updates=model.updates)
