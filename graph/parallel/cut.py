"""A training graph cut into what a program names: layers become segments, parameters buckets, and both become tasks and buffers.

What the strategies share. Buckets are filled with whole layers in the order in which backward finishes them, and closed when they
hold enough bytes (Li et al., "PyTorch Distributed", VLDB 2020, section 3.2).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Node, Phase
from graph.op import Work
from graph.parallel.plan import Buffer, BufferKind
from graph.parallel.programs.data_parallel import Passes, Task
from graph.record import record

ALIGN = 64  # bytes: values in the data buffer begin at multiples of it
STATISTICS = "statistics"
"""Buffer of the running statistics, and what the update that renews them is of."""


@record
class Bucket:
    """Parameters that are summed and updated together.

    Parameters
    ----------
    name : ``"b0"`` finishes first.
    layers : in the order in which backward finishes them.
    parameters, gradients, states : value names; the first two pairwise, the optimizer's states in the order of their parameters.
    size : elements of the parameters.
    """

    name: str
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    gradients: tuple[str, ...]
    states: tuple[str, ...]
    size: int


def segments_of(graph: Graph) -> dict[str, list[str]]:
    """Segment -> its nodes: forward, then backward, layers in the order of their first node. Refuses what cannot run so."""
    segments: dict[str, list[str]] = {}
    for phase in (Phase.FORWARD, Phase.BACKWARD):
        for layer in graph.layers(phase):
            segments[f"{phase.value}/{layer}"] = []
    for n in graph.nodes:
        if n.phase is not Phase.UPDATE:
            segments[f"{n.phase.value}/{n.layer}"].append(n.name)
    place = {n: k for k, nodes in enumerate(segments.values()) for n in nodes}
    for n in graph.nodes:
        for v in n.inputs:
            producer = graph.producer.get(v)
            if producer is not None and place.get(producer.name, -1) > place.get(n.name, len(segments)):
                raise InvalidPlan(
                    f"graph {graph.name!r} cannot be cut by layer: {n.name!r} of layer {n.layer!r} ({n.phase}) needs "
                    f"{producer.name!r} of layer {producer.layer!r} ({producer.phase}), which runs later; put both into one layer"
                )
    return segments


def running_statistics(graph: Graph) -> tuple[str, ...]:
    """States that no step of the optimizer renews, but the forward pass: they need no gradient."""
    found = []
    for v in graph.of_kind(Kind.STATE):
        node = graph.producer.get(graph.updates.get(v.name, ""))
        if node is not None and node.phase is Phase.UPDATE and not any(_is_made_backward(graph, x) for x in node.inputs):
            found.append(v.name)
    return tuple(found)


def _is_made_backward(graph: Graph, value: str) -> bool:
    return value in graph.producer and graph.producer[value].phase is Phase.BACKWARD


def parameter_nodes(graph: Graph) -> dict[str, tuple[str, Node]]:
    """Parameter -> (gradient value, node that updates it)."""
    found: dict[str, tuple[str, Node]] = {}
    for v in graph.of_kind(Kind.PARAMETER):
        gradient = graph.outputs.get(f"grad:{v.name}")
        new = graph.updates.get(v.name)
        if gradient is None or new is None or gradient not in graph.producer or new not in graph.producer:
            raise InvalidPlan(
                f"parameter {v.name!r} of graph {graph.name!r} needs a gradient (an output 'grad:{v.name}' that a node makes) "
                f"and an update; make the graph with graph.autodiff.training_graph"
            )
        if graph.producer[new].phase is not Phase.UPDATE:
            raise InvalidPlan(
                f"parameter {v.name!r} is updated by {graph.producer[new].name!r}, which is not in the update phase"
            )
        if graph.producer[gradient].phase is not Phase.BACKWARD:
            raise InvalidPlan(
                f"the gradient of {v.name!r} is made by {graph.producer[gradient].name!r}, which is not in the backward phase"
            )
        found[v.name] = gradient, graph.producer[new]
    if not found:
        raise InvalidPlan(f"graph {graph.name!r} has no parameters: there is nothing to train")
    return found


def buckets_of(
    graph: Graph,
    segments: Mapping[str, Sequence[str]],
    bucket_bytes: int,
    *,
    layers: Collection[str] | None = None,
    prefix: str = "b",
) -> list[Bucket]:
    """Layers with parameters, in the order in which backward finishes them, cut into buckets.

    Parameters
    ----------
    graph : training graph.
    segments : as `segments_of` makes them.
    bucket_bytes : a bucket is closed when it holds at least so many bytes.
    layers : only these; None: all.
    prefix : of the buckets' names, which are numbered.
    """
    place = {n: k for k, nodes in enumerate(segments.values()) for n in nodes}
    nodes = parameter_nodes(graph)
    members: dict[str, list[str]] = {}
    for p, (_, update) in nodes.items():
        members.setdefault(update.layer, []).append(p)
    done = {layer: max(place[graph.producer[nodes[p][0]].name] for p in ps) for layer, ps in members.items()}
    groups: list[list[str]] = [[]]
    for layer in sorted((m for m in members if layers is None or m in layers), key=done.__getitem__):
        if sum(graph.type_of(p).nbytes for m in groups[-1] for p in members[m]) >= bucket_bytes:
            groups.append([])
        groups[-1].append(layer)
    states = _states(graph, members)
    buckets = []
    for k, group in enumerate(g for g in groups if g):
        parameters = tuple(p for layer in group for p in members[layer])
        kept = dict.fromkeys(s for p in parameters for s, node in states.items() if node is nodes[p][1])
        kept.update(dict.fromkeys(s for layer in group for s, node in states.items() if node.layer == layer))
        buckets.append(
            Bucket(
                name=f"{prefix}{k}",
                layers=tuple(group),
                parameters=parameters,
                gradients=tuple(nodes[p][0] for p in parameters),
                states=tuple(kept),
                size=sum(graph.type_of(p).size for p in parameters),
            )
        )
    return buckets


def _states(graph: Graph, members: Collection[str]) -> dict[str, Node]:
    """State of the optimizer -> the node that renews it; `members` are the layers with parameters."""
    found: dict[str, Node] = {}
    for v in graph.of_kind(Kind.STATE):
        node = graph.producer.get(graph.updates.get(v.name, ""))
        if node is None or node.phase is not Phase.UPDATE or node.layer not in members:
            raise InvalidPlan(
                f"state {v.name!r} of graph {graph.name!r} must be renewed by a node of the update phase, "
                f"in a layer with parameters"
            )
        found[v.name] = node
    for s in running_statistics(graph):
        del found[s]
    return found


def data_buffer(graph: Graph, slots: int, values: Sequence[str] | None = None) -> dict[str, Buffer]:
    """The buffer ``data`` of a mini-batch (or of these values of it), each value aligned; none when there is nothing in it."""
    held = tuple(v.name for v in graph.of_kind(Kind.DATA)) if values is None else tuple(values)
    nbytes = sum(graph.type_of(v).nbytes + -graph.type_of(v).nbytes % ALIGN for v in held)
    return {"data": Buffer(size=nbytes, itemsize=1, kind=BufferKind.DATA, slots=slots, values=held)} if held else {}


def buffers_of(
    graph: Graph, buckets: Sequence[Bucket], *, is_summed: bool, sharded: tuple[str, ...] = (), copies: tuple[str, ...] = ()
) -> dict[str, Buffer]:
    """Parameters (``w.``), gradients (``g.``) and state (``s.``) of each bucket, and with `is_summed` room for the gradients of a
    further micro-batch (``p.``). Axes as of `Buffer`."""
    found: dict[str, Buffer] = {}
    for b in buckets:
        found[f"w.{b.name}"] = packed(graph, b.parameters, BufferKind.PARAMETER)
        found[f"g.{b.name}"] = packed(graph, b.gradients, BufferKind.GRADIENT)
        if is_summed:
            found[f"p.{b.name}"] = packed(graph, b.gradients, BufferKind.GRADIENT)
        if b.states:
            found[f"s.{b.name}"] = packed(graph, b.states, BufferKind.STATE)
    if not sharded and not copies:
        return found
    return {name: replace(b, sharded=sharded, copies=copies) for name, b in found.items()}


def statistics_buffer(graph: Graph, along: tuple[str, ...]) -> dict[str, Buffer]:
    """The buffer of the running statistics, where there are any; ranks along these axes have their own."""
    held = running_statistics(graph)
    return {STATISTICS: replace(packed(graph, held, BufferKind.STATE), sharded=along)} if held else {}


def holders(graph: Graph, buffers: Mapping[str, Buffer]) -> dict[str, str]:
    """Value -> the buffer that holds it: a new parameter lies where the old one lay, a view where its operand lies."""
    found = {v: name for name, b in buffers.items() if not name.startswith("p.") for v in b.values}
    for old, new in graph.updates.items():
        if old not in found:
            raise InvalidPlan(f"graph {graph.name!r} renews {old!r} in every step, which is neither a parameter nor state")
        found[new] = found[old]
    for n in graph.nodes:
        if n.op.is_view and n.inputs[0] in found:
            found[n.outputs[0].name] = found[n.inputs[0]]
    return found


def updates_of(graph: Graph, buckets: Sequence[Bucket]) -> dict[str, list[str]]:
    """What is renewed (running statistics first, where there are any, then each bucket) -> the nodes that do it."""
    bucket_of = {layer: b.name for b in buckets for layer in b.layers}
    renewing = {graph.producer[graph.updates[s]].name for s in running_statistics(graph)}
    found: dict[str, list[str]] = {**({STATISTICS: []} if renewing else {}), **{b.name: [] for b in buckets}}
    for n in graph.nodes:
        if n.phase is Phase.UPDATE:
            if n.layer not in bucket_of:
                raise InvalidPlan(f"update node {n.name!r} belongs to layer {n.layer!r}, which has no parameters")
            found[STATISTICS if n.name in renewing else bucket_of[n.layer]].append(n.name)
    return found


def packed(graph: Graph, values: tuple[str, ...], kind: BufferKind) -> Buffer:
    """A buffer of values one after the other; raises `InvalidPlan` when they are of several element types."""
    types = [graph.type_of(v) for v in values]
    if len({t.dtype for t in types}) > 1:
        raise InvalidPlan(
            f"a bucket holds one element type, got {', '.join(f'{v}: {t}' for v, t in zip(values, types, strict=True))}"
        )
    return Buffer(size=sum(t.size for t in types), itemsize=types[0].dtype.itemsize, kind=kind, values=values)


def input_task(buffers: Mapping[str, Buffer]) -> Task | None:
    """Loading a mini-batch into the data buffer; None when there is none."""
    if "data" not in buffers:
        return None
    nbytes = buffers["data"].size
    return Task(what="input", of="", work=Work(bytes_read=nbytes, bytes_written=nbytes), writes=("data",))


def task_of(graph: Graph, segment: str, nodes: Sequence[str], holder: Mapping[str, str]) -> Task:
    """What a segment does: its work, and every buffer that its nodes touch."""
    what, of = segment.split("/", 1)
    members = [graph.node[n] for n in nodes]
    read = dict.fromkeys(holder[v] for n in members for v in n.inputs if v in holder)
    written = dict.fromkeys(holder[v.name] for n in members if not n.op.is_view for v in n.outputs if v.name in holder)
    if what == "backward":  # it makes its gradients; what it reads of them it has just made, or an earlier layer has
        made = {v.name for n in members for v in n.outputs}
        read = dict.fromkeys(holder[v] for n in members for v in n.inputs if v in holder and v not in made)
    return Task(what=what, of=of, work=sum(map(graph.work, members), Work()), reads=tuple(read), writes=tuple(written))


def accumulation_of(b: Bucket) -> Task:
    """Adding a micro-batch's gradients of a bucket to those before."""
    nbytes = 4 * b.size
    work = Work(flop=b.size, bytes_read=2 * nbytes, bytes_written=nbytes)
    return Task(what="accumulate", of=b.name, work=work, reads=(f"g.{b.name}", f"p.{b.name}"), writes=(f"g.{b.name}",))


def passes_of(
    graph: Graph,
    segments: Mapping[str, Sequence[str]],
    buckets: Sequence[Bucket],
    buffers: Mapping[str, Buffer],
    holder: Mapping[str, str],
    *,
    is_summed: bool,
) -> Passes:
    """Forward and backward as programs take them; `is_summed` as of `buffers_of`."""
    tasks = {s: task_of(graph, s, nodes, holder) for s, nodes in segments.items()}
    return Passes(
        input=input_task(buffers),
        forward=tuple(t for t in tasks.values() if t.what == "forward"),
        backward=tuple(t for t in tasks.values() if t.what == "backward"),
        accumulate=tuple(map(accumulation_of, buckets)) if is_summed else (),
        finished=finished_by(graph, buckets, segments),
    )


def named(segments: Mapping[str, Sequence[str]], updates: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Segments as a `Role` has them: those of the passes, then what is renewed."""
    return {s: tuple(nodes) for s, nodes in {**segments, **{f"update/{b}": nodes for b, nodes in updates.items()}}.items()}


def whole_numbers(strategy: str, **numbers: object) -> None:
    """Raise `InvalidPlan` unless every number is a whole one >= 1."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise InvalidPlan(f"{strategy} takes a whole number {name} >= 1, got {number!r}")


def finished_by(graph: Graph, buckets: Sequence[Bucket], segments: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Backward layer -> buckets whose last gradient it makes."""
    of = {n: s for s, nodes in segments.items() for n in nodes}
    order = list(segments)
    found: dict[str, list[str]] = {}
    for b in buckets:
        last = max((of[graph.producer[g].name] for g in b.gradients), key=order.index)
        found.setdefault(last.removeprefix("backward/"), []).append(b.name)
    return {layer: tuple(names) for layer, names in found.items()}
