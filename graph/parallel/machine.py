"""The order of things, without time, which all players share. One `Machine` plays a rank; `graph.parallel.lanes` carry letters.

An action begins when its stream and the buffers it touches are free; the player decides how long it takes, then calls
`Machine.finish`. The players: `graph.parallel.check` (no clock), `sim` (virtual clock), `graph.parallel.unroll` (no clock: it
writes the order down for the executor of `runtime`).

A machine keeps only what is live: an action that ended is dropped from the order, so memory does not grow with the steps.
"""

from collections.abc import Callable, Sequence
from typing import Any

from graph.errors import InvalidPlan
from graph.parallel.plan import Collective, Instruction, Message, Path, Plan, Rank, Recv, Ref

Key = tuple[str, int, int, int]  # buffer, slot, part, parts


class Action:
    """One instruction of one rank, from its issue to its end.

    Attributes
    ----------
    machine, ins : who plays it, and what it is.
    id : its path; that of a receipt from whoever comes first is known only when it came.
    parent : the collective that it is a transfer of, or None.
    ready : until it begins, when the host issued it; the player may put here when it could begin.
    start : the player's.
    value : what a program that waits for it is sent.
    key : what it names first: (buffer, slot, part, parts); None when it names nothing.
    peer : of a transfer the other rank; the player's.
    is_leaf : False once it was expanded into children.
    done : it ended.
    """

    __slots__ = (
        "children", "done", "id", "ins", "is_leaf", "key", "machine",
        "parent", "peer", "pending", "ready", "start", "then", "value",
    )  # fmt: skip

    def __init__(self, machine: "Machine", ins: Instruction, parent: "Action | None", ready: float) -> None:
        self.machine = machine
        self.ins = ins
        self.id: Path = ins.id
        self.parent = parent
        self.ready = ready
        self.start: float | None = None
        self.value: Any = None
        self.key: Key | None = None
        self.peer: Rank | None = None
        self.pending = 1
        self.children = 0
        self.then: list[Action] = []
        self.is_leaf = True
        self.done = False

    def __repr__(self) -> str:
        return f"{self.machine.rank}:{'/'.join(map(str, self.id))}"

    def take(self, message: Message) -> None:
        """Accept a letter: set the value, and the id when any rank of a role might have sent it.

        Raises `InvalidPlan` when the letter was meant for another receiver.
        """
        ins = self.ins
        if not isinstance(ins, Recv):
            raise InvalidPlan(f"{self!r} was given a letter, but it receives nothing")
        if isinstance(ins.source, str):
            self.id = (*message.tag, str(message.source), "recv")
        elif message.tag != ins.tag:
            raise InvalidPlan(f"{self!r} expected letter {ins.tag} from {message.source}, got {message.tag}")
        self.value = message


class Scope:
    """Read after write, write after read, write after write: by buffer, as a dependency engine orders operations.

    An action that cuts a buffer otherwise than the one before it follows all that touched any part of it until then. With `keep`,
    predecessors are remembered after they ended.
    """

    __slots__ = ("_before", "_keep", "_parts", "_readers", "_writer")

    def __init__(self, keep: bool = False) -> None:
        self._writer: dict[Key, Action] = {}
        self._readers: dict[Key, list[Action]] = {}
        self._parts: dict[tuple[str, int], int] = {}
        self._before: dict[tuple[str, int], tuple[list[Action], list[Action]]] = {}  # who wrote, who read, while cut otherwise
        self._keep = keep

    def before(self, a: Action, reads: Sequence[Key], writes: Sequence[Key]) -> list[Action]:
        """The actions that must end before `a` begins, which is entered as a reader and writer."""
        need: list[Action] = []
        parts = self._parts
        for key in reads:
            if parts.setdefault(key[:2], key[3]) != key[3]:
                self._cut_as(key)
            self._last_writer(a, key, need)
            readers = self._readers.get(key)
            if readers is None:
                self._readers[key] = [a]
                continue
            readers.append(a)
            n = len(readers)
            if n >= 16 and not n & (n - 1) and not self._keep:
                self._readers[key] = [r for r in readers if not r.done]
        for key in writes:
            if parts.setdefault(key[:2], key[3]) != key[3]:
                self._cut_as(key)
            readers = self._readers.pop(key, None)
            if readers:
                need += [r for r in readers if r is not a and (self._keep or not r.done)]
            if self._before and key not in self._writer and (before := self._before.get(key[:2])) is not None:
                need += [r for r in before[1] if r is not a and (self._keep or not r.done)]
            self._last_writer(a, key, need)
            self._writer[key] = a
        return need

    def _last_writer(self, a: Action, key: Key, need: list[Action]) -> None:
        writer = self._writer.get(key)
        if writer is not None:
            if self._keep or not writer.done:
                need.append(writer)
            else:
                del self._writer[key]
        elif self._before and (before := self._before.get(key[:2])) is not None:
            need += [w for w in before[0] if w is not a and (self._keep or not w.done)]

    def _cut_as(self, key: Key) -> None:
        """From now on a slot is cut into as many parts as `key` says, not as before; remember who touched it until now."""
        slot = key[:2]
        parts = self._parts[slot]
        keys = [(*slot, p, parts) for p in range(parts)]
        writers, readers = [], [r for k in keys for r in self._readers.pop(k, ())]
        for k in keys:
            if (w := self._writer.pop(k, None)) is not None:
                writers.append(w)
        earlier = self._before.pop(slot, None)
        if earlier is not None and len(writers) < parts:  # of some part they are still the last
            writers, readers = earlier[0] + writers, earlier[1] + readers
        self._before[slot] = (
            [w for w in dict.fromkeys(writers) if self._keep or not w.done],
            [r for r in dict.fromkeys(readers) if self._keep or not r.done],
        )
        self._parts[slot] = key[3]


class Machine:
    """Plays the program of one rank, without a clock of its own.

    Parameters
    ----------
    plan, rank : what, and who.
    begin : called with an action when it may begin; the player calls `finish` (or `expand`, for a collective) when it is time.
    log : called with an action when it ended.
    clock : the player's time, in seconds.
    launch : host seconds that issuing an instruction costs.
    window : live actions at which the host stops issuing.
    issued : called with an action and all its predecessors when it is issued; then predecessors are never forgotten.
    """

    def __init__(
        self,
        plan: Plan,
        rank: Rank,
        begin: Callable[[Action], None],
        log: Callable[[Action], None],
        clock: Callable[[], float] = lambda: 0.0,
        launch: float = 0.0,
        window: int = 1024,
        issued: Callable[[Action, list[Action]], None] | None = None,
    ) -> None:
        self.plan, self.rank, self.begin, self.log, self.clock = plan, rank, begin, log, clock
        self.launch, self.window, self.issued = launch, window, issued
        self.program = plan.start(rank)
        self.scope = Scope(keep=issued is not None)
        self.tail: dict[str, Action] = {}
        self.live: dict[Action, None] = {}
        self.asleep, self.ended, self.host = False, False, 0.0
        self._slots = {name: b.slots for name, b in plan.role[rank.role].buffers.items()}
        self._turns: dict[tuple[str, ...], int] = {(): 0}
        self._pumping, self._answer = False, None

    def pump(self, value: Any = None) -> None:
        """Let the program issue instructions until it sleeps, ends, or is `window` actions ahead."""
        self.asleep, self._answer = False, value
        if self._pumping:  # an action ended while it was issued: the loop below goes on
            return
        self._pumping = True
        try:
            while not self.ended and not self.asleep and len(self.live) < self.window:
                value, self._answer = self._answer, None
                try:
                    ins = self.program.send(value)
                except StopIteration:
                    self.ended = True
                    return
                self.asleep = ins.wait
                self.host = max(self.host, self.clock()) + self.launch
                self._push(ins, self.scope, None)
        finally:
            self._pumping = False

    def _key(self, ref: Ref) -> Key:
        """As `Plan.key`, faster."""
        turn = self._turns.get(ref.turn)
        if turn is None:
            turn = self._turns[ref.turn] = self.plan.index(self.rank, ref.turn)[0]
        slots = self._slots.get(ref.buffer)
        if slots is None:
            slots = self.plan.buffer(self.rank, ref.buffer).slots  # raises
        return ref.buffer, ref.index % slots, (ref.part + turn * ref.stride) % ref.parts, ref.parts

    def _push(self, ins: Instruction, scope: Scope, parent: Action | None) -> None:
        """Put an instruction on its stream, behind all that must come before it."""
        a = Action(self, ins, parent, self.host)
        self.live[a] = None
        key = self._key
        reads, writes = [key(r) for r in ins.reads], [key(r) for r in ins.writes]
        if reads or writes:
            a.key = (reads or writes)[0]
        need = scope.before(a, reads, writes)
        stream = ins.on
        last = self.tail.get(stream)
        if last is not None:
            need.append(last)
        self.tail[stream] = a
        if self.issued is not None:
            self.issued(a, list(dict.fromkeys(need)))
        for d in dict.fromkeys(need) if len(need) > 1 else need:
            if not d.done:
                a.pending += 1
                d.then.append(a)
        self._satisfied(a)

    def _satisfied(self, a: Action) -> None:
        a.pending -= 1
        if not a.pending:
            self.begin(a)

    def expand(self, a: Action) -> None:
        """Play a collective from its program: its children have a scope of their own, by parts of the buffer.

        Only `begin` may call this, in place of letting the collective take its time.
        """
        if not isinstance(a.ins, Collective):
            raise InvalidPlan(f"{a!r} is no collective: it has no parts to play")
        a.is_leaf, a.children = False, 1
        scope = Scope(keep=self.issued is not None)
        for ins in self.plan.transfers(self.rank, a.ins):
            a.children += 1
            self._push(ins, scope, a)
        self._child_ended(a)

    def _child_ended(self, a: Action) -> None:
        a.children -= 1
        if not a.children:
            self.finish(a)

    def finish(self, a: Action) -> None:
        """The action ended: log it, begin what waited for it, let the program go on."""
        a.done = True
        del self.live[a]
        self.log(a)
        then, a.then = a.then, []
        for b in then:
            self._satisfied(b)
        if a.parent is not None:
            self._child_ended(a.parent)
        if a.ins.wait:
            self.pump(a.value)
        elif not (self.asleep or self.ended or self._pumping):
            self.pump()

    @property
    def stuck(self) -> list[Action]:
        """Begun actions that have not ended, in the order of their issue: what a machine that came to rest waits for."""
        return [a for a in self.live if a.pending == 0 and a.children == 0]
