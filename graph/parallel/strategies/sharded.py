"""A plan of ranks that hold parts of layers: what `hybrid` and `model` have in common.

The graph of a rank (`graph.parallel.shard`) names the exchanges; here each gets its buffer, its collective, and its place in the
program.
"""

from collections.abc import Mapping, Sequence

from graph.autodiff import layer_of, training_graph
from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Node, Phase
from graph.ops.exchange import PARTS, TURNS, rounds_of
from graph.optimizer import Optimizer
from graph.parallel.cut import (
    Bucket,
    accumulation_of,
    buckets_of,
    buffers_of,
    data_buffer,
    finished_by,
    holders,
    input_task,
    named,
    segments_of,
    statistics_buffer,
    task_of,
    updates_of,
)
from graph.parallel.plan import Buffer, Exchange, Plan, Role, Shard
from graph.parallel.programs.data_parallel import Task
from graph.parallel.programs.sharded import Item, Remote, Work
from graph.parallel.shard import Sharded

GATHER, SCATTER = "gather_rows", "scatter_rows"


def sharded_plan(
    cut: Sharded,
    optimizer: Optimizer,
    *,
    axis: str,
    batch_along: tuple[str, ...],
    ranks: int,
    steps: int,
    bucket_bytes: int = 1 << 62,
    micro_batches: int = 1,
    collective: str = "ring",
    scheme: str = "whole",
    updates_rounds: bool = False,
    input_slots: int = 1,
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along one axis.

    Parameters
    ----------
    cut : a rank's forward graph.
    optimizer : what makes the steps.
    axis : of the ranks.
    batch_along : as of `Role`.
    ranks, steps, bucket_bytes, micro_batches, collective, input_slots : as of `data_parallel`; the collective sums the gradients
        of the layers that are not cut.
    scheme : how rows are exchanged between those and the cut layers.
    updates_rounds : cut layers are updated after each round, not after the last one with the sum of all.
    """
    graph = training_graph(cut.graph, optimizer)
    segments, rounds = segments_of(graph), rounds_of(scheme, ranks)
    along = (axis,) if ranks > 1 else ()
    of = {p.name: layer_of(p.name) for p in graph.of_kind(Kind.PARAMETER)}
    own, alike = {of[p] for p in of if p in cut.axes}, {of[p] for p in cut.copied}
    outer = buckets_of(graph, segments, bucket_bytes, layers={*of.values()} - own - alike)
    shared = buckets_of(graph, segments, bucket_bytes, layers=own, prefix="f")
    copied = buckets_of(graph, segments, bucket_bytes, layers=alike, prefix="c")
    is_summed = micro_batches * rounds > 1 and not updates_rounds
    buffers = {
        **data_buffer(graph, input_slots),
        **_exchange_buffers(graph, segments, cut.border, 2 if rounds > 1 else 1),
        **buffers_of(graph, outer, is_summed=micro_batches > 1),
        **buffers_of(graph, shared, is_summed=is_summed, sharded=along),
        **buffers_of(graph, copied, is_summed=is_summed, copies=along),
        **statistics_buffer(graph, along),
    }
    buckets = [*outer, *shared, *copied]
    at_once = frozenset(b.name for b in (*shared, *copied) if updates_rounds)
    updates = updates_of(graph, [*shared, *copied, *outer])
    params = {
        "steps": steps,
        "micro_batches": micro_batches,
        "rounds": rounds,
        "work": _work(graph, segments, updates, buffers, buckets, cut, at_once),
        "collective": collective,
        "summed": tuple(b.name for b in outer),
        "along": along,
    }
    return Plan(
        (
            Role(
                name="worker",
                program="sharded",
                params=params,
                axes={axis: ranks},
                buffers=buffers,
                graph=graph,
                segments=named(segments, updates),
                batch_along=batch_along,
                sample_parts=ranks if scheme == PARTS else 1,  # what a round gathers stands together in the step
                shards=_shards(cut, optimizer, along),
                loss="copy" if along else "share",
            ),
        )
    )


def _shards(cut: Sharded, optimizer: Optimizer, along: tuple[str, ...]) -> dict[str, Shard]:
    """Of every parameter and state that ranks hold in parts."""
    parameters = {v.name for v in cut.graph.of_kind(Kind.PARAMETER)}
    found: dict[str, Shard] = {}
    for name, axis in cut.axes.items():
        found[name] = Shard(axis=axis, along=along)
        for state in optimizer.states if name in parameters else ():
            found[f"{name}.{state}"] = found[name]
    return found


def _exchange_of(graph: Graph, nodes: Sequence[str]) -> Node | None:
    """The exchange of a segment, where it has one."""
    return next((graph.node[n] for n in nodes if graph.node[n].op.name in (GATHER, SCATTER)), None)


def _is_remote(n: Node) -> bool:
    """Whether an exchange has a remote half: what every rank has alike is taken apart without one."""
    return n.op.name == GATHER or not n.attrs["same"]


def _buffer_name(layer: str, n: Node) -> str:
    return f"{'x' if n.phase is Phase.FORWARD else 'd'}.{layer}"


def _exchange_buffers(
    graph: Graph, segments: Mapping[str, Sequence[str]], border: frozenset[str], slots: int
) -> dict[str, Buffer]:
    """A buffer for each gathered value; that of a layer of the border has so many slots."""
    found: dict[str, Buffer] = {}
    for segment, nodes in segments.items():
        n = _exchange_of(graph, nodes)
        if n is None or not _is_remote(n):
            continue
        layer = segment.split("/", 1)[1]
        value = n.outputs[0].name if n.op.name == GATHER else _summed(graph, n)
        t, kind = graph.type_of(value), Exchange.GATHER if n.op.name == GATHER else Exchange.SUM
        held = slots if layer in border else 1
        made = Buffer(size=t.size, itemsize=t.dtype.itemsize, slots=held, exchange=kind, values=(value,))
        found[_buffer_name(layer, n)] = made
    return found


def _summed(graph: Graph, scatter: Node) -> str:
    """The value that is summed in place before `scatter`, not a view of it; refuses one that others read as it was before."""
    value, reader = scatter.inputs[0], scatter
    while True:
        if [c.name for c in graph.consumers[value]] != [reader.name] or value in graph.outputs.values():
            raise InvalidPlan(
                f"{value!r} of {graph.name!r} is summed over ranks for {scatter.name!r}, and yet somebody else reads it"
            )
        if not graph.producer[value].op.is_view:
            return value
        reader = graph.producer[value]
        value = reader.inputs[0]


def _work(
    graph: Graph,
    segments: Mapping[str, Sequence[str]],
    updates: Mapping[str, Sequence[str]],
    buffers: Mapping[str, Buffer],
    buckets: Sequence[Bucket],
    cut: Sharded,
    at_once: frozenset[str],
) -> Work:
    """Every segment in its place; the buckets `at_once` are renewed after each round."""
    holder = holders(graph, buffers)
    places: dict[str, list[Item]] = {name: [] for name in ("forward", "put", "inner", "take", "backward")}
    for segment, nodes in segments.items():
        phase, layer = segment.split("/", 1)
        task, n = task_of(graph, segment, nodes, holder), _exchange_of(graph, nodes)
        place = "inner" if layer in cut.inner else phase
        if layer in cut.border:
            place = "put" if phase == "forward" else "take"
        remote = () if n is None or not _is_remote(n) else (_remote(layer, n, layer in cut.border),)
        if n is not None and n.op.name == SCATTER:  # the sum first, whose end the next round need not wait for
            places["inner"] += remote
            places[place].append(task)
        else:
            places[place] += [task, *remote]
    renewed = {b: task_of(graph, f"update/{b}", nodes, holder) for b, nodes in updates.items()}
    load = input_task(buffers)
    if load is None:
        raise InvalidPlan(f"{graph.name!r} reads no data")
    return Work(
        input=load,
        forward=_tasks(places["forward"]),
        put=tuple(places["put"]),
        inner=tuple(places["inner"]),
        take=tuple(places["take"]),
        backward=_tasks(places["backward"]),
        accumulate=tuple(accumulation_of(b) for b in buckets if f"p.{b.name}" in buffers),
        round_update=tuple(renewed[b] for b in renewed if b in at_once),
        update=tuple(renewed[b] for b in renewed if b not in at_once),
        finished=finished_by(graph, buckets, segments),
    )


def _tasks(items: Sequence[Item]) -> tuple[Task, ...]:
    return tuple(i for i in items if isinstance(i, Task))


def _remote(layer: str, n: Node, is_border: bool) -> Remote:
    """The collective that completes an exchange."""
    is_turn = n.attrs["scheme"] == TURNS
    if n.op.name == GATHER:
        what, algorithm, on = "gather", "broadcast" if is_turn else "all_gather", "rows"
    else:
        what, algorithm, on = "scatter", "reduce" if is_turn else "reduce_scatter", "gradients"
    return Remote(what=what, of=layer, algorithm=algorithm, buffer=_buffer_name(layer, n), on=on if is_border else "columns")
