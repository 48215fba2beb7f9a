"""Lifetimes: which calls and transfers of a step touch which value, and in what order these come. `hw.lower` packs by them.

A step of several micro-batches runs the same segments again and again, one after another on one stream. A value that each
micro-batch writes before it reads it is dead in between, however often it comes back. So its life is that of one micro-batch, the
last, in which they all keep to one order; and whatever else is not over before the first one begins counts as alive throughout
the last one, which is never too short. Where micro-batches overlap, or differ in their order, lives stay as they are.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from graph.ir import Graph
from graph.parallel.plan import Buffer, Do, Exchange, Plan
from graph.parallel.unroll import StepAction
from graph.passes.plan_memory import ancestors
from graph.record import record
from hw.kernels.record import Call
from hw.lowered import MICRO_BATCH

PERSISTENT = frozenset({"parameter", "state", "data"})  # kinds of buffers that live from step to step
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


def is_kept(b: Buffer) -> bool:
    """Whether a buffer has a place of its own: it lives from step to step, or has slots, so that a later step's value may come
    while another is in use. The slots of what ranks exchange hold the rounds of one step.
    """
    return b.kind in PERSISTENT or (b.slots > 1 and b.exchange == Exchange.NONE)


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
) -> Lifetimes:
    """Sizes and uses of what may share memory, and the order of its users.

    Parameters
    ----------
    graph, plan, role, segments : what is lowered.
    actions : one step of the role, unrolled.
    views : value -> the value whose memory it is.
    elsewhere : values that have places already.
    """
    found = _Uses(graph, plan, role, views, elsewhere)
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
    ) -> None:
        self.graph, self.plan, self.views = graph, plan, views
        self.me, self.buffers = plan.first_rank(role), plan.role[role].buffers
        self.placed = {v for b in self.buffers.values() for v in b.values} | set(self.buffers) | elsewhere
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, list[int]] = {}
        self.needs: list[tuple[int, ...]] = []
        self.last: dict[int, int] = {}  # action -> its last user
        self.kernels: dict[int, str] = {}  # user -> the segment it belongs to
        self.micro_batch: dict[int, int] = {}  # user -> its micro-batch
        self.written: set[tuple[str, int]] = set()  # (value, micro-batch): written there
        self.kept: set[str] = set()  # what a micro-batch reads and has not written

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
        m = self.micro_batch.get(first, -1)
        for refs, writes in ((a.ins.reads, False), (a.ins.writes, True)):
            for ref in (r for r in refs if not is_kept(self.buffers[r.buffer])):
                name, slot, _, _ = self.plan.key(self.me, ref)
                for at in range(first, len(self.needs)):
                    self.touch(buffer_slot(name, slot), self.buffers[name].nbytes // self.buffers[name].slots, at)
                self.enter(buffer_slot(name, slot), m, writes)
        self.last[a.index] = len(self.needs) - 1

    def call(self, call: Call, at: int) -> None:
        """Enter the values of a call that have no place yet."""
        m = self.micro_batch.get(at, -1)
        for names, writes in ((call.reads, False), (call.writes, True)):
            for v in map(self.root, names):
                if v in self.placed:
                    continue
                self.touch(v, self.graph.type_of(v).nbytes, at)
                self.enter(v, m, writes)

    def enter(self, name: str, m: int, writes: bool) -> None:
        """Enter whether a micro-batch writes this before it reads it."""
        if writes:
            self.written.add((name, m))
        elif (name, m) not in self.written:
            self.kept.add(name)

    def one_micro_batch(self) -> None:
        """Cut the life of what every micro-batch makes anew to the last one; lengthen that of the rest by it."""
        repeated = self._repeated()
        anew = {v for v, users in self.uses.items() if v not in self.kept and repeated.issuperset(users)}
        spans: dict[int, list[int]] = {}
        for at in sorted({at for v in anew for at in self.uses[v]}):
            spans.setdefault(self.micro_batch[at], []).append(at)
        frames = [spans[m] for m in sorted(spans)]
        if len(frames) < 2 or any(a[-1] >= b[0] or not self._is_like(a, frames[-1]) for a, b in pairwise(frames)):
            return  # none, or they are not one after another, or the last does not do in its order what another does
        last, end = frames[-1][0], frames[-1][-1]
        over = ancestors(self.needs)[frames[0][0]]  # before the first of them, and so before all
        for v, users in self.uses.items():
            if v in anew and users[-1] >= last:
                self.uses[v] = [at for at in users if at >= last]
            elif any(at <= end and not over >> at & 1 for at in users):
                self.uses[v] = [*users, last, end]

    def _is_like(self, frame: Sequence[int], last: Sequence[int]) -> bool:
        """Whether a micro-batch's users are among those of the last one, in the same order."""
        kernels = iter([self.kernels[at] for at in last])
        return all(self.kernels[at] in kernels for at in frame)

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
