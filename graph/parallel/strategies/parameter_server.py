"""Synchronous parameter servers: those who keep parameters add up gradients and make the step, then hand the parameters out.

Three forms (Li et al., "Scaling distributed machine learning with the parameter server", OSDI 2014; the names in brackets are
those of MXNet's kvstore):

* on the devices (``device``, for big arrays): every rank serves an even part of every bucket;
* on hosts (``dist_sync``): every worker sends each bucket, cut evenly, to the servers, which add in the order of ranks, beginning
  in their own node: on one node bit for bit what one worker does with as many micro-batches;
* on hosts, two levels (``dist_device_sync``): the devices of a node add up first, each a part, and exchange that part with the
  servers that keep it.

Buckets are padded so that all parts are equal. Every bucket is cut over all servers, also a small one: let `bucket_bytes` see to
it that there are none. Running statistics stay with the workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graph.autodiff import training_graph
from graph.errors import InvalidPlan, nearest
from graph.ir import Graph, Input, Kind
from graph.optimizer import Optimizer
from graph.parallel.cut import (
    STATISTICS,
    Bucket,
    buckets_of,
    buffers_of,
    data_buffer,
    holders,
    named,
    passes_of,
    segments_of,
    statistics_buffer,
    task_of,
    updates_of,
    whole_numbers,
)
from graph.parallel.plan import Buffer, Plan, Role
from graph.parallel.programs.data_parallel import Task
from graph.parallel.strategies.server_layout import Layout, layout_of
from graph.tensor_type import f32

SERVERS = ("devices", "host")


def parameter_server(
    model: Graph,
    optimizer: Optimizer,
    *,
    ranks: int,
    steps: int,
    bucket_bytes: int,
    micro_batches: int = 1,
    servers: str = "devices",
    server_count: int | None = None,
    levels: int = 1,
    nodes: int = 1,
    input_slots: int = 1,
) -> Plan:
    """A plan with a role ``worker``, and with servers on hosts a role ``server``.

    Parameters
    ----------
    model : of one micro-batch of one rank: its batch is the global batch / (ranks x micro_batches).
    optimizer : keeps at most one state a parameter.
    ranks, steps, bucket_bytes, micro_batches, input_slots : as in `graph.parallel.strategies.data_parallel`.
    servers : ``"devices"``: every rank serves; ``"host"``: servers of their own, on the computers around the devices.
    server_count : of servers on hosts; by default one a node.
    levels : 2: the ranks of a node add up their gradients before they send them to the servers.
    nodes : over how many nodes the ranks are spread.

    Raises
    ------
    InvalidPlan : a number is out of range, or numbers that do not go together; the message says which would.
    """
    whole_numbers(
        "parameter_server", ranks=ranks, steps=steps, bucket_bytes=bucket_bytes, micro_batches=micro_batches, levels=levels,
        nodes=nodes, input_slots=input_slots, **({} if server_count is None else {"server_count": server_count}),
    )  # fmt: skip
    if servers not in SERVERS:
        raise InvalidPlan(
            f"parameter_server: servers are on {' or '.join(SERVERS)}, got {servers!r}; {nearest(servers, SERVERS)}"
        )
    layout = layout_of(ranks, nodes=nodes, on_hosts=servers == "host", server_count=server_count, levels=levels)
    made = _Parts(training_graph(model, optimizer), layout, bucket_bytes, micro_batches, input_slots)
    sums = {"along": layout.summed, "reduce": "direct_reduce_scatter", "gather": "direct_all_gather"}
    params = {"steps": steps, "micro_batches": micro_batches, "passes": made.passes, "renew": made.renew, **sums}
    return _served_by_hosts(made, params) if layout.servers else _served_by_workers(made, params)


class _Parts:
    """What plans of all forms are put together from.

    Attributes
    ----------
    passes : of a worker; `renew` : its running statistics.
    buffers : of one who computes and serves everything.
    segments : of the passes; `stepping` : of the optimizer.
    steppers : the optimizer's step on what one who serves keeps of each bucket, in the order in which they are complete.
    """

    def __init__(self, graph: Graph, layout: Layout, bucket_bytes: int, micro_batches: int, input_slots: int) -> None:
        self.graph, self.layout = graph, layout
        segments = segments_of(graph)
        buckets = buckets_of(graph, segments, bucket_bytes)
        packed = buffers_of(graph, buckets, is_summed=micro_batches > 1)
        self.buffers = {
            **data_buffer(graph, input_slots),
            **{name: replace(b, size=b.size + -b.size % layout.pieces) for name, b in packed.items()},
            **statistics_buffer(graph, tuple(layout.workers)),
        }
        holder, updates = holders(graph, self.buffers), updates_of(graph, buckets)
        statistics = {STATISTICS: updates.pop(STATISTICS)} if STATISTICS in updates else {}
        self.passes = passes_of(graph, segments, buckets, self.buffers, holder, is_summed=micro_batches > 1)
        self.renew = tuple(task_of(graph, f"update/{s}", nodes, holder) for s, nodes in statistics.items())
        order = [b for t in self.passes.backward for b in self.passes.finished.get(t.of, ())]
        self.segments = named(segments, statistics)
        self.stepping = {f"update/{b}": tuple(updates[b]) for b in order}
        size = {b.name: self.buffers[f"w.{b.name}"].size // layout.cut for b in buckets}
        steppers = {b.name: _step(graph, b, updates[b.name], holder, size[b.name]) for b in buckets}
        self.steppers = tuple(steppers[b] for b in order)

    def kept(self, prefixes: tuple[str, ...], along: Mapping[str, int]) -> dict[str, Buffer]:
        """What one who serves along these axes keeps of these buffers of the buckets."""
        n, axes = self.layout.cut, tuple(along)
        found = {name: b for name, b in self.buffers.items() if name.startswith(prefixes)}
        return {k: replace(b, size=b.size // n, sharded=axes, is_cut=True) if n > 1 else b for k, b in found.items()}


def _served_by_workers(made: _Parts, params: Mapping[str, Any]) -> Plan:
    """Every worker has whole parameters and gradients, and its part of the state."""
    worker = Role(
        name="worker",
        program="device_server",
        params={**params, "update": made.steppers},
        axes=made.layout.workers,
        buffers={**made.buffers, **made.kept(("s.",), made.layout.workers)},
        graph=made.graph,
        segments={**made.segments, **made.stepping},
    )
    return Plan((worker,))


def _served_by_hosts(made: _Parts, params: Mapping[str, Any]) -> Plan:
    """Workers have no state, servers their part of parameters, gradients and state."""
    nodes, layout = [n for names in made.stepping.values() for n in names], made.layout
    worker = Role(
        name="worker",
        program="synchronous_worker",
        params={**params, "shares": layout.of_worker},
        axes=layout.workers,
        buffers={name: b for name, b in made.buffers.items() if not name.startswith("s.")},
        graph=_without(made.graph, nodes),
        segments=made.segments,
        is_turned=layout.is_turned,
    )
    server = Role(
        name="server",
        program="synchronous_server",
        params={"steps": params["steps"], "update": made.steppers, "shares": layout.of_server},
        axes=layout.servers,
        buffers=made.kept(("w.", "g.", "s."), layout.servers),
        graph=_only(made.graph, nodes),
        segments=made.stepping,
        places={"compute": "host"},
        batch_along=(),
        loss="none",
    )
    return Plan((worker, server))


def _step(graph: Graph, b: Bucket, nodes: Sequence[str], holder: Mapping[str, str], size: int) -> Task:
    """The optimizer's step on so many elements of a bucket."""
    if len(b.states) not in (0, len(b.parameters)):
        raise InvalidPlan(
            f"parameter_server cuts the optimizer's state like the parameters, so there may be at most one state a parameter; "
            f"here {len(b.parameters)} parameters have {', '.join(b.states)}; use data_parallel"
        )
    node = graph.node[nodes[0]]
    work = node.op.work((f32(size),) * len(node.inputs), node.attrs)
    return replace(task_of(graph, f"update/{b.name}", nodes, holder), work=work)


def _without(graph: Graph, nodes: Sequence[str]) -> Graph:
    """What is left for a worker when others make these steps."""
    gone = {v.name for n in nodes for v in graph.node[n].outputs}
    updates = {old: new for old, new in graph.updates.items() if new not in gone}
    given = {old for old, new in graph.updates.items() if new in gone}
    return Graph(
        name=graph.name,
        inputs=tuple(i for i in graph.inputs if i.kind is not Kind.STATE or i.value.name not in given),
        nodes=tuple(n for n in graph.nodes if n.name not in set(nodes)),
        outputs=graph.outputs,
        updates=updates,
    )


def _only(graph: Graph, nodes: Sequence[str]) -> Graph:
    """These steps alone: gradients are given to them."""
    members = [graph.node[n] for n in nodes]
    made = {v.name for n in members for v in n.outputs}
    kinds = {i.value.name: i.kind for i in graph.inputs}
    reads = dict.fromkeys(v for n in members for v in n.inputs)
    return Graph(
        name=f"{graph.name}.server",
        inputs=tuple(Input(value=graph.values[v], kind=kinds.get(v, Kind.DATA)) for v in reads),
        nodes=tuple(members),
        outputs={},
        updates={old: new for old, new in graph.updates.items() if new in made},
    )
