"""The evaluation graph of a model: forward only, no dropout, no loss, running statistics instead of the batch's."""

from dataclasses import replace

from graph.errors import GraphError
from graph.ir import Graph, Node, Phase, Value
from graph.op import OPS
from graph.passes.dead_code import dead_code, unread_inputs


def inference_graph(model: Graph) -> Graph:
    """The graph whose only output is ``"logits"``; dropout passes its operand on, since it is scaled when training.

    A batch normalization uses the running statistics that its model keeps, so a sample's logits do not depend on its neighbours.

    Takes a model or its training graph. Raises `GraphError` when there is no output ``"logits"``, or a batch normalization whose
    statistics nothing keeps.
    """
    if "logits" not in model.outputs:
        raise GraphError(f"{model.name} has no output 'logits', only {', '.join(model.outputs)}")
    instead: dict[str, str] = {}
    kept: list[Node] = []
    for n in model.nodes:
        inputs = tuple(instead.get(v, v) for v in n.inputs)
        if n.op.name == "dropout":
            instead[n.outputs[0].name] = inputs[0]
        elif n.op.name == "batch_norm":
            kept.append(_with_running_statistics(model, replace(n, inputs=inputs)))
        elif n.phase is Phase.FORWARD:
            kept.append(replace(n, inputs=inputs))
    logits = {"logits": instead.get(model.outputs["logits"], model.outputs["logits"])}
    lean = dead_code(Graph(name=model.name, inputs=model.inputs, nodes=tuple(kept), outputs=logits))
    unread = unread_inputs(lean)
    return Graph(
        name=model.name, inputs=tuple(i for i in lean.inputs if i.value.name not in unread), nodes=lean.nodes, outputs=logits
    )


def _with_running_statistics(model: Graph, n: Node) -> Node:
    """The normalization under the same name, by the states that blend its mean and variance."""
    op = OPS["batch_norm_inference"]
    states = tuple(_running(model, n, v) for v in n.outputs[1:])
    return replace(n, op=op, inputs=(*n.inputs, *states), outputs=n.outputs[:1], attrs={"epsilon": n.attrs["epsilon"]})


def _running(model: Graph, n: Node, statistic: Value) -> str:
    for reader in model.consumers[statistic.name]:
        if reader.op.name == "blend" and model.updates.get(reader.inputs[0]) == reader.outputs[0].name:
            return reader.inputs[0]
    raise GraphError(
        f"{model.name}: nothing keeps running statistics of {n.name!r}; blend {statistic.name!r} into a state in the update phase"
    )
