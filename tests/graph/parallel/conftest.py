"""Small plans, and two small players, that the tests of `graph.parallel` share."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

import graph.parallel  # noqa: F401 (fills the registries)
from graph.parallel.algorithm import COLLECTIVES, Algorithm
from graph.parallel.lanes import Lanes
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import Buffer, Collective, Do, Instruction, Message, Path, Plan, Rank, Ref, Role, Send, program

Span = tuple[float, float]
Spans = dict[tuple[Rank, Path], Span]


@program
def tests_reduce_once(plan: Plan, role: Role, *, steps: int, algorithm: str) -> Iterator[Instruction]:
    """One gradient, one collective, one update."""
    for k in range(steps):
        yield Do(id=(k, "backward"), kernel="backward", writes=(Ref("g"),))
        yield Collective(id=(k, "allreduce"), algorithm=algorithm, what=Ref("g"), along=("dp",))
        yield Do(id=(k, "update"), kernel="update", reads=(Ref("g"), Ref("w")), writes=(Ref("w"),))


@program
def tests_listed(plan: Plan, role: Role, *, stream: tuple[Instruction, ...]) -> Iterator[Instruction]:
    """Whatever the test lists."""
    yield from stream


@pytest.fixture
def reduce_once() -> Callable[..., Plan]:
    """(algorithm, ranks, size=..., steps=1) -> a plan that sums one gradient over its ranks."""

    def make(algorithm: str, ranks: int, *, size: int = 5040, steps: int = 1, slots: int = 2) -> Plan:
        buffers = {"g": Buffer(size=size, kind="gradient"), "w": Buffer(size=size, kind="parameter")}
        params = {"algorithm": algorithm, "steps": steps}
        return Plan(
            (Role(name="worker", program="tests_reduce_once", params=params, axes={"dp": ranks}, buffers=buffers),), slots
        )

    return make


@pytest.fixture
def listed() -> Callable[..., Plan]:
    """({role: instructions}, {buffer: Buffer}, axes) -> a plan whose roles issue just these."""

    def make(streams: dict[str, tuple[Instruction, ...]], buffers: dict[str, Buffer], axes: dict[str, int] | None = None) -> Plan:
        return Plan(
            tuple(
                Role(name=name, program="tests_listed", params={"stream": stream}, axes=axes or {}, buffers=buffers)
                for name, stream in streams.items()
            )
        )

    return make


@pytest.fixture
def add_collective(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Iterator[Instruction]]], None]:
    """(name, program) -> registered until the test ends."""
    monkeypatch.setattr(COLLECTIVES, "_items", dict(COLLECTIVES.items()))

    def add(name: str, f: Callable[..., Iterator[Instruction]]) -> None:
        COLLECTIVES.add(name, Algorithm(program=f, seconds=lambda n, b, l, w: None, transfers=lambda n: 0))

    return add


@pytest.fixture
def clock() -> Callable[..., Spans]:
    """(plan, seconds of a Do) -> (rank, id) -> (start, end): list scheduling; messages take no time."""
    return _clock


def _clock(plan: Plan, seconds: Callable[[Rank, Do], float], window: int = 1024) -> Spans:
    events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
    now, turn, spans, starts = [0.0], count(), Spans(), dict[Action, float]()

    def later(delay: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(events, (now[0] + delay, next(turn), call, args))

    def begin(a: Action) -> None:
        starts[a] = now[0]
        if isinstance(a.ins, Do):
            later(seconds(a.machine.rank, a.ins), a.machine.finish, a)
        elif isinstance(a.ins, Collective):
            later(0.0, a.machine.expand, a)
        elif isinstance(a.ins, Send):
            lanes.offer(a, a.machine.rank, plan.peer(a.machine.rank, a.ins.to))
        else:
            source = a.ins.source
            lanes.want(a, a.machine.rank, source if isinstance(source, str) else plan.peer(a.machine.rank, source))

    def carry(a: Action, dst: Rank) -> None:
        later(0.0, sent, a, dst)

    def sent(a: Action, dst: Rank) -> None:
        a.machine.finish(a)
        lanes.arrived(Message(a.machine.rank, a.ins.tag, a.ins.note), dst, a.ins.lane)

    def deliver(a: Action, letter: Message) -> None:
        a.take(letter)
        later(0.0, a.machine.finish, a)

    def log(a: Action) -> None:
        spans[a.machine.rank, a.id] = starts.pop(a), now[0]

    lanes = Lanes(plan.slots, carry, deliver)
    for m in [Machine(plan, r, begin, log, clock=lambda: now[0], window=window) for r in plan.ranks]:
        m.pump()
    while events:
        now[0], _, call, args = heapq.heappop(events)
        call(*args)
    return spans


@pytest.fixture
def add_up() -> Callable[[Plan, np.ndarray, int], np.ndarray]:
    """(plan, array [ranks, size] of ``g``, seed) -> the array after the plan was played with numbers; a `Do` does nothing."""
    return _add_up


def _add_up(plan: Plan, g: np.ndarray, seed: int) -> np.ndarray:
    values, rng = g.copy(), np.random.Generator(np.random.Philox(seed))
    row = {r: k for k, r in enumerate(plan.ranks)}
    ready: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def view(rank: Rank, ref: Ref) -> np.ndarray:
        first, n = plan.extent(rank, ref)
        return values[row[rank], first : first + n]

    def begin(a: Action) -> None:
        if isinstance(a.ins, Do):
            ready.append((a.machine.finish, (a,)))
        elif isinstance(a.ins, Collective):
            ready.append((a.machine.expand, (a,)))
        elif isinstance(a.ins, Send):
            lanes.offer(a, a.machine.rank, plan.peer(a.machine.rank, a.ins.to))
        else:
            lanes.want(a, a.machine.rank, plan.peer(a.machine.rank, a.ins.source))

    def carry(a: Action, dst: Rank) -> None:
        ready.append((sent, (a, dst, view(a.machine.rank, a.ins.what).copy())))

    def sent(a: Action, dst: Rank, array: np.ndarray) -> None:
        a.machine.finish(a)
        lanes.arrived((a.machine.rank, a.ins.tag, array), dst, a.ins.lane)

    def deliver(a: Action, letter: tuple[Rank, Path, np.ndarray]) -> None:
        a.take(Message(letter[0], letter[1]))
        here = view(a.machine.rank, a.ins.into)
        here[:] = here + letter[2] if a.ins.add else letter[2]
        ready.append((a.machine.finish, (a,)))

    lanes = Lanes(plan.slots, carry, deliver)
    for m in [Machine(plan, r, begin, lambda a: None) for r in plan.ranks]:
        m.pump()
    while ready:
        call, args = ready.pop(int(rng.integers(len(ready))))
        call(*args)
    return values


@pytest.fixture
def in_order() -> Callable[[Plan], list[Action]]:
    """plan without messages -> its actions in the order in which they end, each as soon as it may."""

    def play(plan: Plan) -> list[Action]:
        ready, ended = deque[Action](), list[Action]()
        for m in [Machine(plan, r, ready.append, ended.append) for r in plan.ranks]:
            m.pump()
        while ready:
            a = ready.popleft()
            a.machine.finish(a)
        return ended

    return play


@pytest.fixture
def by_rank() -> Callable[[Spans], dict[Rank, dict[Path, Span]]]:
    """Spans by rank."""

    def split(spans: Spans) -> dict[Rank, dict[Path, Span]]:
        found: dict[Rank, dict[Path, Span]] = defaultdict(dict)
        for (rank, id), span in spans.items():
            found[rank][id] = span
        return found

    return split
