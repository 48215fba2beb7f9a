"""`lower`: from a role's plan to kernel calls and an arena. The one place where fusion, algorithm and memory are decided.

Policy
------
* A kernel takes further operators into its epilogue and its prologue, as `hw.fusion` says.
* An operator that is a view (`Op.is_view`: flatten, reshape) costs nothing, since values are dense and in row-major order.
* The optimizer runs once a bucket, over contiguous parameters, when its attributes agree; other nodes of the segment, such as
  those that renew running statistics, run beside it.
* Memory: parameters, state and data have places of their own, and so has what waits in several slots to be taken up in a later
  step (`hw.lifetimes.is_kept`); gradient buckets and intermediates share bytes when they are ordered on every stream
  (`graph.passes.plan_memory`).
"""

from collections.abc import Mapping, Sequence

from graph.ir import Graph, Kind, Node, Phase
from graph.op import Work
from graph.parallel.plan import Buffer, Do, Plan
from graph.parallel.unroll import StepAction, unroll
from graph.passes.plan_memory import plan_memory
from graph.summary import MULTIPLY_ADD
from graph.tensor_type import DType, TensorType, f32
from hw.errors import HwError
from hw.fusion import Fused, call_of, fused, taken_over
from hw.kernels import record_for
from hw.kernels.record import Call, Platform
from hw.lifetimes import is_kept, lifetimes
from hw.lowered import STRIDE, ArenaLayout, Lowered

ALIGN = 64  # bytes: a cache line, and a full vector register


def lower(plan: Plan, role: str, platform: Platform, *, algorithms: Mapping[str, str] | None = None) -> Lowered:
    """Lower a role's plan to kernel calls.

    Parameters
    ----------
    plan : the plan.
    role : name of the role, which has the graph.
    platform : whose kernels.
    algorithms : operator -> algorithm to force; by default each operator's first one.

    Raises
    ------
    HwError : the role has no graph, a segment names an unknown node, or the platform has no kernel for an operator.
    """
    graph = plan.role[role].graph
    if graph is None:
        raise HwError(f"role {role!r} has no graph, so there is nothing to lower")
    views = _views(graph)
    actions = unroll(plan, plan.first_rank(role), expand=False)  # a collective holds its buffer as long as its parts
    dos: dict[str, Do] = {}
    for a in actions:
        if isinstance(a.ins, Do):
            dos.setdefault(a.ins.kernel, a.ins)
    buffers, segments = plan.role[role].buffers, dict[str, tuple[Call, ...]]()
    for name, nodes in plan.role[role].segments.items():
        part = _part_of_bucket(graph, buffers, [graph.node[n] for n in nodes if n in graph.node], dos.get(name), platform)
        segments[name] = (part,) if part else _segment(graph, buffers, name, nodes, platform, algorithms or {})
    for name, do in dos.items():
        if name not in segments:
            segments[name] = (_named(graph, buffers, do, platform),)
    layout = _layout(graph, plan, role, segments, actions, views)
    return Lowered(graph=graph, plan=plan, role=role, platform=platform, segments=segments, layout=layout)


def _views(graph: Graph) -> dict[str, str]:
    """Values without memory of their own: reshaped ones, and updated ones, which overwrite what they replace."""
    views = {n.outputs[0].name: n.inputs[0] for n in graph.nodes if n.op.is_view}
    for old, new in graph.updates.items():
        node = graph.producer[new]
        output = next(i for i, v in enumerate(node.outputs) if v.name == new)
        if node.op.aliases.get(output) is None or node.inputs[node.op.aliases[output]] != old:
            raise HwError(f"{new!r} replaces {old!r}, but {node.op.name} does not declare that it may overwrite it")
        if graph.consumers[old][-1] is not node:
            raise HwError(f"{old!r} is read by {graph.consumers[old][-1].name!r} after {node.name!r} overwrote it")
        views[new] = old
    return views


def _segment(
    graph: Graph,
    buffers: Mapping[str, Buffer],
    name: str,
    nodes: Sequence[str],
    platform: Platform,
    algorithms: Mapping[str, str],
) -> tuple[Call, ...]:
    for n in nodes:
        if n not in graph.node:
            raise HwError(f"segment {name!r} names node {n!r}, which graph {graph.name!r} does not have")
    members = [graph.node[n] for n in nodes]
    whole = _whole_buckets(graph, buffers, members, platform)
    place, done, parts = {n.name: k for k, n in enumerate(members)}, set[str](), list[Call | Fused]()
    for node in members:
        if node.name in done or node.op.is_view:
            continue
        if node.name in whole:
            done.add(node.name)
            if done.issuperset(whole[node.name].nodes):  # the last of them: whatever they read has been computed
                parts.append(whole[node.name])
            continue
        made = _part(graph, node, platform, algorithms.get(node.op.name), place)
        done.update(n.name for n in made.chain)
        parts.append(made)
    taken = taken_over(graph, [p for p in parts if isinstance(p, Fused)])
    return tuple(p if isinstance(p, Call) else call_of(graph, p) for p in parts if isinstance(p, Call) or p.anchor not in taken)


def _part(graph: Graph, node: Node, platform: Platform, algorithm: str | None, place: Mapping[str, int]) -> Fused:
    """A node with what its kernel takes in. An NFU computes on words alone; its processor does what is in floats."""
    part = fused(graph, node, record_for(node.op.name, platform, algorithm), place)
    if part.kernel.platform is not Platform.NFU or part.dtypes(graph) == {DType.I16}:
        return part
    if node.op.name in MULTIPLY_ADD:
        raise HwError(
            f"{node.name!r} of graph {graph.name!r} computes in floats, but an NFU multiplies fixed-point words: give the "
            f"scenario `numerics`, or the graph to graph.passes.fixed_point; training in fixed point is not built"
        )
    return fused(graph, node, record_for(node.op.name, Platform.CPU), place)


def _whole_buckets(graph: Graph, buffers: Mapping[str, Buffer], members: Sequence[Node], platform: Platform) -> dict[str, Call]:
    """Node -> the call that covers it and all others like it, where there is one."""
    alike: dict[object, list[Node]] = {}
    for n in members:
        if n.phase is Phase.UPDATE:
            alike.setdefault((n.op.name, tuple(sorted(n.attrs.items()))), []).append(n)
    calls = (_whole_bucket(graph, buffers, nodes, platform) for nodes in alike.values() if len(nodes) > 1)
    return {name: call for call in calls if call for name in call.nodes}


def _whole_bucket(graph: Graph, buffers: Mapping[str, Buffer], members: Sequence[Node], platform: Platform) -> Call | None:
    """One optimizer call over a bucket: possible when like nodes cover whole buffers whose values stand in the same order."""
    order = {v: k for b in buffers.values() if b.kind == "parameter" for k, v in enumerate(b.values)}
    members = sorted(members, key=lambda n: order.get(n.inputs[0], -1))
    held = {b.values for b in buffers.values()}
    if any(tuple(n.inputs[k] for n in members) not in held for k in range(len(members[0].inputs))):
        return None
    kernel = record_for(members[0].op.name, platform)
    size = sum(graph.type_of(n.inputs[0]).size for n in members)
    types: tuple[TensorType, ...] = (f32(size),) * len(members[0].inputs)
    return Call(
        kernel=kernel.name,
        nodes=tuple(n.name for n in members),
        fused=(),
        reads=members[0].inputs,
        writes=tuple(v.name for v in members[0].outputs),
        types=types,
        attrs=dict(members[0].attrs),
        work=sum((graph.work(n) for n in members), Work()),
        workspace=kernel.workspace(types, members[0].attrs),
        layer=members[0].layer,
        phase=Phase.UPDATE,
    )


def _part_of_bucket(
    graph: Graph, buffers: Mapping[str, Buffer], members: Sequence[Node], do: Do | None, platform: Platform
) -> Call | None:
    """One optimizer call over a part of a bucket, when the action or the rank's memory cuts one; None: nothing is cut.

    The call names buffers, not values: each stands for what the action names of it.
    """
    refs = {r.buffer: r for r in (*do.reads, *do.writes)} if do else {}
    if not members or not any(r.parts > 1 or buffers[b].is_cut for b, r in refs.items()):
        return None
    first = members[0]
    if first.phase is not Phase.UPDATE:
        return None
    order = {v: k for b in buffers.values() if b.kind == "parameter" for k, v in enumerate(b.values)}
    members = sorted(members, key=lambda n: order.get(n.inputs[0], -1))
    held = [next((b for b in refs if buffers[b].values == vs), None) for vs in zip(*(n.inputs for n in members), strict=False)]
    reads = tuple(b for b in held if b is not None)
    sizes = {buffers[b].size // refs[b].parts for b in reads}
    is_alike = all(n.op.name == first.op.name and n.attrs == first.attrs and n.phase is Phase.UPDATE for n in members)
    if not is_alike or None in held or len(sizes) != 1 or any(buffers[b].size % refs[b].parts for b in reads):
        raise HwError(
            f"segment {do.kernel if do else ''!r} works on a part of its buffers, so it has to be one optimizer step over all of "
            f"their values, in even parts; its nodes are {', '.join(n.op.name for n in members)}"
        )
    kernel = record_for(first.op.name, platform)
    types: tuple[TensorType, ...] = (f32(sizes.pop()),) * len(reads)
    return Call(
        kernel=kernel.name,
        nodes=tuple(n.name for n in members),
        fused=(),
        reads=reads,
        writes=tuple(reads[k] for _, k in sorted(first.op.aliases.items())),
        types=types,
        attrs=dict(first.attrs),
        work=first.op.work(types, first.attrs),
        workspace=kernel.workspace(types, first.attrs),
        layer=first.layer,
        phase=Phase.UPDATE,
    )


def _named(graph: Graph, buffers: Mapping[str, Buffer], do: Do, platform: Platform) -> Call:
    """A kernel that works on buffers: the input stage's copy, and the sum of micro-batches."""
    kernel = record_for(do.kernel.split("/")[0], platform)
    reads: tuple[str, ...]
    if do.kernel == "input":
        reads, writes = (), tuple(v for r in do.writes for v in buffers[r.buffer].values)
        types = tuple(graph.type_of(v) for v in writes)
        nbytes = sum(t.nbytes for t in types)
        work = Work(bytes_read=nbytes, bytes_written=nbytes)
    else:
        target = do.writes[0].buffer
        reads, writes = (target, *(r.buffer for r in do.reads if r.buffer != target)), (target,)
        types = (f32(buffers[target].size),) * len(reads)
        work = Work(flop=types[0].size, bytes_read=2 * types[0].nbytes, bytes_written=types[0].nbytes)
    return Call(
        kernel=kernel.name,
        nodes=(),
        fused=(),
        reads=reads,
        writes=writes,
        types=types,
        attrs={},
        work=work,
        workspace=kernel.workspace(types, {}),
        layer=str(do.id[2]) if len(do.id) > 2 else "",
        phase=Phase.FORWARD if do.kernel == "input" else Phase.BACKWARD,
    )


class _Arena:
    """Hands out aligned places one after the other."""

    def __init__(self) -> None:
        self.nbytes = 0

    def place(self, nbytes: int) -> int:
        at = self.nbytes
        self.nbytes = at + nbytes + (-nbytes % ALIGN)
        return at


def _layout(
    graph: Graph,
    plan: Plan,
    role: str,
    segments: Mapping[str, tuple[Call, ...]],
    actions: Sequence[StepAction],
    views: Mapping[str, str],
) -> ArenaLayout:
    arena, buffers = _Arena(), dict[tuple[str, int], int]()
    for name, b in plan.role[role].buffers.items():
        if is_kept(b):
            for slot in range(b.slots):
                buffers[name, slot] = arena.place(b.size * b.itemsize)
    micro_batches = 1 + max((a.ins.id[3] for a in actions if isinstance(a.ins, Do) and len(a.ins.id) > 3), default=0)
    loss = {graph.outputs["loss"]} if "loss" in graph.outputs else set[str]()
    counters = {v.name for v in graph.of_kind(Kind.COUNTER)}
    per_micro = frozenset(loss | (counters - {"step"}))
    values = {v: arena.place(STRIDE * micro_batches if v in per_micro else STRIDE) for v in sorted(counters | loss)}
    workspace_nbytes = max((c.workspace for calls in segments.values() for c in calls), default=0)
    workspace = arena.place(workspace_nbytes)

    lives = lifetimes(graph, plan, role, segments, actions, views, elsewhere=frozenset(values))
    shared = plan_memory(lives.sizes, lives.uses, lives.needs, align=ALIGN)
    start = arena.place(shared.nbytes)
    for name, at in shared.offsets.items():
        if name.startswith("buffer:"):
            buffer, number = name.removeprefix("buffer:").rsplit(":", 1)
            buffers[buffer, int(number)] = start + at
        else:
            values[name] = start + at
    return ArenaLayout(
        buffers=buffers,
        values=values,
        per_micro_batch=per_micro,
        views=dict(views),
        workspace=workspace,
        workspace_nbytes=workspace_nbytes,
        nbytes=arena.nbytes,
    )
