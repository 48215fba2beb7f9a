"""Data parallelism from a training graph: layers become segments, parameters become buckets.

Buckets are filled with whole layers in the order in which backward finishes them, and closed when they hold enough bytes, so
that the first can be summed over the workers while backward goes on (Li et al., "PyTorch Distributed", VLDB 2020, section 3.2).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Node, Phase
from graph.op import Work
from graph.optimizer import Optimizer
from graph.parallel.algorithm import COLLECTIVES, Operation
from graph.parallel.plan import Buffer, BufferKind, Plan, Role
from graph.parallel.programs.data_parallel import Task
from graph.record import record

ALIGN = 64  # bytes: values in the data buffer begin at multiples of it


@record
class Bucket:
    """Parameters that are summed and updated together.

    Parameters
    ----------
    name : ``"b0"`` finishes first.
    layers : in the order in which backward finishes them.
    parameters, gradients, states : value names; the first two pairwise, states in the order of their parameters.
    size : elements of the parameters.
    """

    name: str
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    gradients: tuple[str, ...]
    states: tuple[str, ...]
    size: int


def build(model: Graph, optimizer: Optimizer, **options: Any) -> Plan:
    """`data_parallel` of the training graph of a model: one micro-batch of one rank."""
    return data_parallel(training_graph(model, optimizer), **options)


def data_parallel(
    graph: Graph,
    *,
    ranks: int,
    steps: int,
    bucket_bytes: int,
    micro_batches: int = 1,
    collective: str = "ring",
    input_slots: int = 1,
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``dp``.

    Parameters
    ----------
    graph : training graph of one micro-batch of one rank: its batch is the global batch / (ranks x micro_batches).
    ranks : workers.
    steps : training steps.
    bucket_bytes : a bucket is closed when its gradients hold at least so many bytes.
    micro_batches : per rank and step; their gradients are added in order.
    collective : all-reduce algorithm.
    input_slots : mini-batches that the data buffer holds at once; 2 lets the next one be loaded during a step.

    Raises
    ------
    InvalidPlan : a number is out of range, the collective does not sum or cannot be played by so many ranks, or the graph is no
        training graph that can be cut into segments by layer.
    """
    numbers = {
        "ranks": ranks,
        "steps": steps,
        "bucket_bytes": bucket_bytes,
        "micro_batches": micro_batches,
        "input_slots": input_slots,
    }
    for name, number in numbers.items():
        if not isinstance(number, int) or number < 1:
            raise InvalidPlan(f"data_parallel takes a whole number {name} >= 1, got {number!r}")
    _check_collective(collective, ranks)
    segments = _segments(graph)
    buckets = _buckets(graph, segments, bucket_bytes)
    buffers = _buffers(graph, buckets, micro_batches, input_slots)
    holder = {v: name for name, b in buffers.items() if not name.startswith("p.") for v in b.values}
    for old, new in graph.updates.items():  # after the step it lies where the old one lay
        if old not in holder:
            raise InvalidPlan(f"graph {graph.name!r} renews {old!r} in every step, which is neither a parameter nor state")
        holder[new] = holder[old]
    for n in graph.nodes:
        if n.op.is_view and n.inputs[0] in holder:
            holder[n.outputs[0].name] = holder[n.inputs[0]]
    tasks = {s: _task(graph, s, nodes, holder) for s, nodes in segments.items()}
    bucket_of = {layer: b.name for b in buckets for layer in b.layers}
    updates: dict[str, list[str]] = {b.name: [] for b in buckets}
    for n in graph.nodes:
        if n.phase is Phase.UPDATE:
            if n.layer not in bucket_of:
                raise InvalidPlan(f"update node {n.name!r} belongs to layer {n.layer!r}, which has no parameters")
            updates[bucket_of[n.layer]].append(n.name)
    params = {
        "steps": steps,
        "micro_batches": micro_batches,
        "input": Task(what="input", of="", work=Work(bytes_read=_held(graph), bytes_written=_held(graph)), writes=("data",)),
        "forward": tuple(tasks[s] for s in segments if s.startswith("forward/")),
        "backward": tuple(tasks[s] for s in segments if s.startswith("backward/")),
        "accumulate": tuple(map(_accumulation, buckets)) if micro_batches > 1 else (),
        "update": tuple(_task(graph, f"update/{b}", nodes, holder) for b, nodes in updates.items()),
        "finished": _finished(graph, buckets, segments),
        "collective": collective,
        "along": ("dp",) if ranks > 1 else (),
    }
    named = {
        **{s: tuple(nodes) for s, nodes in segments.items()},
        **{f"update/{b}": tuple(nodes) for b, nodes in updates.items()},
    }
    return Plan(
        (
            Role(
                name="worker",
                program="data_parallel",
                params=params,
                axes={"dp": ranks},
                buffers=buffers,
                graph=graph,
                segments=named,
            ),
        )
    )


def _check_collective(name: str, ranks: int) -> None:
    algorithm = COLLECTIVES[name]
    able = [n for n, a in COLLECTIVES.items() if a.operation is Operation.ALL_REDUCE and a.accepts(ranks)]
    if algorithm.operation is not Operation.ALL_REDUCE:
        raise InvalidPlan(
            f"data_parallel sums gradients everywhere, {name!r} does a {algorithm.operation}; use one of {', '.join(able)}"
        )
    if not algorithm.accepts(ranks):
        raise InvalidPlan(f"collective {name!r} cannot be played by {ranks} ranks; these can: {', '.join(able)}")


def _segments(graph: Graph) -> dict[str, list[str]]:
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


def _parameter_nodes(graph: Graph) -> dict[str, tuple[str, Node]]:
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


def _buckets(graph: Graph, segments: Mapping[str, Sequence[str]], bucket_bytes: int) -> list[Bucket]:
    """Layers with parameters, in the order in which backward finishes them, cut into buckets."""
    place = {n: k for k, nodes in enumerate(segments.values()) for n in nodes}
    nodes = _parameter_nodes(graph)
    members: dict[str, list[str]] = {}
    for p, (_, update) in nodes.items():
        members.setdefault(update.layer, []).append(p)
    done = {layer: max(place[graph.producer[nodes[p][0]].name] for p in ps) for layer, ps in members.items()}
    groups: list[list[str]] = [[]]
    for layer in sorted(members, key=done.__getitem__):
        if sum(graph.type_of(p).nbytes for m in groups[-1] for p in members[m]) >= bucket_bytes:
            groups.append([])
        groups[-1].append(layer)
    states = {v.name: graph.producer.get(graph.updates.get(v.name, "")) for v in graph.of_kind(Kind.STATE)}
    for s, node in states.items():
        if node is None or node.phase is not Phase.UPDATE or node.layer not in members:
            raise InvalidPlan(
                f"state {s!r} of graph {graph.name!r} must be renewed by a node of the update phase, in a layer with parameters"
            )
    buckets = []
    for k, layers in enumerate(groups):
        parameters = tuple(p for layer in layers for p in members[layer])
        kept = dict.fromkeys(s for p in parameters for s, node in states.items() if node is nodes[p][1])
        kept.update(
            dict.fromkeys(s for layer in layers for s, node in states.items() if node is not None and node.layer == layer)
        )
        buckets.append(
            Bucket(
                name=f"b{k}",
                layers=tuple(layers),
                parameters=parameters,
                gradients=tuple(nodes[p][0] for p in parameters),
                states=tuple(kept),
                size=sum(graph.type_of(p).size for p in parameters),
            )
        )
    return buckets


def _buffers(graph: Graph, buckets: Sequence[Bucket], micro_batches: int, input_slots: int) -> dict[str, Buffer]:
    """The worker's memory: the mini-batch, then parameters, gradients and state of each bucket."""
    data = tuple(v.name for v in graph.of_kind(Kind.DATA))
    buffers = {"data": Buffer(size=_held(graph), itemsize=1, kind=BufferKind.DATA, slots=input_slots, values=data)}
    for b in buckets:
        buffers[f"w.{b.name}"] = _packed(graph, b.parameters, BufferKind.PARAMETER)
        buffers[f"g.{b.name}"] = _packed(graph, b.gradients, BufferKind.GRADIENT)
        if micro_batches > 1:
            buffers[f"p.{b.name}"] = _packed(graph, b.gradients, BufferKind.GRADIENT)
        if b.states:
            buffers[f"s.{b.name}"] = _packed(graph, b.states, BufferKind.STATE)
    return buffers


def _packed(graph: Graph, values: tuple[str, ...], kind: BufferKind) -> Buffer:
    types = [graph.type_of(v) for v in values]
    if len({t.dtype for t in types}) > 1:
        raise InvalidPlan(
            f"a bucket holds one element type, got {', '.join(f'{v}: {t}' for v, t in zip(values, types, strict=True))}"
        )
    return Buffer(size=sum(t.size for t in types), itemsize=types[0].dtype.itemsize, kind=kind, values=values)


def _held(graph: Graph) -> int:
    """Bytes of one mini-batch, each value aligned."""
    return sum(v.type.nbytes + -v.type.nbytes % ALIGN for v in graph.of_kind(Kind.DATA))


def _task(graph: Graph, segment: str, nodes: Sequence[str], holder: Mapping[str, str]) -> Task:
    """What a segment does: its work, and every buffer that its nodes touch."""
    what, of = segment.split("/", 1)
    members = [graph.node[n] for n in nodes]
    read = dict.fromkeys(holder[v] for n in members for v in n.inputs if v in holder)
    written = dict.fromkeys(holder[v.name] for n in members if not n.op.is_view for v in n.outputs if v.name in holder)
    if what == "backward":  # it makes its gradients; what it reads of them it has just made, or an earlier layer has
        made = {v.name for n in members for v in n.outputs}
        read = dict.fromkeys(holder[v] for n in members for v in n.inputs if v in holder and v not in made)
    return Task(what=what, of=of, work=sum(map(graph.work, members), Work()), reads=tuple(read), writes=tuple(written))


def _accumulation(b: Bucket) -> Task:
    nbytes = 4 * b.size
    work = Work(flop=b.size, bytes_read=2 * nbytes, bytes_written=nbytes)
    return Task(what="accumulate", of=b.name, work=work, reads=(f"g.{b.name}", f"p.{b.name}"), writes=(f"g.{b.name}",))


def _finished(graph: Graph, buckets: Sequence[Bucket], segments: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Backward layer -> buckets whose last gradient it makes."""
    of = {n: s for s, nodes in segments.items() for n in nodes}
    order = list(segments)
    found: dict[str, list[str]] = {}
    for b in buckets:
        last = max((of[graph.producer[g].name] for g in b.gradients), key=order.index)
        found.setdefault(last.removeprefix("backward/"), []).append(b.name)
    return {layer: tuple(names) for layer, names in found.items()}
