"""The native step on hand-made plans: order, letters, failures, stamps. No kernels of the project are needed."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numba import cfunc, types

import graph.parallel.collectives
import graph.parallel.programs  # noqa: F401 - fills the registries
from graph.parallel.algorithm import COLLECTIVES, Operation
from graph.parallel.plan import PROGRAMS, Buffer, Collective, Do, Peer, Plan, Rank, Recv, Ref, Role, Send
from runtime.executor import LocalBoard
from runtime.native import SYSTEM, peek, poke
from runtime.scheduler import CHOOSING, LETTERS, SENT, WORDS, Outcome, Word, play
from runtime.table import Row, Table, WirePlace, wire_layout, wire_sizes


def _test_scheduler(plan: Plan, role: Role, *, make: str) -> Iterator[object]:
    yield from MAKERS[make]()


MAKERS: dict[str, object] = {}
if "test_scheduler" not in PROGRAMS:
    PROGRAMS.add("test_scheduler", _test_scheduler)


@cfunc(types.void(types.intp))
def note(p: int) -> None:
    """Append word 1 of the block to the log at word 0, whose first element counts."""
    log, what = peek(p), peek(p + 8)
    n = peek(log)
    poke(log + 8 + 8 * n, what)
    poke(log, n + 1)


def plan_of(make: str, ranks: int = 1, **buffers: Buffer) -> Plan:
    role = Role(name="worker", program="test_scheduler", params={"make": make}, axes={"dp": ranks}, buffers=buffers)
    return Plan((role,))


class Player:
    """One rank: buffers as arrays, a log of what ran."""

    def __init__(self, plan: Plan, rank: Rank, memory: np.ndarray) -> None:
        self.log, self.blocks = np.zeros(1000, np.int64), []
        self.buffers = {n: np.zeros((b.slots, b.size), np.float32) for n, b in plan.role["worker"].buffers.items()}
        wires, _ = wire_layout(plan)
        at = int(memory.ctypes.data)

        def place(ref: Ref) -> int:
            buffer, slot, _, _ = plan.key(rank, ref)
            return int(self.buffers[buffer][slot].ctypes.data) + 4 * plan.extent(rank, ref)[0]

        def rows(do: Do) -> list[Row]:
            block = np.array([self.log.ctypes.data, do.note], np.int64)
            self.blocks.append(block)
            return [Row(function=note.address, argument=int(block.ctypes.data))]

        places = {w: WirePlace(address=at + o, stride=s) for w, (o, s) in wires.items()}
        self.table = Table(plan, rank, rows=rows, place=place, wires=places)
        self.local = LocalBoard(100, 0)
        self.words = np.zeros(WORDS, np.int64)
        b, w = self.local.board, self.words
        w[Word.ABORT], w[Word.STOP_AT], w[Word.PROGRESS], w[Word.ENDS] = b.abort, b.stop_at, b.progress, b.ends
        w[Word.CLOCK], w[Word.YIELD], w[Word.TIMEOUT_NS], w[Word.SLOTS] = (
            SYSTEM.clock_gettime,
            SYSTEM.sched_yield,
            10**10,
            plan.slots,
        )

    def play(self, first: int = 0, last: int = 1) -> Outcome:
        return Outcome(play(first, last, self.words, *self.table.arguments()))

    @property
    def notes(self) -> list[int]:
        return self.log[1 : 1 + self.log[0]].tolist()


def players(plan: Plan) -> tuple[list[Player], np.ndarray]:
    memory = np.zeros(wire_layout(plan)[1] // 8 + 1, np.int64)
    return [Player(plan, r, memory) for r in plan.ranks], memory


def play_all(ps: list[Player], steps: int) -> list[Outcome]:
    """All ranks at once: the native step holds no interpreter lock, so threads will do."""
    found: dict[int, Outcome] = {}

    def one(k: int) -> None:
        found[k] = ps[k].play(0, steps)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(len(ps))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [found[k] for k in range(len(ps))]


def test_lowest_index_first_within_the_partial_order() -> None:
    def chain() -> Iterator[Do]:
        yield Do(id=(0, "a"), kernel="k", note=1, on="s1", writes=(Ref("x"),))
        yield Do(id=(0, "b"), kernel="k", note=2, on="s2", reads=(Ref("y"),))
        yield Do(id=(0, "c"), kernel="k", note=3, on="s1", reads=(Ref("x"),), writes=(Ref("y"),))
        yield Do(id=(0, "d"), kernel="k", note=4, on="s3")

    MAKERS["chain"] = chain
    p = players(plan_of("chain", x=Buffer(size=1), y=Buffer(size=1)))[0][0]
    assert p.play(0, 3) is Outcome.DONE
    assert p.notes == [1, 2, 3, 4] * 3
    assert p.local.words[24] == 3  # progress


ROOT = 1


def expected(operation: Operation, values: list[np.ndarray], rank: int) -> list[np.ndarray | None]:
    """What each part of a rank's buffer holds afterwards; None: nothing that anybody may rely on."""
    n, total = len(values), np.array_split(sum(values), len(values))
    if operation is Operation.ALL_REDUCE:
        return list(total)
    if operation is Operation.REDUCE_SCATTER:
        return [total[i] if i == rank else None for i in range(n)]
    if operation is Operation.BROADCAST:
        return list(np.array_split(values[ROOT], n))
    if operation is Operation.REDUCE:
        return list(total) if rank == ROOT else [None] * n
    return [np.array_split(values[i], n)[i] for i in range(n)]


@pytest.mark.parametrize(("name", "ranks"), [(n, r) for n, a in COLLECTIVES.items() for r in (2, 3, 4) if a.accepts(r)])
@pytest.mark.parametrize("size", [1, 4, 1001])
def test_every_collective_leaves_what_it_says(name: str, ranks: int, size: int) -> None:
    algorithm = COLLECTIVES[name]
    MAKERS["all"] = lambda: iter([Collective(id=(0, "c", "g"), algorithm=name, what=Ref("g"), along=("dp",), root=ROOT)])
    plan = plan_of("all", ranks, g=Buffer(size=size))
    ps, memory = players(plan)
    rng = np.random.default_rng(0)
    values = [rng.integers(-1000, 1000, size).astype(np.float32) for _ in ps]  # whole numbers: sums are exact in any order
    for p, v in zip(ps, values, strict=True):
        p.buffers["g"][0] = v
    assert play_all(ps, 1) == [Outcome.DONE] * ranks
    for rank, p in enumerate(ps):
        for got, want in zip(np.array_split(p.buffers["g"][0], ranks), expected(algorithm.operation, values, rank), strict=True):
            assert want is None or np.array_equal(got, want)
    sent = sum(int(memory[(at + SENT) // 8]) for at, _ in wire_layout(plan)[0].values())
    assert sent == sum(total for _, total in wire_sizes(plan).values())
    letters = sum(int(memory[at // 8]) for at, _ in wire_layout(plan)[0].values())
    assert letters == algorithm.transfers(ranks)
    if name == "ring":
        assert letters == 2 * ranks * (ranks - 1)
        assert sent == 2 * (ranks - 1) * size * 4


def test_many_steps_keep_in_step() -> None:
    MAKERS["ring"] = lambda: iter([Collective(id=(0, "allreduce", "g"), algorithm="ring", what=Ref("g"), along=("dp",))])
    ps, _ = players(plan_of("ring", 2, g=Buffer(size=64)))
    for p in ps:
        p.buffers["g"][0] = 1
    assert play_all(ps, 60) == [Outcome.DONE] * 2
    assert all(np.all(p.buffers["g"] == 2.0**60) for p in ps)


def exchange() -> Iterator[Send | Recv]:
    yield Send(tag=(0, "hello"), what=Ref("g"), to=Peer(None, ("dp",), 1))
    yield Recv(tag=(0, "hello"), into=Ref("h"), source=Peer(None, ("dp",), 1))


def test_a_missing_letter_times_out_and_is_named() -> None:
    MAKERS["exchange"] = exchange
    p = players(plan_of("exchange", 2, g=Buffer(size=3), h=Buffer(size=3)))[0][0]
    p.words[Word.TIMEOUT_NS] = 20_000_000
    assert p.play() is Outcome.TIMED_OUT
    assert p.table.name(int(p.words[Word.AT_ACTION]), 0) == "0/hello/recv for worker[1]"


def test_a_letter_out_of_step_is_refused() -> None:
    MAKERS["exchange"] = exchange
    ps, _ = players(plan_of("exchange", 2, g=Buffer(size=3), h=Buffer(size=3)))
    ps[0].words[Word.TIMEOUT_NS] = 20_000_000
    assert ps[0].play(7, 8) is Outcome.TIMED_OUT  # its letter of step 7 is on the wire
    assert ps[1].play(0, 1) is Outcome.OUT_OF_STEP
    assert ps[1].words[Word.AT_STEP] == 0


def test_a_tag_that_differs_is_refused() -> None:
    MAKERS["exchange"] = exchange
    ps, memory = players(plan_of("exchange", 2, g=Buffer(size=3), h=Buffer(size=3)))
    ps[0].words[Word.TIMEOUT_NS] = 20_000_000
    assert ps[0].play() is Outcome.TIMED_OUT
    (at,) = [o for (src, _, _), (o, _) in wire_layout(ps[0].table.plan)[0].items() if src == ps[0].table.rank]
    memory[(at + LETTERS) // 8] ^= 1
    assert ps[1].play() is Outcome.OUT_OF_STEP


def test_abort_and_stop_are_obeyed() -> None:
    MAKERS["exchange"] = exchange
    ps, _ = players(plan_of("exchange", 2, g=Buffer(size=3), h=Buffer(size=3)))
    timer = threading.Timer(0.05, lambda: ps[0].local.words.__setitem__(0, 1))
    timer.start()
    assert ps[0].play() is Outcome.ABORTED
    MAKERS["one"] = lambda: iter([Do(id=(0, "a"), kernel="k", note=1)])
    p = players(plan_of("one"))[0][0]
    p.local.words[16] = 5
    assert p.play(0, 9) is Outcome.STOPPED
    assert p.notes == [1] * 5
    p.local.words[16] = CHOOSING  # nobody begins a step until the step to stop at is chosen
    timer = threading.Timer(0.05, lambda: p.local.words.__setitem__(16, 7))
    timer.start()
    assert p.play(5, 9) is Outcome.STOPPED
    assert p.words[Word.AT_STEP] == 7


def test_stamps_are_in_order_and_the_same_leaves() -> None:
    MAKERS["ring"] = lambda: iter([
        Do(id=(0, "backward", "l", 0), kernel="k", note=1, writes=(Ref("g"),)),
        Collective(id=(0, "allreduce", "g"), algorithm="ring", what=Ref("g"), along=("dp",)),
        Do(id=(0, "update", "l"), kernel="k", note=2, reads=(Ref("g"),)),
    ])  # fmt: skip
    ps, _ = players(plan_of("ring", 2, g=Buffer(size=100)))
    n = len(ps[0].table.leaves)
    stamps = [np.zeros((4, n, 3), np.int64) for _ in ps]
    for p, s in zip(ps, stamps, strict=True):
        p.words[Word.TIMERS] = s.ctypes.data
    assert play_all(ps, 4) == [Outcome.DONE] * 2
    for s in stamps:
        ready, start, end = s[..., 0], s[..., 1], s[..., 2]
        assert (ready > 0).all()
        assert (ready <= start).all()
        assert (start <= end).all()
        assert (ready[:, -1] == end[:, :-1].max(axis=1)).all()  # the update waits for the last transfer
        assert (np.sort(start, axis=1)[:, 1:] >= np.sort(end, axis=1)[:, :-1]).all()  # one thing at a time
