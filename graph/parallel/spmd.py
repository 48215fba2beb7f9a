"""The player with numbers: plays any plan of roles with graphs in one process, by the operators' NumPy references.

Slow and clear: with it a strategy is held against training by one worker (`graph.interpret`), for any model and any number of
ranks, before there is a kernel. What may happen at the same time happens in an order drawn by a seed, so that an order which
nothing enforces shows. Every rank has memory of its own: slots of its buffers, and the values that its actions leave behind.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graph.errors import InvalidPlan
from graph.op import Array
from graph.parallel.instruction import Collective, Do, Message, Path, Rank, Recv, Send
from graph.parallel.lanes import Lanes
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import Buffer, BufferKind, Loss, Plan
from graph.parallel.spmd_memory import Arrays, Memory
from graph.record import record


@record
class Run:
    """What a plan came to.

    Parameters
    ----------
    losses : of the whole batch, a step.
    values : whole parameters and state after the last step, of those who renew them.
    ranks : rank -> what it holds of them itself; not what lies in buffers that are cut.
    logits : rank -> its logits, one micro-batch after another; empty where it makes none.
    """

    losses: tuple[float, ...]
    values: Arrays
    ranks: Mapping[Rank, Arrays]
    logits: Mapping[Rank, Sequence[Array]]


def run(plan: Plan, values: Arrays, batches: Sequence[Arrays], *, seed: int = 0, dtype: Any = np.float32) -> Run:
    """Play a plan of synchronous training, or of inference.

    Parameters
    ----------
    plan : whose roles have graphs; of its steps as many as there are batches.
    values : whole parameters and state to begin with, by name.
    batches : of each step every datum of the whole batch, by name; rank i of those that divide it takes part i (or of
        each of the `sample_parts`, part i).
    seed : of the order in which what may happen does happen.
    dtype : in which floats are computed; with float64 a plan must agree with one worker to 1e-12 or so.

    Raises
    ------
    InvalidPlan : the plan is stuck, or an action touches what it does not name, or a kernel has no meaning here.
    """
    return _Player(plan.shortened(len(batches)), values, batches, seed, dtype).play()


class _Letter(NamedTuple):
    source: Rank
    tag: Path
    note: object
    contents: Array


class _Player:
    """One run."""

    def __init__(self, plan: Plan, values: Arrays, batches: Sequence[Arrays], seed: int, dtype: Any) -> None:
        self.plan, self.steps = plan, len(batches)
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.ready: list[Any] = []
        self.lanes = Lanes(plan.slots, self.carry, self.deliver)
        self.memory = {r: Memory(plan, r, batches, dtype) for r in plan.ranks}
        for m in self.memory.values():
            m.fill(values)
        self.machines = [Machine(plan, r, self.begin, lambda a: None) for r in plan.ranks]

    def play(self) -> Run:
        for m in self.machines:
            m.pump()
        while self.ready:
            k = int(self.rng.integers(len(self.ready)))
            self.ready[k], self.ready[-1] = self.ready[-1], self.ready[k]
            call, *args = self.ready.pop()
            call(*args)
        if stuck := [a for m in self.machines for a in m.stuck]:
            raise InvalidPlan(f"the plan is stuck at {', '.join(map(repr, stuck[:4]))}")
        ranks = {r: m.persistent() for r, m in self.memory.items()}
        logits = {r: tuple(m.logits) for r, m in self.memory.items()}
        return Run(losses=self._losses(), values=_joined(self.plan, self.memory), ranks=ranks, logits=logits)

    def _losses(self) -> tuple[float, ...]:
        """Shares of a role add up; of copies the first counts."""
        total = np.zeros(self.steps)
        for role in self.plan.roles:
            of = [m.losses for r, m in self.memory.items() if r.role == role.name]
            total += {Loss.SHARE: np.sum(of, axis=0), Loss.COPY: of[0]}.get(Loss(role.loss), np.zeros(self.steps))
        return tuple(map(float, total))

    def begin(self, a: Action) -> None:
        rank, ins = a.machine.rank, a.ins
        if isinstance(ins, Do):
            self.ready.append((self.do, a, ins))
        elif isinstance(ins, Collective):
            self.ready.append((a.machine.expand, a))
        elif isinstance(ins, Send):
            self.lanes.offer(a, rank, self.plan.peer(rank, ins.to))
        else:
            self.lanes.want(a, rank, ins.source if isinstance(ins.source, str) else self.plan.peer(rank, ins.source))

    def do(self, a: Action, ins: Do) -> None:
        self.memory[a.machine.rank].do(ins)
        a.machine.finish(a)

    def carry(self, a: Action, dst: Rank) -> None:
        ins, rank = a.ins, a.machine.rank
        assert isinstance(ins, Send)
        letter = _Letter(rank, ins.tag, ins.note, self.memory[rank].part(ins.what).copy())
        self.ready.append((self.sent, a, letter, dst, ins.lane))

    def sent(self, a: Action, letter: _Letter, dst: Rank, lane: str) -> None:
        a.machine.finish(a)
        self.lanes.arrived(letter, dst, lane)

    def deliver(self, a: Action, letter: _Letter) -> None:
        ins = a.ins
        assert isinstance(ins, Recv)
        a.take(Message(letter.source, letter.tag, letter.note))
        here = self.memory[a.machine.rank].part(ins.into)
        here[...] = here + letter.contents if ins.add else letter.contents
        self.ready.append((a.machine.finish, a))


def _joined(plan: Plan, memory: Mapping[Rank, Memory]) -> dict[str, Array]:
    """Whole parameters and state, from the first role that renews them; what none renews, from the first that has it."""
    found: dict[str, Array] = {}
    renewed: set[str] = set()
    for role in plan.roles:
        of = [m for r, m in memory.items() if r.role == role.name]
        nodes = {n for names in role.segments.values() for n in names}
        mine = {old for old, new in of[0].graph.updates.items() if of[0].graph.producer[new].name in nodes}
        for name, b in role.buffers.items():
            if b.kind in (BufferKind.PARAMETER, BufferKind.STATE):
                whole = _uncut(name, b, of)
                found.update((v, a) for v, a in whole.items() if v not in found or (v in mine and v not in renewed))
        renewed |= mine
    return found


def _uncut(name: str, b: Buffer, ranks: Sequence[Memory]) -> dict[str, Array]:
    """The whole values of a buffer of like ranks."""
    one, found = ranks[0], dict[str, Array]()
    if b.is_cut:
        parts = {m.plan.index(m.rank, b.sharded)[0]: m.slots[name, 0] for m in reversed(ranks)}
        flat, at = np.concatenate([parts[i] for i in sorted(parts)]), 0
        for v in b.values:
            t = one.graph.type_of(v)
            found[v] = flat[at : at + t.size].reshape(t.shape)
            at += t.size
        return found
    for v in b.values:
        shard, pieces = (
            one.role.shards.get(v),
            [m.slots[name, 0][m.held[name][v]].reshape(m.graph.type_of(v).shape) for m in ranks],
        )
        if shard is None:
            found[v] = pieces[0]
            continue
        by_index = {m.plan.index(m.rank, shard.along)[0]: a for m, a in zip(reversed(ranks), reversed(pieces), strict=True)}
        found[v] = np.concatenate([by_index[i] for i in sorted(by_index)], axis=shard.axis)
    return found
