"""What a rank holds when a plan is played with numbers, and what its kernels do to it. See `graph.parallel.spmd`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Node
from graph.op import Array
from graph.ops.exchange import half
from graph.parallel.instruction import Do, Rank, Ref
from graph.parallel.plan import Buffer, BufferKind, Plan, Role
from graph.parallel.shard import GATHERED_SAMPLE
from graph.parallel.unroll import instructions

Arrays = Mapping[str, Array]
EXCHANGES = ("gather_rows", "scatter_rows")


class Memory:
    """What a rank holds, and what its kernels do to it.

    Parameters
    ----------
    plan, rank : whose memory.
    batches : of each step, by name, whole.
    dtype : of floats.

    Attributes
    ----------
    slots : (buffer, slot) -> its elements; what the data buffer holds is in `data`, by value.
    own : values in no buffer.
    losses : of each step, as the rank computes it.
    logits : as the rank computes them, one micro-batch after another.
    """

    def __init__(self, plan: Plan, rank: Rank, batches: Sequence[Arrays], dtype: Any) -> None:
        self.plan, self.rank, self.batches, self.dtype = plan, rank, batches, dtype
        self.role: Role = plan.role[rank.role]
        if self.role.graph is None:
            raise InvalidPlan(f"role {rank.role!r} has no graph, so there is nothing to compute")
        self.graph: Graph = self.role.graph
        self.slots: dict[tuple[str, int], Array] = {}
        self.data: dict[tuple[str, int], Array] = {}  # value of the data buffer, slot
        self.own: dict[str, Array] = {}
        self.losses, self.logits = np.zeros(len(batches)), list[Array]()
        self.roots = {n.outputs[0].name: n.inputs[0] for n in self.graph.nodes if n.op.is_view}
        self.roots.update((new, old) for old, new in self.graph.updates.items())
        self.held = {name: held_by(b, self.graph) for name, b in self.role.buffers.items()}
        self.shared = {v for held in self.held.values() for v in held}
        for name, b in self.role.buffers.items():
            for slot in range(b.slots):
                self.slots[name, slot] = np.zeros(b.size if b.kind != BufferKind.DATA else 0, self._element(b))
        dos = [i for i in instructions(plan, rank) if isinstance(i, Do)]
        self.rounds = 1 + max((do.id[3] for do in dos if len(do.id) > 3), default=0)
        self.micro_batches = max(sum(do.kernel == "input" for do in dos), 1)

    def _element(self, b: Buffer) -> Any:
        t = self.graph.type_of(b.values[0]).dtype if b.values else None
        return self.dtype if t is None or t.is_float else t.numpy

    # --- parameters and state

    def fill(self, values: Arrays) -> None:
        """Parameters and state to begin with."""
        for name, b in self.role.buffers.items():
            if b.kind not in (BufferKind.PARAMETER, BufferKind.STATE) or not b.values:
                continue
            flat = np.concatenate([self.mine(v, values[v]).reshape(-1) for v in b.values]).astype(self.dtype)
            i, n = self.plan.index(self.rank, b.sharded) if b.is_cut else (0, 1)
            flat = np.concatenate([flat, np.zeros(b.size * n - flat.size, self.dtype)])
            self.slots[name, 0][...] = flat[i * b.size : (i + 1) * b.size]

    def mine(self, value: str, whole: Array) -> Array:
        """What the rank holds of a parameter or state."""
        shard, t = self.role.shards.get(value), self.graph.type_of(value)
        part = whole
        if shard is not None:
            i, n = self.plan.index(self.rank, shard.along)
            size = whole.shape[shard.axis] // n
            part = whole[(*[slice(None)] * shard.axis, slice(i * size, (i + 1) * size))]
        if part.shape != t.shape:
            raise InvalidPlan(f"{self.rank} holds {t} of {value!r}, its part of the whole has shape {part.shape}")
        return part

    def persistent(self) -> dict[str, Array]:
        """Parameters and state that it holds."""
        found: dict[str, Array] = {}
        for name, b in self.role.buffers.items():
            if b.kind in (BufferKind.PARAMETER, BufferKind.STATE):
                found.update(
                    (v, self.slots[name, 0][at].reshape(self.graph.type_of(v).shape)) for v, at in self.held[name].items()
                )
        return {v: a.copy() for v, a in found.items()}

    # --- values

    def part(self, ref: Ref) -> Array:
        """A view of what a `Ref` means."""
        name, slot, _, _ = self.plan.key(self.rank, ref)
        first, size = self.plan.extent(self.rank, ref)
        return self.slots[name, slot][first : first + size]

    def place(self, do: Do, value: str) -> Array | None:
        """A view of a value in a buffer that an action names; None: it is the rank's own. A view lies where its operand lies."""
        root = value
        while root in self.roots:
            root = self.roots[root]
        for ref in (*do.writes, *do.reads):
            if root in self.held[ref.buffer]:
                slot = self.plan.key(self.rank, ref)[1]
                if self.role.buffers[ref.buffer].kind == BufferKind.DATA:
                    return self.data[root, slot]
                return self.slots[ref.buffer, slot][self.held[ref.buffer][root]]
        if root in self.shared:
            raise InvalidPlan(f"{self.rank}:{'/'.join(map(str, do.id))} touches {value!r}, which lies in no buffer that it names")
        return self.own.get(root)

    def get(self, do: Do, value: str) -> Array:
        """A value, as an action finds it."""
        found = self.place(do, value)
        if found is None:
            raise InvalidPlan(f"{self.rank}:{'/'.join(map(str, do.id))} reads {value!r}, which nobody made")
        return found.reshape(self.graph.type_of(value).shape)

    def put(self, do: Do, value: str, array: Array) -> None:
        """A value that an action made."""
        found = self.place(do, value) if value in self.shared or value in self.roots else None
        if found is None:
            self.own[value] = np.array(array)
        else:
            found[...] = np.asarray(array).reshape(found.shape)

    # --- kernels

    def do(self, do: Do) -> None:
        """A segment of the graph, or a kernel that works on buffers."""
        nodes = [self.graph.node[n] for n in self.role.segments.get(do.kernel, ())]
        if do.kernel == "input":
            self.load(do)
        elif do.kernel.startswith("accumulate/"):
            self.part(do.writes[0])[...] += sum(self.part(r) for r in do.reads if r != do.writes[0])
        elif do.kernel not in self.role.segments:
            raise InvalidPlan(f"{do.kernel!r} of {self.rank} is neither a segment nor a kernel on buffers")
        elif any(r.parts > 1 or self.role.buffers[r.buffer].is_cut for r in do.writes):
            self.step_part(do, nodes)
        else:
            self.count(do)
            for n in nodes:
                self.node(do, n)
        made, outputs = {v.name for n in nodes for v in n.outputs}, self.graph.outputs
        if outputs.get("loss") in made:
            self.losses[do.id[0]] += float(self.get(do, outputs["loss"]))
        if outputs.get("logits") in made:
            self.logits.append(self.get(do, outputs["logits"]).copy())

    def load(self, do: Do) -> None:
        """The rank's samples of a micro-batch."""
        ref = do.writes[0]
        i, n = self.plan.index(self.rank, self.role.sample_axes)
        m = do.id[2] // (self.rounds // self.micro_batches)
        for v in self.role.buffers[ref.buffer].values:
            whole, t = self.batches[do.id[0]][v], self.graph.type_of(v)
            size = len(whole) // (n * self.micro_batches)
            part = size // self.role.sample_parts
            first = (
                (m * self.role.sample_parts * n + i) * part if self.role.sample_parts > 1 else (i * self.micro_batches + m) * size
            )
            mine = np.concatenate([whole[first + p * n * part :][:part] for p in range(self.role.sample_parts)])
            if mine.shape != t.shape:
                raise InvalidPlan(
                    f"{self.rank} takes {t} of {v!r}, its part of a whole batch of {len(whole)} has shape {mine.shape}"
                )
            self.data[v, self.plan.key(self.rank, ref)[1]] = mine.astype(self.dtype if t.dtype.is_float else t.dtype.numpy)

    def count(self, do: Do) -> None:
        """Set the counters for an action."""
        k = do.id[3] if len(do.id) > 3 else 0
        batch = len(next(iter(self.batches[0].values())))
        i, n = self.plan.index(self.rank, self.role.sample_axes)
        first = {"step": do.id[0], "sample": (i * self.rounds + k) * batch // (n * self.rounds)}
        first[GATHERED_SAMPLE] = k * batch // self.rounds
        self.own.update((v.name, np.asarray(first[v.name], np.int64)) for v in self.graph.of_kind(Kind.COUNTER))

    def node(self, do: Do, n: Node) -> None:
        """One operator, but for views, which are found where their operand is."""
        if n.op.is_view:
            return
        if n.op.name in EXCHANGES:
            self.exchange(do, n)
            return
        made = n.op.reference([self.get(do, v) for v in n.inputs], n.attrs)
        for v, a in zip(n.outputs, made, strict=True):
            self.put(do, v.name, a)

    def exchange(self, do: Do, n: Node) -> None:
        """The local half of an exchange: this rank's rows to or from their place."""
        i, ranks = self.plan.index(self.rank, tuple(self.role.axes))
        is_gather, out = n.op.name == "gather_rows", n.outputs[0]
        x = self.get(do, n.inputs[0])
        rows = x.shape[0] if is_gather else out.type.shape[0]
        if out.name not in self.shared:
            self.own.setdefault(out.name, np.zeros(out.type.shape, x.dtype))
        h, y = half(str(n.attrs["scheme"]), ranks, rows, i, do.id[3]), self.get(do, out.name)
        if h is not None:
            mine, gathered = slice(h.mine, h.mine + h.count), slice(h.gathered, h.gathered + h.count)
            y[gathered if is_gather else mine] = x[mine if is_gather else gathered]

    def step_part(self, do: Do, nodes: Sequence[Node]) -> None:
        """The optimizer's step on a part of a bucket: like nodes, whose operands are buffers of which the action names a part."""
        first, refs = nodes[0], {r.buffer: r for r in (*do.reads, *do.writes)}
        order = {v: k for b in refs for k, v in enumerate(self.role.buffers[b].values)}
        like = sorted(nodes, key=lambda n: order[n.inputs[0]])
        operands = []
        for values in zip(*(n.inputs for n in like), strict=True):
            operands.append(next(refs[b] for b in refs if self.role.buffers[b].values == values))
        made = first.op.reference([self.part(r).copy() for r in operands], first.attrs)
        for k, a in enumerate(made):
            self.part(operands[first.op.aliases[k]])[...] = a


def held_by(b: Buffer, graph: Graph) -> dict[str, slice]:
    """Value that a buffer holds whole -> its elements in a slot."""
    found, at = dict[str, slice](), 0
    for v in () if b.is_cut else b.values:
        found[v] = slice(at, at + graph.type_of(v).size)
        at += graph.type_of(v).size
    return found
