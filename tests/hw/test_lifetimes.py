"""Values that are alive at the same time share no byte: replayed from the unrolled plan, for every order that it allows.

Nothing here asks `hw.lifetimes`. What an action reads and writes is taken from its calls and its `Ref`s, where that lies from
`Lowered.offset`, and what may run at the same time from the waits of `unroll` alone.
"""

from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.frontend.symbol import Builder
from graph.ir import Kind
from graph.optimizer import Sgd
from graph.parallel.plan import PROGRAMS, Buffer, Do, Instruction, Peer, Plan, Recv, Ref, Role, Send
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.tensor_type import f32
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lifetimes import is_kept
from hw.lower import lower
from hw.lowered import MICRO_BATCH, ArenaLayout, Lowered

START, NOBODY = -1, -2  # writers: before the step, and none
MOMENTUM = Sgd(learning_rate=0.1, momentum=0.9)
LENET = {"image": (8, 8, 1), "width": 2.0, "dropout": 0.5}
SAMPLES = [(s.name, k) for s in STRATEGIES.values() if s.trains for k in range(len(s.samples))]


class Access(NamedTuple):
    """A user (a call, or a transfer) touches bytes ``[first, first + nbytes)`` of what stands at address `base`."""

    user: int
    space: tuple[object, ...]
    base: int
    first: int
    nbytes: int
    is_write: bool


class Life(NamedTuple):
    """Bytes ``[first, last)`` of the arena hold what `writer` wrote and `reader` reads."""

    writer: int
    reader: int
    first: int
    last: int
    space: tuple[object, ...]


class Replay:
    """Steps of one rank: its users in the order of issue, what they touch, and who is over before whom."""

    def __init__(self, low: Lowered, rank: int = 0, steps: int = 1) -> None:
        self.low, self.rank = low, [r for r in low.plan.ranks if r.role == low.role][rank]
        self.buffers = low.plan.role[low.role].buffers
        self.accesses: list[Access] = []
        self.names: list[str] = []
        self.before: list[int] = []  # user -> bit set of those that are over when it begins
        self.workspaces: list[int] = []
        last: dict[int, int] = {}  # action -> its last user
        for a in (a for a in unroll(low.plan, self.rank, steps) if a.is_leaf):
            needs = [last[n] for n in a.needs]
            calls = low.segments[a.ins.kernel] if isinstance(a.ins, Do) else ()
            for call in calls or (None,):
                user = len(self.names)
                self.names.append(f"{'/'.join(map(str, a.id))}{f' {call.nodes or call.kernel}' if call else ''}")
                found = 0
                for n in needs:
                    found |= self.before[n] | 1 << n
                self.before.append(found)
                if call is not None:
                    assert isinstance(a.ins, Do)
                    self.accesses += [self.of_value(user, a.ins, v, False) for v in call.reads]
                    self.accesses += [self.of_value(user, a.ins, v, True) for v in call.writes]
                    self.workspaces += [user] * (call.workspace > 0)
                needs = [user]
            for refs, is_write in ((a.ins.reads, False), (a.ins.writes, True)):
                touched = [r for r in refs if isinstance(a.ins, Send | Recv) or not self.buffers[r.buffer].values]
                self.accesses += [self.of_ref(needs[0], ref, is_write) for ref in touched]
            last[a.index] = needs[0]
        self.end = len(self.names)
        self.names += ["the end", "the beginning"]
        self.before.append((1 << self.end) - 1)

    def of_ref(self, user: int, ref: Ref, is_write: bool) -> Access:
        plan, b = self.low.plan, self.buffers[ref.buffer]
        name, slot, _, _ = plan.key(self.rank, ref)
        first, size = plan.extent(self.rank, ref)
        base = self.low.layout.buffers[name, slot]
        return Access(user, ("buffer", name, slot), base, first * b.itemsize, size * b.itemsize, is_write)

    def of_value(self, user: int, do: Do, value: str, is_write: bool) -> Access:
        if value in self.buffers:
            ref = next(r for r in (*do.writes, *do.reads) if r.buffer == value)
            assert self.low.offset(do, value, self.rank) == sum(self.of_ref(user, ref, is_write)[2:4])
            return self.of_ref(user, ref, is_write)
        root = value
        while root in self.low.layout.views:
            root = self.low.layout.views[root]
        at, nbytes = self.low.offset(do, value, self.rank), self.low.graph.type_of(value).nbytes
        if root in self.low.layout.values:
            own = do.id[MICRO_BATCH] if root in self.low.layout.per_micro_batch else 0
            return Access(user, ("value", root, own), at, 0, nbytes, is_write)
        ref = next(r for r in (*do.writes, *do.reads) if root in self.buffers[r.buffer].values)
        buffer = self.of_ref(user, ref, is_write)
        return buffer._replace(first=at - buffer.base, nbytes=nbytes)

    def lives(self) -> Iterator[Life]:
        """What is read by whom, from the writer that was the last one in the order of issue."""
        held = dict[tuple[object, ...], tuple[int, np.ndarray]]()
        counters = {v.name for v in self.low.graph.of_kind(Kind.COUNTER)}
        for (name, slot), base in self.low.layout.buffers.items():
            b = self.buffers[name]
            held["buffer", name, slot] = base, np.full(b.size * b.itemsize, START if is_kept(b) else NOBODY)
        for a in self.accesses:
            if a.space not in held:
                held[a.space] = a.base, np.full(a.nbytes, START if a.space[1] in counters else NOBODY)
            base, writers = held[a.space]
            assert base == a.base and a.first + a.nbytes <= len(writers), f"{self.names[a.user]} reaches beyond {a.space}"
            if a.is_write:
                writers[a.first : a.first + a.nbytes] = a.user
            else:
                yield from self._read(a, writers)
        kept = {("value", v, 0) for v in self.low.graph.outputs.values()}
        for space, (base, writers) in held.items():
            if space in kept or (space[0] == "buffer" and is_kept(self.buffers[str(space[1])])):
                yield from self._read(Access(self.end, space, base, 0, len(writers), False), writers)

    def _read(self, a: Access, writers: np.ndarray) -> Iterator[Life]:
        found = writers[a.first : a.first + a.nbytes]
        cuts = [0, *(np.flatnonzero(np.diff(found)) + 1), len(found)]
        for i, j in pairwise(cuts):
            if i == j:
                continue
            if found[i] == NOBODY:
                assert a.first + i >= self._used(a.space), f"{self.names[a.user]} reads of {a.space} what nobody wrote"
                continue
            yield Life(int(found[i]), a.user, a.base + a.first + i, a.base + a.first + j, a.space)

    def _used(self, space: tuple[object, ...]) -> int:
        """Bytes of a space that mean something: buckets may be padded."""
        values = self.buffers[str(space[1])].values if space[0] == "buffer" else ()
        return sum(self.low.graph.type_of(v).nbytes for v in values) if values else 1 << 62

    def is_over(self, u: int, v: int) -> bool:
        """Whether `u` has ended when `v` begins, whatever the order."""
        return u >= 0 and v >= 0 and bool(self.before[v] >> u & 1)

    def check(self) -> int:
        """Nobody may write to bytes that are alive, but who made them and who changes them in place; returns how many lives."""
        lives = list(dict.fromkeys(self.lives()))
        first, last = np.array([x.first for x in lives]), np.array([x.last for x in lives])
        for q in (a for a in self.accesses if a.is_write):
            at = q.base + q.first
            assert at >= 0 and at + q.nbytes <= self.low.layout.nbytes
            for k in np.flatnonzero((first < at + q.nbytes) & (at < last)):
                x = lives[k]
                if q.space == x.space and q.user in (x.writer, x.reader):
                    continue
                assert self.is_over(q.user, x.writer) or self.is_over(x.reader, q.user), (
                    f"{self.names[q.user]} may write {q.space} over {x.space}, which "
                    f"{self.names[x.writer]} made for {self.names[x.reader]}"
                )
        for u, v in pairwise(self.workspaces):
            assert self.is_over(u, v), f"{self.names[u]} and {self.names[v]} may use the workspace at once"
        work = range(self.low.layout.workspace, self.low.layout.workspace + self.low.layout.workspace_nbytes)
        assert not len(work) or not np.any((first < work.stop) & (work.start < last))
        return len(lives)


def check(plan: Plan, steps: int = 1) -> None:
    for role in plan.roles:
        low = lower(plan, role.name, Platform.CPU)
        for rank in {0, sum(r.role == role.name for r in plan.ranks) - 1}:
            assert Replay(low, rank, steps).check() > 0


@pytest.mark.parametrize(("strategy", "sample"), SAMPLES)
def test_nobody_writes_what_is_alive(strategy, sample):
    options = STRATEGIES[strategy].samples[sample]
    check(STRATEGIES[strategy].build(MODELS["lenet"].build(6, **LENET), MOMENTUM, **{"steps": 1, **options}))


@pytest.mark.parametrize("sample", range(len(STRATEGIES["features"].samples)))
def test_what_comes_for_the_next_step_waits_in_a_place_of_its_own(sample):
    """Where steps overlap: over several steps nobody writes what is alive."""
    options = STRATEGIES["features"].samples[sample]
    check(STRATEGIES["features"].build(MODELS["lenet"].build(6, **LENET), MOMENTUM, **{**options, "steps": 4}), steps=4)


@settings(max_examples=12, deadline=None)
@given(
    model=st.sampled_from(["mlp", "lenet", "resnet50", "alexnet"]),
    way=st.sampled_from(["data_parallel", "parameter_server", "model", "layers"]),
    micro_batches=st.integers(2, 4),
    options=st.fixed_dictionaries({"ranks": st.integers(1, 2), "input_slots": st.integers(1, 2)}),
    bucket_bytes=st.sampled_from([1, 4096, 1 << 20]),
)
def test_micro_batches_do_not_write_what_is_alive(model, way, micro_batches, options, bucket_bytes):
    if way in ("data_parallel", "parameter_server"):
        options = {**options, "bucket_bytes": bucket_bytes}
    forward = MODELS[model].build(4, **MODELS[model].tiny)
    check(STRATEGIES[way].build(forward, MOMENTUM, steps=1, micro_batches=micro_batches, **options))


def test_the_check_sees_values_that_share_bytes():
    """Each private value in turn moved onto another that is alive: it may not pass."""
    plan = STRATEGIES["data_parallel"].build(MODELS["lenet"].build(4, **LENET), MOMENTUM, ranks=2, steps=1, bucket_bytes=4096)
    low = lower(plan, "worker", Platform.CPU)
    made = [n.outputs[0].name for n in low.graph if f"{n.outputs[0].name}" in low.layout.values and n.layer == "conv1"]
    for v in made[:-1]:
        values = {**low.layout.values, v: low.layout.values[made[-1]]}
        with pytest.raises(AssertionError, match="may write"):
            Replay(_with(low, values)).check()


def _with(low: Lowered, values: dict[str, int]) -> Lowered:
    at = low.layout
    layout = ArenaLayout(
        buffers=at.buffers, values=values, per_micro_batch=at.per_micro_batch, views=at.views, workspace=at.workspace,
        workspace_nbytes=at.workspace_nbytes, nbytes=at.nbytes,
    )  # fmt: skip
    return Lowered(graph=low.graph, plan=low.plan, role=low.role, platform=low.platform, segments=low.segments, layout=layout)


def _unusual(
    plan: Plan, role: Role, *, order: tuple[str, ...], is_sent: bool, carries: bool
) -> Generator[Instruction, None, None]:
    """Micro-batches whose segments come in this order. Sent: beside the first one a letter goes on, which only the second one
    waits for. Carries: the first segment reads what the last micro-batch left in a buffer."""
    there = Peer(None, ("dp",), 1)
    if is_sent:
        yield from (Recv(tag=(0, name), into=Ref(name), source=there) for name in ("early", "gate"))
        yield from (Send(tag=(0, name), what=Ref(name), to=there) for name in ("early", "gate"))
    for m, names in enumerate(order):
        for name in names:
            reads, writes = (Ref("data"),), tuple(Ref("gate") for _ in range(is_sent and m > 0))
            if carries and name == "a":
                reads, writes = (*reads, *(Ref("kept") for _ in range(m))), (*writes, Ref("kept"))
            yield Do(id=(0, "forward", name, m), kernel=f"forward/{name}", reads=reads, writes=writes)


if "test_lifetimes" not in PROGRAMS:
    PROGRAMS.add("test_lifetimes", _unusual)


def _plan(order: tuple[str, ...], *, is_sent: bool = False, carries: bool = False) -> Plan:
    """Segment a makes what c reads; what b makes, it reads itself."""
    b = Builder("unusual")
    x = b.input("x", f32(16), Kind.DATA)
    with b.layer("a"):
        (y,) = b.apply("tanh", (x,))
    with b.layer("b"):
        b.apply("relu", b.apply("tanh", (x,)))
    with b.layer("c"):
        b.apply("relu", (y,))
    graph = b.graph()
    segments = {f"forward/{name}": tuple(n.name for n in graph if n.layer == name) for name in "abc"}
    data = Buffer(size=64, itemsize=1, kind="data", values=("x",))
    role = Role(
        name="worker", program="test_lifetimes", params={"order": order, "is_sent": is_sent, "carries": carries}, axes={"dp": 2},
        buffers={"data": data, **{name: Buffer(size=16) for name in ("early", "gate", "kept")}}, graph=graph, segments=segments,
    )  # fmt: skip
    return Plan((role,))


@pytest.mark.parametrize("order", [("abc", "abc"), ("abc", "acb"), ("acb", "abc"), ("ab", "abc"), ("abc", "ac"), ("a", "bc")])
@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("carries", [False, True])
def test_unusual_micro_batches(order, is_sent, carries):
    """Other orders, letters that go on beside the first micro-batch, a buffer that the next one reads."""
    check(_plan(order, is_sent=is_sent, carries=carries))
