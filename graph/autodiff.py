"""Reverse-mode differentiation, once, for both front ends.

`backward` walks a trail of applications from the last to the first and lets each operator's `vjp` apply further operators to an
evaluator: the symbolic builder adds nodes, the tape's evaluator runs them. Only what somebody wants is computed: the gradient of
the data is not, and nothing is multiplied by the gradient of the loss, one, once `graph.passes.fold_constants` has run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graph.errors import GraphError, nearest
from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind, Node, Phase, Value
from graph.op import Applied, Evaluator, V
from graph.optimizer import Optimizer
from graph.passes.dead_code import dead_code
from graph.passes.fold_constants import fold_constants
from graph.passes.rename import rename


def backward(ev: Evaluator[V], trail: Sequence[Applied[V]], seeds: Mapping[V, V], wrt: Sequence[V]) -> dict[V, V]:
    """Gradients of what the seeds seed, with respect to `wrt`.

    Parameters
    ----------
    ev : where the operators of the gradient are applied.
    trail : what was applied, in order.
    seeds : value -> the gradient with respect to it.
    wrt : the values whose gradients are wanted.

    Returns
    -------
    A gradient for each of `wrt` that the seeded values depend on; the others are absent.

    Raises
    ------
    GraphError : when an operator on the way is not differentiable.
    """
    reached = set(wrt)
    for a in trail:
        if reached.intersection(a.inputs):
            reached.update(a.outputs)
    gradients: dict[V, V] = dict(seeds)
    for a in reversed(trail):
        found = tuple(gradients.get(v) for v in a.outputs)
        wanted = frozenset(i for i, v in enumerate(a.inputs) if v in reached)
        if not wanted or all(g is None for g in found):
            continue
        if a.op.vjp is None:
            raise GraphError(f"{a.op.name} (layer {a.layer!r}) is not differentiable")
        with ev.scope(a.layer, Phase.BACKWARD):
            parts = a.op.vjp(ev, replace(a, wanted=wanted), found)
            for i in sorted(wanted):
                v, part = a.inputs[i], parts[i]
                if part is not None:
                    gradients[v] = ev.apply("add", (gradients[v], part))[0] if v in gradients else part
    return {v: gradients[v] for v in wrt if v in gradients}


def gradients(ev: Evaluator[V], trail: Sequence[Applied[V]], loss: V, wrt: Sequence[V]) -> dict[V, V]:
    """`backward` from a scalar loss, seeded with the constant one; raises `GraphError` when the loss is no scalar."""
    t = ev.type_of(loss)
    if t.shape != () or not t.dtype.is_float:
        raise GraphError(f"a loss is a floating scalar, got {t}")
    layer = next((a.layer for a in reversed(trail) if loss in a.outputs), "")
    with ev.scope(layer, Phase.BACKWARD):
        (one,) = ev.apply("fill", (), shape=(), value=1.0, dtype=t.dtype.value)
    return backward(ev, trail, {loss: one}, wrt)


def trail_of(graph: Graph) -> tuple[Applied[Value], ...]:
    """The nodes of a graph as applications, for `backward`."""
    return tuple(
        Applied(op=n.op, inputs=tuple(graph.values[v] for v in n.inputs), outputs=n.outputs, attrs=n.attrs, layer=n.layer)
        for n in graph.nodes
    )


def differentiate(graph: Graph, loss: str = "loss") -> Graph:
    """Add the gradients of every parameter: outputs ``"grad:<parameter>"``, values ``"d.<parameter>"``.

    The result is lean: gradients that nobody wants, constants and dead nodes are gone.

    Raises
    ------
    GraphError : when there is no such output, it is no scalar, or a parameter does not influence it.
    """
    if loss not in graph.outputs:
        raise GraphError(f"{graph.name} has no output {loss!r} to differentiate; {nearest(loss, graph.outputs)}")
    builder = Builder.extend(graph)
    parameters = graph.of_kind(Kind.PARAMETER)
    found = gradients(builder, trail_of(graph), graph.values[graph.outputs[loss]], parameters)
    for p in parameters:
        if p not in found:
            raise GraphError(f"{graph.name}: parameter {p.name!r} does not influence {loss!r}")
        builder.output(f"grad:{p.name}", found[p])
    return _named_gradients(dead_code(fold_constants(builder.graph())), parameters)


def _named_gradients(graph: Graph, parameters: Sequence[Value]) -> Graph:
    """Name each gradient ``d.<parameter>``; a value that already has a name outside, or serves two parameters, is copied."""
    builder, names = Builder.extend(graph), {}
    taken = {v for role, v in graph.outputs.items() if not role.startswith("grad:")} | {i.value.name for i in graph.inputs}
    outputs = dict(graph.outputs)
    for p in parameters:
        value = outputs[f"grad:{p.name}"]
        if value in taken:
            with builder.scope(layer_of(p.name), Phase.BACKWARD):
                value = builder.apply("scale", (graph.values[value],), factor=1.0)[0].name
        taken.add(value)
        outputs[f"grad:{p.name}"], names[value] = value, f"d.{p.name}"
    whole = builder.graph()
    return rename(Graph(name=graph.name, inputs=whole.inputs, nodes=whole.nodes, outputs=outputs, updates=graph.updates), names)


def layer_of(parameter: str) -> str:
    """The layer a parameter belongs to: ``"conv1.weight"`` -> ``"conv1"``."""
    return parameter.rpartition(".")[0] or parameter


def training_graph(model: Graph, optimizer: Optimizer) -> Graph:
    """One training step: forward, backward, and the update of every parameter.

    State is the input ``"<parameter>.<state>"``; new values are ``"<parameter>.new"`` and ``"<parameter>.<state>.new"``, and
    `Graph.updates` says what they replace. The updates come in the order in which backward makes the gradients; what a model
    renews by itself, its running statistics, goes before the parameters of the same layer.
    """
    graph = differentiate(model)
    builder, names = Builder.extend(graph), {}
    made = {v.name: k for k, n in enumerate(graph.nodes) for v in n.outputs}
    parameters = graph.of_kind(Kind.PARAMETER)
    states = {p: [builder.input(f"{p.name}.{s}", p.type, Kind.STATE) for s in optimizer.states] for p in parameters}
    for p in sorted(parameters, key=lambda p: made[f"d.{p.name}"]):
        with builder.scope(layer_of(p.name), Phase.UPDATE):
            new: tuple[Any, ...] = optimizer.apply(builder, p, graph.values[f"d.{p.name}"], states[p])
        for old, value in zip((p, *states[p]), new, strict=True):
            builder.update(old, value)
            names[value.name] = f"{old.name}.new"
    whole = builder.graph()
    return rename(_ordered(whole) if any(n.phase is Phase.UPDATE for n in model) else whole, names)


def _ordered(graph: Graph) -> Graph:
    """Nodes phase after phase, those of the update layer after layer, as backward comes to them."""
    phases, layers = list(Phase), {layer: k for k, layer in enumerate(graph.layers(Phase.BACKWARD))}

    def place(n: Node) -> tuple[int, int]:
        return phases.index(n.phase), layers.get(n.layer, len(layers)) if n.phase is Phase.UPDATE else 0

    nodes = tuple(sorted(graph.nodes, key=place))
    return Graph(name=graph.name, inputs=graph.inputs, nodes=nodes, outputs=graph.outputs, updates=graph.updates)
