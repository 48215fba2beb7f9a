"""The player in virtual time: plays any plan on any system, and says what happened when.

It holds no model of its own. The order of things is `graph.parallel.machine`'s, seconds and bytes per second are the
`SystemModel`'s, who uses an engine is `sim.device`'s, how transfers share links is `sim.network`'s (or `sim.message`'s),
and who is alike is `sim.fold`'s. Here they meet: one small function for each thing that can happen to an action.
"""

from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from math import inf
from typing import Any

from graph.errors import nearest
from graph.instrument import hooks
from graph.parallel.lanes import Letter
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import Collective, Do, Instruction, Message, Plan, Rank, Recv, Send
from graph.timeline import Record, Timeline
from sim.clock import Clock
from sim.collective import ClosedForms
from sim.connection import Connection, Connections
from sim.device import COMPUTE, TRANSFER, Device, Engine, Job
from sim.errors import OutOfMemory, SimError, Stuck
from sim.fold import Fold, Unfolded
from sim.input import INPUT, InputStage
from sim.jitter import Jitter
from sim.lanes import Parcel, TimedLanes
from sim.message import MessageNetwork
from sim.model import SystemModel
from sim.network import FlowNetwork
from sim.streams import Streams


class Detail(StrEnum):
    """How closely communication is looked at."""

    CLOSED_FORM = "closed-form"  # a collective is one event, where it has a closed form; other transfers are flows
    FLOW = "flow"  # transfers share links max-min fairly
    MESSAGE = "message"  # transfers take turns on links


def play(
    plan: Plan,
    model: SystemModel,
    *,
    detail: Detail | str = Detail.FLOW,
    fold: bool = False,
    closed: Collection[str] = (),
    slow: Mapping[Rank, float] | None = None,
    stops: Mapping[Rank, float] | None = None,
    jitter: Jitter | None = None,
    instruments: Sequence[object] = (),
) -> Timeline:
    """Play a plan on a modelled system.

    Parameters
    ----------
    plan : what is played.
    model : the system (`sim.model`).
    detail : a `Detail`, or its text.
    fold : play one of several like ranks; the timeline has records of those, and says how many each stands for.
    closed : collectives (names of algorithms) that are priced by their closed form at every detail.
    slow : rank -> factor on its compute seconds: stragglers.
    stops : rank -> seconds after which it begins nothing any more.
    jitter : chance in compute seconds.
    instruments : who watches (`graph.instrument`).

    Returns
    -------
    The predicted timeline, in seconds from the start.

    Raises
    ------
    OutOfMemory : a rank needs more memory than its device has.
    Stuck : the plan cannot go on.
    SimError : an unknown detail, a plan that cannot be folded.
    GraphError : an instrument has a method that no engine calls.
    """
    if detail not in set(Detail):
        raise SimError(f"unknown detail {str(detail)!r}; {nearest(str(detail), Detail)}")
    return _Player(plan, model, Detail(detail), fold, frozenset(closed), slow or {}, stops or {}, jitter, instruments).play()


class _Player:
    """One run."""

    def __init__(
        self,
        plan: Plan,
        model: SystemModel,
        detail: Detail,
        fold: bool,
        closed: frozenset[str],
        slow: Mapping[Rank, float],
        stops: Mapping[Rank, float],
        jitter: Jitter | None,
        instruments: Sequence[object],
    ) -> None:
        self.plan, self.model, self.slow, self.stops, self.jitter = plan, model, slow, stops, jitter
        self.clock = clock = Clock()
        self.on_ready, self.on_start = hooks(instruments, "on_action_ready"), hooks(instruments, "on_action_start")
        self.on_end, self.on_message = hooks(instruments, "on_action_end"), hooks(instruments, "on_message")
        self.on_batch = hooks(instruments, "on_batch_ready")
        self.closed = ClosedForms(plan, model, every=detail is Detail.CLOSED_FORM, algorithms=closed)
        marks = {r: (slow.get(r), stops.get(r)) for r in (*slow, *stops)}
        self.fold = Fold(plan, model, is_priced=self.closed.is_priced, marked=marks) if fold else Unfolded(plan, model)
        self.network: FlowNetwork | MessageNetwork
        if detail is Detail.MESSAGE:
            if spread := [link for link, wide in self.fold.wide.items() if wide > 1]:
                raise SimError(
                    f"links like {spread[0]!r} are used by folded ranks in turn: at message detail they would not be alike; "
                    f"unfold them, or use flows"
                )
            self.network = MessageNetwork(clock, self.fold.capacity, hooks(instruments, "on_link_busy"))
        else:
            self.network = FlowNetwork(clock, self.fold.capacity, hooks(instruments, "on_flow_rate"))
        self.streams = Streams(plan)
        self.connections = Connections(plan, model, self.fold)
        self.lanes = TimedLanes(plan.slots, self.carry, self.deliver)
        like = {r: n for r, n in self.fold.sizes.items() if n > 1}
        self.timeline = Timeline(plan_hash=plan.hash, source="predicted", like=like)
        at: dict[Hashable, Device] = {}
        for r in self.fold.reps:
            at.setdefault(model.place(r), Device(clock, model.contention(r), self.started))
        self.devices = {r: at[model.place(r)] for r in self.fold.reps}
        self.inputs = {r: InputStage(depth) for r in self.fold.reps if (depth := model.input_depth(r))}
        self._engines: dict[tuple[Rank, str], Engine] = {}
        self._sizes = {(r.name, name): (b.size, b.itemsize) for r in plan.roles for name, b in r.buffers.items()}

    def play(self) -> Timeline:
        """Until nothing happens any more."""
        for r in self.fold.reps:
            check_memory(self.model, r)
        machines = [self.machine(r) for r in self.fold.reps]
        for m in machines:
            m.pump()
        self.clock.run()
        stuck = [m for m in machines if (m.live or not m.ended) and m.rank not in self.stops]
        if stuck:
            waiting = [a for m in stuck for a in m.stuck]
            raise Stuck(f"the plan stopped at {self.clock.now:.6g} s: {'; '.join(map(_waits_for, waiting[:4]))}")
        return self.timeline

    def machine(self, rank: Rank) -> Machine:
        """The machine of a rank, with the host that issues its actions."""
        window = self.model.launch_depth(rank)
        machine = Machine(self.plan, rank, self.begin, self.log, clock=lambda: self.clock.now, window=window)
        machine.program = self.hosted(machine, self.streams.of(rank))
        return machine

    def hosted(self, machine: Machine, program: Generator[Instruction, Any, None]) -> Generator[Instruction, Any, None]:
        """The program, telling the machine what each instruction costs its host."""
        answer = None
        while True:
            try:
                ins = program.send(answer)
            except StopIteration:
                return
            machine.launch = self.model.launch_seconds(machine.rank, ins)
            answer = yield ins

    # --- actions begin ---

    def begin(self, a: Action) -> None:
        """Its buffers and its stream are free."""
        now = self.clock.now
        if a.parent is None and a.ready > now:  # but the host has not issued it yet; it does not issue parts of collectives
            self.clock.later(a.ready - now, self.begin, a)
            return
        if now >= self.stops.get(a.machine.rank, inf):
            return
        a.ready = now
        for call in self.on_ready:
            call(a.machine.rank, a.id, a.ins.on, now)
        match a.ins:
            case Do():
                self.begin_do(a, a.ins)
            case Send():
                rank = a.machine.rank
                a.peer = self.connections.of(rank, a.ins.to).dst
                self.lanes.offer(a, rank, a.peer)
            case Recv():
                self.begin_recv(a, a.ins)
            case Collective():
                self.begin_collective(a, a.ins)

    def begin_do(self, a: Action, do: Do) -> None:
        """It asks for its engine, once its batch is there."""
        rank = a.machine.rank
        seconds = self.model.compute_seconds(rank, do) * self.slow.get(rank, 1.0)
        if self.jitter is not None:
            seconds *= self.jitter.factor(rank, a.id, self.fold.sizes[rank])
        stage = self.inputs.get(rank) if do.kernel == INPUT else None
        if stage is None:
            self.work(a, COMPUTE, seconds, partial(a.machine.finish, a))
            return
        number, ready = stage.taken, stage.take(*self.model.input_seconds(rank, do))
        for call in self.on_batch:
            call(rank, number, ready)

        def ended() -> None:
            stage.give_back(number, self.clock.now)
            a.machine.finish(a)

        self.clock.later(max(ready - self.clock.now, 0.0), self.work, a, COMPUTE, seconds, ended)

    def begin_recv(self, a: Action, recv: Recv) -> None:
        """It waits for its letter."""
        rank, source = a.machine.rank, recv.source
        if not isinstance(source, str):
            source = a.peer = self.plan.peer(rank, source)
        self.lanes.want(a, rank, source)
        if recv.timeout is not None:
            self.clock.later(recv.timeout, self.lanes.give_up, a)

    def begin_collective(self, a: Action, c: Collective) -> None:
        """It waits for its group, when it is priced; else its parts begin."""
        machine = a.machine
        seconds = self.closed.seconds(machine.rank, c)
        if seconds is None:
            before = len(machine.live)
            machine.expand(a)
            machine.window += max(len(machine.live) - before, 0)  # the host has issued one action, not its parts
            return
        a.is_leaf = False
        together = self.closed.arrive(a, c, self.fold.rep)
        if together is None:
            return
        seconds = self.closed.queued(machine.rank, c, seconds, self.clock.now)
        for b in together:
            self.started(b)
            self.devices[b.machine.rank].transfer(+1)
            self.clock.later(seconds, self.closed_end, b, c)

    # --- actions work and end ---

    def work(self, a: Action, turn: int, seconds: float, then: Callable[[], object]) -> None:
        """An engine of the rank works for an action, when it is its turn."""
        key = a.machine.rank, a.ins.on
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = self.devices[key[0]].engine(self.model.engine(*key))
        engine.request(Job(a, turn, seconds, then))

    def started(self, a: Action) -> None:
        """It begins to work."""
        a.start = self.clock.now
        for call in self.on_start:
            call(a.machine.rank, a.id, a.ins.on, a.start)

    def carry(self, a: Action, dst: Rank) -> None:
        """There is room for a letter: a core writes it, or it flows."""
        send, rank = a.ins, a.machine.rank
        if not isinstance(send, Send):
            raise SimError(f"{a!r} sends nothing")
        nbytes, line = self.nbytes(a), self.connections.of(rank, send.to)
        for call in self.on_message:
            call(rank, dst, a.id, nbytes, self.clock.now)
        if seconds := self.model.send_seconds(rank, dst, nbytes):
            self.work(a, TRANSFER, seconds, partial(self.sent, a, send, line))
            return
        self.started(a)
        self.devices[rank].transfer(+1)
        self.devices[line.rep].transfer(+1)
        self.network.start(nbytes, line.links, partial(self.flowed, a, send, line))

    def flowed(self, a: Action, send: Send, line: Connection) -> None:
        """The last byte has left."""
        self.devices[a.machine.rank].transfer(-1)
        self.devices[line.rep].transfer(-1)
        self.sent(a, send, line)

    def sent(self, a: Action, send: Send, line: Connection) -> None:
        """The sender is done; the letter arrives after the latency."""
        self.clock.later(line.latency, self.arrived, send, line)
        a.machine.finish(a)

    def arrived(self, send: Send, line: Connection) -> None:
        """Whoever plays for the receiver gets its letter from everyone of the sender's class that sends to it."""
        parcel = Parcel((line.source, line.dst, send.lane), len(line.copies))
        for s in line.copies:
            self.lanes.arrived(Letter(s, send.tag, send.note, parcel), line.rep, send.lane)
        if not line.copies:  # nobody plays who takes it
            self.lanes.free(*parcel.wire)

    def deliver(self, a: Action, letter: Letter) -> None:
        """A letter is there: the receiver takes it out, which may be work."""
        recv, rank = a.ins, a.machine.rank
        if not isinstance(recv, Recv):
            raise SimError(f"{a!r} receives nothing")
        a.take(Message(letter.source, letter.tag, letter.note))
        source = letter.source if a.peer is None else a.peer

        def ended() -> None:
            self.lanes.taken(letter.contents)
            a.machine.finish(a)

        if seconds := self.model.recv_seconds(rank, source, self.nbytes(a), recv.add):
            self.work(a, TRANSFER, seconds, ended)
        else:
            self.started(a)
            self.clock.later(0.0, ended)

    def nbytes(self, a: Action) -> int:
        """Bytes of what a transfer names; as `Plan.nbytes`, from what the machine has looked up."""
        if a.key is None:
            return 0
        buffer, _, part, parts = a.key
        size, itemsize = self._sizes[a.machine.rank.role, buffer]
        whole, rest = divmod(size, parts)
        return (whole + (part < rest)) * itemsize

    def closed_end(self, a: Action, c: Collective) -> None:
        """A priced collective ends; its one leaf carries what the rank has sent."""
        rank, now = a.machine.rank, self.clock.now
        self.devices[rank].transfer(-1)
        start = now if a.start is None else a.start
        nbytes = self.closed.nbytes_sent(rank, c)
        self.add(Record(rank=rank, id=(*a.id, "send"), stream=c.on + ">", ready=a.ready, start=start, end=now, nbytes=nbytes))
        a.machine.finish(a)

    def log(self, a: Action) -> None:
        """It has ended."""
        now, ins, rank = self.clock.now, a.ins, a.machine.rank
        start = now if a.start is None else a.start
        if a.parent is not None:
            a.parent.start = start if a.parent.start is None else min(start, a.parent.start)
            a.machine.window -= 1
        nbytes, flop, peer = 0, 0, None
        match ins:
            case Do():
                nbytes, flop = ins.work.nbytes, ins.work.flop
            case Send():
                nbytes, peer = self.nbytes(a), self.connections.of(rank, ins.to).rep
            case Recv():
                nbytes, peer = self.nbytes(a), self.fold.rep(a.value.source) if a.value is not None else None
        self.add(
            Record(
                rank=rank,
                id=a.id,
                stream=ins.on,
                ready=a.ready,
                start=start,
                end=now,
                nbytes=nbytes,
                flop=flop,
                is_leaf=a.is_leaf,
                note=ins.note,
                peer=peer,
            )
        )

    def add(self, r: Record) -> None:
        """Write a record, and show it."""
        self.timeline.add(r)
        for call in self.on_end:
            call(r)


def check_memory(model: SystemModel, rank: Rank) -> None:
    """Raises `OutOfMemory`, saying by how much, when a rank does not fit on its device."""
    need, have = model.memory_bytes(rank), model.memory_capacity_bytes(rank)
    if need > have:
        raise OutOfMemory(f"{rank} needs {need:,} bytes of memory, its device has {have:,}: {need - have:,} too few")


def _waits_for(a: Action) -> str:
    match a.ins:
        case Recv(source=source):
            who = f"any {source}" if isinstance(source, str) else a.machine.plan.peer(a.machine.rank, source)
            return f"{a!r} waits for a letter from {who}"
        case Send():
            return f"{a!r} waits for room"
        case Collective():
            return f"{a!r} waits for its group"
    return f"{a!r} waits"
