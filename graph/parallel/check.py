"""The untimed player: plays any plan with symbolic values, in an order drawn by a seed. It proves, or raises `InvalidPlan`.

What it proves
* no deadlock, and every letter meets the receiver it was meant for, with as many bytes as that expects;
* an update takes each contribution to a gradient exactly once, replicas take the same ones, and none is taken by two updates;
* what is read was written, and has not been overwritten by a later value of the same slot;
* in a plan that never waits for what it hears, every contribution is taken by some update.

A plan whose programs wait (parameter server, coordinator) may lose contributions, and may take stale ones: both are reported.
One seed is one order; replay under several.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from graph.errors import InvalidPlan
from graph.parallel.machine import Action, Lanes, Machine
from graph.parallel.plan import BufferKind, Collective, Do, Message, Path, Plan, Rank, Recv, Ref, Send
from graph.record import record
from graph.rng import philox4x32, stable_key

Wire = tuple[Rank, Rank, str]  # source, destination, lane


class Contribution(NamedTuple):
    """Who made a gradient, in which action, for which buffer."""

    rank: Rank
    id: Path
    buffer: str


class Update(NamedTuple):
    """An update of a parameter: by an action, from a gradient buffer. Replicas share it."""

    role: str
    id: Path
    buffer: str


@record
class Proof:
    """What was seen while the plan was played.

    Parameters
    ----------
    actions : actions played, transfers of collectives included.
    wires : (source, destination, lane) -> bytes of the largest letter.
    transfers : letters carried, by the id of the collective or the send that they belong to less its step.
    nbytes : bytes sent by each rank.
    taken : update -> the contributions it took.
    lost : contributions that no update took.
    staleness : how many versions a parameter had advanced between the making of a gradient and its use -> how often.
    """

    actions: int
    wires: Mapping[Wire, int]
    transfers: Mapping[Path, int]
    nbytes: Mapping[Rank, int]
    taken: Mapping[Update, frozenset[Contribution]]
    lost: frozenset[Contribution]
    staleness: Mapping[int, int]


class _Marks(NamedTuple):
    """A multiset of contributions as two bit sets: those that are in it, and those that are in it more than once."""

    some: int = 0
    many: int = 0

    def plus(self, other: "_Marks") -> "_Marks":
        return _Marks(self.some | other.some, self.many | other.many | self.some & other.some)


_NONE = _Marks()


class _Cell:
    """What a slot of a buffer holds: of a gradient the contributions in each part, of a parameter its version."""

    __slots__ = ("index", "parts", "version")

    def __init__(self) -> None:
        self.index: int | None = None  # which value of the buffer; None: nothing was written yet
        self.parts: list[_Marks] = [_NONE]
        self.version = 0


class _Letter(NamedTuple):
    source: Rank
    tag: Path
    note: object
    contents: _Marks
    version: int
    nbytes: int


class _Player:
    """One run of the checker."""

    def __init__(self, plan: Plan, seed: int, window: int, log: Callable[[Action], None] | None) -> None:
        self.plan, self.draws = plan, _draws(seed)
        self.ready: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.patient: list[Action] = []
        self.cells: dict[tuple[object, str, int], _Cell] = {}
        self.played, self.has_waited = 0, False
        self.wires: dict[Wire, int] = {}
        self.transfers: Counter[Path] = Counter()
        self.nbytes: Counter[Rank] = Counter(dict.fromkeys(plan.ranks, 0))
        self.known: set[Rank | str] = {*plan.ranks, *plan.role}
        self.ids: set[tuple[Rank, Path]] = set()
        self.made: list[Contribution] = []  # bit k of a set of marks is contribution k
        self.born: list[dict[str, int]] = []  # versions of the parameters that each was made with
        self.taken: Counter[Update] = Counter()  # as a set of marks
        self.by_replica: dict[tuple[Any, ...], int] = {}
        self.used: Counter[tuple[Any, ...]] = Counter()  # as a set of marks
        self.staleness: Counter[int] = Counter()
        self.user_log = log
        self.lanes = Lanes(plan.slots, self.carry, self.deliver)
        self.machines = [Machine(plan, r, self.begin, self.log, window=window) for r in plan.ranks]

    # --- the order of things

    def play(self) -> None:
        """Until nothing can happen any more."""
        for m in self.machines:
            m.pump()
        ready, draws = self.ready, self.draws
        while True:
            if ready:
                k = next(draws) * len(ready) >> 32
                ready[k], ready[-1] = ready[-1], ready[k]
                call, args = ready.pop()
                call(*args)
            elif self.patient:  # nothing else can happen: time passes, patience ends
                self.lanes.give_up(self.patient.pop())
            else:
                return

    def begin(self, a: Action) -> None:
        ins, rank = a.ins, a.machine.rank
        self.has_waited |= ins.wait
        if isinstance(ins, Do):
            self.ready.append((self.do, (a, ins)))
        elif isinstance(ins, Collective):
            self.ready.append((a.machine.expand, (a,)))
        elif isinstance(ins, Send):
            dst = self.plan.peer(rank, ins.to)
            self.exists(a, dst)
            self.lanes.offer(a, rank, dst)
        else:
            source = ins.source if isinstance(ins.source, str) else self.plan.peer(rank, ins.source)
            self.exists(a, source)
            self.lanes.want(a, rank, source)
            if ins.timeout is not None:
                self.patient.append(a)

    def exists(self, a: Action, peer: Rank | str) -> None:
        if peer not in self.known:
            raise InvalidPlan(f"{a!r} names peer {peer}, which the plan does not have")

    def log(self, a: Action) -> None:
        self.played += 1
        known = len(self.ids)
        self.ids.add((a.machine.rank, a.id))
        if len(self.ids) == known:
            raise InvalidPlan(f"two actions are named {a!r}; an id is a path that occurs once")
        if self.user_log is not None:
            self.user_log(a)

    # --- letters

    def carry(self, a: Action, dst: Rank) -> None:
        ins, rank = a.ins, a.machine.rank
        assert isinstance(ins, Send)
        nbytes = self.plan.nbytes(rank, ins.what)
        cell, part = self.cell(a, ins.what)
        self.wires[rank, dst, ins.lane] = max(self.wires.get((rank, dst, ins.lane), 0), nbytes)
        self.transfers[(a.parent or a).id[1:]] += 1
        self.nbytes[rank] += nbytes
        letter = _Letter(rank, ins.tag, ins.note, cell.parts[part], cell.version, nbytes)
        self.ready.append((self.sent, (a, letter, dst, ins.lane)))

    def sent(self, a: Action, letter: _Letter, dst: Rank, lane: str) -> None:
        a.machine.finish(a)
        self.lanes.arrived(letter, dst, lane)

    def deliver(self, a: Action, letter: _Letter) -> None:
        ins, rank = a.ins, a.machine.rank
        assert isinstance(ins, Recv)
        a.take(Message(letter.source, letter.tag, letter.note))
        expected = self.plan.nbytes(rank, ins.into)
        if letter.nbytes != expected:
            raise InvalidPlan(f"{a!r} expects {expected} bytes into {ins.into.buffer!r}, {letter.source} sent {letter.nbytes}")
        contents = letter.contents
        if ins.add:
            cell, part = self.cell(a, ins.into)
            contents = cell.parts[part].plus(contents)
        self.write(a, ins.into, contents, letter.version)
        self.ready.append((a.machine.finish, (a,)))

    # --- what buffers hold

    def cell(self, a: Action, ref: Ref, *, writing: bool = False) -> tuple[_Cell, int]:
        """The slot, cut as `ref` cuts it, and which part is meant. A whole is cut, or healed when its parts agree."""
        rank = a.machine.rank
        name, slot, part, parts = self.plan.key(rank, ref)
        b = self.plan.buffer(rank, name)
        c = self.cells.setdefault((b.shared or rank, name, slot), _Cell())
        if not writing and c.index is None and b.kind in (BufferKind.ACTIVATION, BufferKind.DATA):
            raise InvalidPlan(f"{a!r} reads {name!r} {ref.index}, which nobody wrote")
        if not writing and c.index not in (None, ref.index):
            raise InvalidPlan(
                f"{a!r} reads {name!r} {ref.index} from slot {slot} of {b.slots}, which holds {c.index}: it takes more slots"
            )
        if len(c.parts) != parts:
            if any(p != c.parts[0] for p in c.parts) and not (writing and parts == 1):
                raise InvalidPlan(f"{a!r} takes {name!r} in {parts} parts, but its {len(c.parts)} parts hold different sums")
            c.parts = [c.parts[0]] * parts
        return c, part

    def write(self, a: Action, ref: Ref, contents: _Marks, version: int) -> None:
        c, part = self.cell(a, ref, writing=True)
        c.index, c.parts[part], c.version = ref.index, contents, version

    def do(self, a: Action, ins: Do) -> None:
        """A kernel: a gradient is made or summed, a parameter is updated from gradients, anything else is just written."""
        rank = a.machine.rank
        buffer = {r: self.plan.buffer(rank, r.buffer) for r in (*ins.reads, *ins.writes)}
        seen: dict[Ref, _Marks] = {}
        versions: dict[str, int] = {}
        for r in ins.reads:
            c, part = self.cell(a, r)
            seen[r] = c.parts[part]
            if buffer[r].kind == BufferKind.PARAMETER:
                versions[r.buffer] = c.version
        gradients = [r for r in ins.reads if buffer[r].kind == BufferKind.GRADIENT]
        is_sum = any(
            r not in ins.writes for r in gradients
        )  # of others' gradients; else a source, perhaps of one part of a bucket
        for w in ins.writes:
            kind, contents, version = buffer[w].kind, _NONE, 0
            if kind == BufferKind.PARAMETER:
                for r in gradients:
                    self.take(a, w, r, seen[r])
                version = self.cell(a, w, writing=True)[0].version + bool(gradients)
            elif kind == BufferKind.GRADIENT and is_sum:
                for r in gradients:
                    contents = contents.plus(seen[r])
            elif kind == BufferKind.GRADIENT:
                contents = seen.get(w, _NONE).plus(_Marks(1 << len(self.made)))
                self.made.append(Contribution(rank, a.id, w.buffer))
                self.born.append(versions)
            self.write(a, w, contents, version)
        a.machine.finish(a)

    def take(self, a: Action, w: Ref, r: Ref, marks: _Marks) -> None:
        """An update of `w` takes the gradient `r`."""
        rank = a.machine.rank
        if not marks.some:
            raise InvalidPlan(f"{a!r} updates {w.buffer!r} from {r.buffer!r}, to which nobody contributed")
        if marks.many:
            raise InvalidPlan(f"{a!r} takes the contribution of {self.name(marks.many)} to {r.buffer!r} more than once")
        role, b = self.plan.role[rank.role], self.plan.buffer(rank, w.buffer)
        shard: tuple[int, ...] = tuple(c for c, axis in zip(rank.at, role.axes, strict=True) if axis in b.sharded)
        if b.shared is not None:  # one parameter, many writers: each update is its own
            shard = rank.at
        replica = rank.role, shard, a.id, w.buffer, r.buffer, r.part
        known = self.by_replica.get(replica)
        if known not in (None, marks.some):
            raise InvalidPlan(
                f"{a!r} and another replica update {w.buffer!r} from different gradients: only one of them has that of "
                f"{self.name((known or 0) ^ marks.some)}"
            )
        self.taken[Update(rank.role, a.id, r.buffer)] |= marks.some
        if known is not None:
            return  # the same update of another replica was looked at
        self.by_replica[replica] = marks.some
        before = rank.role, shard, w.buffer, r.part
        if twice := self.used[before] & marks.some:
            raise InvalidPlan(f"{a!r} takes the contribution of {self.name(twice)}, which an earlier update of {w.buffer!r} took")
        self.used[before] |= marks.some
        version = self.cell(a, w, writing=True)[0].version
        for k in _bits(marks.some):
            if w.buffer in self.born[k]:
                self.staleness[version - self.born[k][w.buffer]] += 1

    def name(self, marks: int) -> str:
        """The first of a set of contributions, for a message."""
        m = self.made[next(_bits(marks))]
        return f"{m.rank}:{'/'.join(map(str, m.id))}"

    # --- the end

    def proof(self) -> Proof:
        """Nothing is stuck, nothing was lost that should not be."""
        stuck = [a for m in self.machines for a in m.stuck]
        if stuck:
            raise InvalidPlan("deadlock: " + "; ".join(f"{a!r} waits for {self.waits_for(a)}" for a in stuck[:6]))
        used = 0
        for marks in self.taken.values():
            used |= marks
        lost = ((1 << len(self.made)) - 1) & ~used
        if lost and self.taken and not self.has_waited:
            raise InvalidPlan(f"{lost.bit_count()} contributions to gradients are never used, the first by {self.name(lost)}")
        return Proof(
            actions=self.played,
            wires=self.wires,
            transfers=dict(self.transfers),
            nbytes=dict(self.nbytes),
            taken={u: self.contributions(marks) for u, marks in self.taken.items()},
            lost=self.contributions(lost),
            staleness=dict(sorted(self.staleness.items())),
        )

    def contributions(self, marks: int) -> frozenset[Contribution]:
        return frozenset(self.made[k] for k in _bits(marks))

    def waits_for(self, a: Action) -> str:
        if isinstance(a.ins, Recv):
            source = a.ins.source if isinstance(a.ins.source, str) else self.plan.peer(a.machine.rank, a.ins.source)
            return f"a letter from {source}"
        if isinstance(a.ins, Send):
            return f"room on lane {a.ins.lane!r} to {self.plan.peer(a.machine.rank, a.ins.to)}"
        return "nothing that comes"


def _draws(seed: int) -> Iterator[int]:
    """Random words of 32 bits without end."""
    key = seed & 0xFFFFFFFF, stable_key("graph.parallel.check")
    block = 0
    while True:
        yield from philox4x32((np.arange(256), block, 0, 0), key).reshape(-1).tolist()
        block += 1


def _bits(n: int) -> Iterator[int]:
    """Places of the bits that are set, from the lowest."""
    while n:
        low = n & -n
        yield low.bit_length() - 1
        n ^= low


def check(
    plan: Plan, seed: int = 0, *, window: int = 1024, steps: int | None = None, log: Callable[[Action], None] | None = None
) -> Proof:
    """Play the plan without time, in an order drawn by `seed`.

    Parameters
    ----------
    plan : the plan.
    seed : of the order in which what may happen does happen.
    window : live actions of a rank at which its host stops issuing.
    steps : play at most so many, where programs have the parameter ``steps``.
    log : called with every action when it ended.

    Raises
    ------
    InvalidPlan : the plan breaks one of the rules above; the message names the action.
    """
    player = _Player(plan if steps is None else plan.shortened(steps), seed, window, log)
    player.play()
    return player.proof()
