"""The evaluation graph of a model: forward only, no dropout, no loss."""

from dataclasses import replace

from graph.errors import GraphError
from graph.ir import Graph, Node, Phase
from graph.passes.dead_code import dead_code, unread_inputs


def inference_graph(model: Graph) -> Graph:
    """The graph whose only output is ``"logits"``; dropout passes its operand on, since it is scaled when training.

    Takes a model or its training graph. Raises `GraphError` when there is no output ``"logits"``.
    """
    if "logits" not in model.outputs:
        raise GraphError(f"{model.name} has no output 'logits', only {', '.join(model.outputs)}")
    instead: dict[str, str] = {}
    kept: list[Node] = []
    for n in model.nodes:
        inputs = tuple(instead.get(v, v) for v in n.inputs)
        if n.op.name == "dropout":
            instead[n.outputs[0].name] = inputs[0]
        elif n.phase is Phase.FORWARD:
            kept.append(replace(n, inputs=inputs))
    logits = {"logits": instead.get(model.outputs["logits"], model.outputs["logits"])}
    lean = dead_code(Graph(name=model.name, inputs=model.inputs, nodes=tuple(kept), outputs=logits))
    unread = unread_inputs(lean)
    return Graph(
        name=model.name, inputs=tuple(i for i in lean.inputs if i.value.name not in unread), nodes=lean.nodes, outputs=logits
    )
