"""What `hw.lower` makes: for each segment of a role's plan the kernel calls, and for each value its place in one arena.

`sim` prices the calls, `runtime` binds them to code; neither decides anything. Offsets are bytes from the start of the arena.
"""

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256

from graph.ir import Graph, Kind
from graph.op import Work
from graph.parallel.plan import Do, Plan, Rank
from graph.record import record
from hw.errors import HwError
from hw.kernels.record import Call, Platform

STRIDE = 64  # bytes between the places of a per-micro-batch value: a cache line
MICRO_BATCH = 3  # where the id of a forward or backward action, (step, what, layer, micro-batch), has its micro-batch


@record
class ArenaLayout:
    """Where everything lies.

    Parameters
    ----------
    buffers : (buffer name, slot) -> offset.
    values : private value (an intermediate, or a counter) -> offset.
    per_micro_batch : private values that have a place of their own, `STRIDE` bytes apart, for each micro-batch (or round of one):
        the counters of samples and the loss.
    views : value -> the value whose memory it is.
    workspace : offset of the scratch memory that all kernels of the compute stream share.
    workspace_nbytes : its size.
    nbytes : size of the arena.
    """

    buffers: Mapping[tuple[str, int], int]
    values: Mapping[str, int]
    per_micro_batch: frozenset[str]
    views: Mapping[str, str]
    workspace: int
    workspace_nbytes: int
    nbytes: int


class Lowered:
    """A role's plan on a platform: calls per segment, and the arena.

    Parameters
    ----------
    graph : the training graph of one micro-batch.
    plan : the plan.
    role : name of the role.
    platform : of the kernels.
    segments : kernel name of a `Do` -> its calls, in order. ``"input"`` and ``"accumulate/<bucket>"`` are calls without nodes.
    layout : the arena.
    """

    def __init__(
        self,
        *,
        graph: Graph,
        plan: Plan,
        role: str,
        platform: Platform,
        segments: Mapping[str, tuple[Call, ...]],
        layout: ArenaLayout,
    ) -> None:
        self.graph, self.plan, self.role, self.platform = graph, plan, role, platform
        self.segments, self.layout = dict(segments), layout

    @cached_property
    def hash(self) -> str:
        """Identity of plan, calls and layout."""
        places = (sorted(self.layout.buffers.items()), sorted(self.layout.values.items()))
        text = [self.plan.hash, self.platform.value, repr(places)]
        for name, calls in self.segments.items():
            text += [name, *(repr((c.kernel, c.nodes, c.reads, c.writes, sorted(c.attrs.items()), c.workspace)) for c in calls)]
        return sha256("\n".join(text).encode()).hexdigest()[:16]

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call, by segment in order."""
        return tuple(c for calls in self.segments.values() for c in calls)

    @cached_property
    def _held(self) -> dict[str, dict[str, int]]:
        """buffer -> value it holds whole -> offset in a slot. The data buffer aligns its values to 64 bytes, others pack them."""
        found: dict[str, dict[str, int]] = {}
        for name, b in self.plan.role[self.role].buffers.items():
            at, found[name] = 0, {}
            for v in () if b.is_cut else b.values:
                found[name][v] = at
                at += self.graph.type_of(v).nbytes
                at += -at % 64 if b.kind == "data" else 0
        return found

    def offset(self, do: Do, value: str, rank: Rank | None = None) -> int:
        """Where `value` lies for this action: in a buffer that the action names, or in the action's private memory.

        A buffer's own name stands for the beginning of what the action names of it: of a part that is counted from the rank's
        index it depends on the rank (by default the role's first).
        Raises `HwError` when the action touches a value that lies in a buffer it does not name.
        """
        v = value
        while v in self.layout.views:
            v = self.layout.views[v]
        if v in self.layout.values:
            return self.layout.values[v] + (STRIDE * do.id[MICRO_BATCH] if v in self.layout.per_micro_batch else 0)
        me = rank or self.plan.first_rank(self.role)
        for ref in (*do.writes, *do.reads):
            if v == ref.buffer or v in self._held[ref.buffer]:
                buffer, slot, _, _ = self.plan.key(me, ref)
                part = self.plan.extent(me, ref)[0] * self.plan.buffer(me, buffer).itemsize if v == buffer else 0
                return self.layout.buffers[buffer, slot] + part + self._held[buffer].get(v, 0)
        raise HwError(f"{'/'.join(map(str, do.id))} touches {value!r}, which lies in no buffer that it names")

    def work(self, segment: str) -> Work:
        """Work of a segment, as lowered."""
        return sum((c.work for c in self.segments[segment]), Work())

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of the counters that the player sets."""
        return tuple(v.name for v in self.graph.of_kind(Kind.COUNTER))
