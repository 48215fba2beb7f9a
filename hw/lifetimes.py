"""Lifetimes: which calls and transfers of a step touch which value, and in what order these come. `hw.lower` packs by them.

A step of several micro-batches runs the same segments again and again, one after another on one stream. A value that each
micro-batch writes before it reads it is dead in between, however often it comes back. So its life is that of one micro-batch, the
last; and whatever else is touched during any micro-batch counts as alive throughout the last one, which is never too short.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from graph.ir import Graph
from graph.parallel.plan import Do, Plan
from graph.parallel.unroll import StepAction
from graph.record import record
from hw.kernels.record import Call
from hw.lowered import MICRO_BATCH

COMPUTE = "compute"  # the stream of a role's segments


@record
class Lifetimes:
    """What `graph.passes.plan_memory` asks for.

    Parameters
    ----------
    sizes : value, or ``"buffer:<name>:<slot>"`` -> bytes.
    uses : the same -> users that touch it.
    needs : of each user, the earlier ones that must have ended before it begins.
    """

    sizes: Mapping[str, int]
    uses: Mapping[str, tuple[int, ...]]
    needs: Sequence[tuple[int, ...]]


def buffer_slot(name: str, slot: int) -> str:
    """What a slot of a buffer is called here."""
    return f"buffer:{name}:{slot}"


def lifetimes(
    graph: Graph,
    plan: Plan,
    role: str,
    segments: Mapping[str, tuple[Call, ...]],
    actions: Sequence[StepAction],
    views: Mapping[str, str],
    *,
    elsewhere: frozenset[str],
    persistent: frozenset[str],
) -> Lifetimes:
    """Sizes and uses of what may share memory, and the order of its users.

    Parameters
    ----------
    graph, plan, role, segments : what is lowered.
    actions : one step of the role, unrolled.
    views : value -> the value whose memory it is.
    elsewhere : values that have places already.
    persistent : kinds of buffers that have places of their own.
    """
    found = _Uses(graph, plan, role, views, elsewhere, persistent)
    for a in (a for a in actions if a.is_leaf):
        found.action(a, segments[a.ins.kernel] if isinstance(a.ins, Do) else ())
    found.one_micro_batch()
    found.end()
    return Lifetimes(sizes=found.sizes, uses={v: tuple(dict.fromkeys(u)) for v, u in found.uses.items()}, needs=found.needs)


class _Uses:
    """Grows, action by action."""

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        role: str,
        views: Mapping[str, str],
        elsewhere: frozenset[str],
        persistent: frozenset[str],
    ) -> None:
        self.graph, self.plan, self.views, self.persistent = graph, plan, views, persistent
        self.me, self.buffers = plan.first_rank(role), plan.role[role].buffers
        self.placed = {v for b in self.buffers.values() for v in b.values} | set(self.buffers) | elsewhere
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, list[int]] = {}
        self.needs: list[tuple[int, ...]] = []
        self.last: dict[int, int] = {}  # action -> its last user
        self.kernels: dict[int, str] = {}  # user -> the segment it belongs to
        self.micro_batch: dict[int, int] = {}  # user -> its micro-batch
        self.written: set[tuple[str, int]] = set()  # (value, micro-batch): written there
        self.kept: set[str] = set()  # values that a micro-batch reads and has not written

    def touch(self, name: str, nbytes: int, at: int) -> None:
        if nbytes:
            self.sizes[name] = nbytes
            self.uses.setdefault(name, []).append(at)

    def root(self, v: str) -> str:
        while v in self.views:
            v = self.views[v]
        return v

    def action(self, a: StepAction, calls: Sequence[Call]) -> None:
        """Enter the calls of an action, or the one user that stands for a transfer or an empty segment."""
        first = len(self.needs)
        for k, call in enumerate(calls or (None,)):
            at = len(self.needs)
            self.needs.append(tuple(self.last[p] for p in a.needs) if k == 0 else (at - 1,))
            if isinstance(a.ins, Do) and a.ins.on == COMPUTE and len(a.ins.id) > MICRO_BATCH:
                self.kernels[at], self.micro_batch[at] = a.ins.kernel, a.ins.id[MICRO_BATCH]
            if call is not None:
                self.call(call, at)
        for ref in (*a.ins.reads, *a.ins.writes):
            b = self.buffers[ref.buffer]
            if b.kind not in self.persistent:
                name, slot, _, _ = self.plan.key(self.me, ref)
                for at in range(first, len(self.needs)):
                    self.touch(buffer_slot(name, slot), b.size * b.itemsize, at)
        self.last[a.index] = len(self.needs) - 1

    def call(self, call: Call, at: int) -> None:
        """Enter the values of a call that have no place yet."""
        m = self.micro_batch.get(at, -1)
        for names, writes in ((call.reads, False), (call.writes, True)):
            for v in map(self.root, names):
                if v in self.placed:
                    continue
                self.touch(v, self.graph.type_of(v).nbytes, at)
                if writes:
                    self.written.add((v, m))
                elif (v, m) not in self.written:
                    self.kept.add(v)

    def one_micro_batch(self) -> None:
        """Cut the life of what every micro-batch makes anew to the last one; lengthen that of the rest by it."""
        repeated = self._repeated()
        anew = {v for v, users in self.uses.items() if v not in self.kept and repeated.issuperset(users)}
        spans: dict[int, list[int]] = {}
        for at in (at for v in anew for at in self.uses[v]):
            spans.setdefault(self.micro_batch[at], []).append(at)
        frames = [(min(spans[m]), max(spans[m])) for m in sorted(spans)]
        if len(frames) < 2 or any(a[1] >= b[0] for a, b in pairwise(frames)):
            return  # none, or they are not one after another
        begin, end = frames[0][0], frames[-1][1]
        for v, users in self.uses.items():
            last = [at for at in users if at >= frames[-1][0]]
            if v in anew and last:
                self.uses[v] = last
            elif any(begin <= at <= end for at in users):
                self.uses[v] = users + list(frames[-1])

    def _repeated(self) -> set[int]:
        """Users whose segment runs in more than one micro-batch."""
        of: dict[str, set[int]] = {}
        for at, kernel in self.kernels.items():
            of.setdefault(kernel, set()).add(self.micro_batch[at])
        return {at for at, kernel in self.kernels.items() if len(of[kernel]) > 1}

    def end(self) -> None:
        """The end of the step: somebody may look at an output then."""
        self.needs.append(tuple(range(len(self.needs))))
        for v in self.graph.outputs.values():
            if v in self.sizes:
                self.uses[v].append(len(self.needs) - 1)
