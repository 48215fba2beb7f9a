"""The untimed player: plays any plan with symbolic values, in an order drawn by a seed. It proves, or raises `InvalidPlan`.

What it proves
* no deadlock, and every letter meets the receiver it was meant for, with as many bytes as that expects;
* an update takes each contribution to a gradient exactly once, replicas take the same ones, and none is taken by two updates;
* what is read was written, and has not been overwritten by a later value of the same slot;
* what ranks gather is the same to all who read it, and what they sum up has the piece of each, once;
* in a plan that never waits for what it hears, every contribution is taken by some update.

A plan whose programs wait (parameter server, coordinator) may lose contributions, and may take stale ones: both are reported.
One seed is one order; replay under several.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from graph.errors import InvalidPlan
from graph.parallel.exchanged import Exchanged
from graph.parallel.lanes import Lanes
from graph.parallel.ledger import NOTHING, Contribution, Ledger, Marks, Update
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import BufferKind, Collective, Do, Exchange, Message, Path, Plan, Rank, Recv, Ref, Send
from graph.record import record
from graph.rng import philox4x32, stable_key

Wire = tuple[Rank, Rank, str]  # source, destination, lane


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


class _Cell:
    """What each part of a slot of a buffer holds: of a gradient the contributions, of a parameter its version."""

    __slots__ = ("index", "parts")

    def __init__(self) -> None:
        self.index: int | None = None  # which value of the buffer; None: nothing was written yet
        self.parts: list[tuple[Marks, int]] = [(NOTHING, 0)]

    def cut(self, parts: int, size: int) -> bool:
        """Cut it so, or heal it, as far as parts that come to lie together agree; False when they do not."""
        old, nests = len(self.parts), not size % max(parts, len(self.parts))
        if nests and not parts % old:
            self.parts = [p for p in self.parts for _ in range(parts // old)]
            return True
        step = old // parts if nests and not old % parts else old
        groups = [self.parts[k : k + step] for k in range(0, old, step)]
        if any(p != g[0] for g in groups for p in g):
            return False
        self.parts = [g[0] for g in groups for _ in range(parts // len(groups))]
        return True


class _Letter(NamedTuple):
    source: Rank
    tag: Path
    note: object
    contents: Marks
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
        self.ledger, self.exchanged = Ledger(plan), Exchanged(plan)
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
        letter = _Letter(rank, ins.tag, ins.note, *cell.parts[part], nbytes)
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
            contents = cell.parts[part][0].plus(contents)
        self.write(a, ins.into, contents, letter.version)
        self.ready.append((a.machine.finish, (a,)))

    # --- what buffers hold

    def slot(self, a: Action, ref: Ref, *, writing: bool = False) -> _Cell:
        """The slot that `ref` means; when it is read, the value that is meant must be there."""
        rank = a.machine.rank
        name, slot, _, _ = self.plan.key(rank, ref)
        b = self.plan.buffer(rank, name)
        c = self.cells.setdefault((b.shared or rank, name, slot), _Cell())
        if not writing and c.index is None and b.kind in (BufferKind.ACTIVATION, BufferKind.DATA):
            raise InvalidPlan(f"{a!r} reads {name!r} {ref.index}, which nobody wrote")
        if not writing and c.index not in (None, ref.index):
            raise InvalidPlan(
                f"{a!r} reads {name!r} {ref.index} from slot {slot} of {b.slots}, which holds {c.index}: it takes more slots"
            )
        return c

    def cell(self, a: Action, ref: Ref, *, writing: bool = False) -> tuple[_Cell, int]:
        """The slot, cut as `ref` cuts it, and which part is meant. A whole is cut, or healed when its parts agree."""
        c, b = self.slot(a, ref, writing=writing), self.plan.buffer(a.machine.rank, ref.buffer)
        name, _, part, parts = self.plan.key(a.machine.rank, ref)
        if len(c.parts) != parts and not c.cut(parts, b.size):
            if not (writing and parts == 1):
                what = "versions" if b.kind == BufferKind.PARAMETER else "sums"
                raise InvalidPlan(f"{a!r} takes {name!r} in {parts} parts, but its {len(c.parts)} parts hold different {what}")
            c.parts = c.parts[:1]
        return c, part

    def write(self, a: Action, ref: Ref, contents: Marks, version: int) -> None:
        c, part = self.cell(a, ref, writing=True)
        c.index, c.parts[part] = ref.index, (contents, version)

    def do(self, a: Action, ins: Do) -> None:
        """A kernel: a gradient is made or summed, a parameter is updated from gradients, anything else is just written."""
        rank = a.machine.rank
        buffer = {r: self.plan.buffer(rank, r.buffer) for r in (*ins.reads, *ins.writes)}
        seen: dict[Ref, Marks] = {}
        versions: dict[str, int] = {}
        for r in ins.reads:
            if buffer[r].exchange != Exchange.NONE:
                self.exchanged.read(a, r, [marks for marks, _ in self.slot(a, r).parts])
                continue
            c, part = self.cell(a, r)
            seen[r], version = c.parts[part]
            if buffer[r].kind == BufferKind.PARAMETER:
                versions[r.buffer] = version
        gradients = [r for r in ins.reads if buffer[r].kind == BufferKind.GRADIENT]
        is_sum = any(
            r not in ins.writes for r in gradients
        )  # of others' gradients; else a source, perhaps of one part of a bucket
        for w in ins.writes:
            kind, contents, version = buffer[w].kind, NOTHING, 0
            if kind == BufferKind.PARAMETER:
                c, part = self.cell(a, w, writing=True)
                version = c.parts[part][1]
                for r in gradients:
                    self.ledger.take(a, w, r, seen[r], version)
                version += bool(gradients)
            elif buffer[w].exchange != Exchange.NONE:
                contents = self.exchanged.write(a, w)
            elif kind == BufferKind.GRADIENT and is_sum:
                for r in gradients:
                    contents = contents.plus(seen[r])
            elif kind == BufferKind.GRADIENT:
                contents = seen.get(w, NOTHING).plus(self.ledger.contribute(a, w.buffer, versions))
            self.write(a, w, contents, version)
        a.machine.finish(a)

    # --- the end

    def proof(self) -> Proof:
        """Nothing is stuck, nothing was lost that should not be."""
        stuck = [a for m in self.machines for a in m.stuck]
        if stuck:
            raise InvalidPlan("deadlock: " + "; ".join(f"{a!r} waits for {self.waits_for(a)}" for a in stuck[:6]))
        self.exchanged.finish()
        books = self.ledger
        lost = books.lost
        if lost and books.taken and not self.has_waited:
            raise InvalidPlan(f"{lost.bit_count()} contributions to gradients are never used, the first by {books.name(lost)}")
        return Proof(
            actions=self.played,
            wires=self.wires,
            transfers=dict(self.transfers),
            nbytes=dict(self.nbytes),
            taken={u: books.contributions(marks) for u, marks in books.taken.items()},
            lost=books.contributions(lost),
            staleness=dict(sorted(books.staleness.items())),
        )

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
