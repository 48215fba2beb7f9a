"""Order follows from streams and buffers; nothing that ended is kept."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.lanes import Lanes
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import Buffer, Collective, Do, Message, Plan, Rank, Recv, Ref, Role, Send
from graph.parallel.unroll import unroll

BUFFERS = {n: Buffer(size=4) for n in "abc"}


def do(name, reads="", writes="", on="compute", **more):
    return Do(id=(0, name), kernel=name, reads=tuple(map(Ref, reads)), writes=tuple(map(Ref, writes)), on=on, **more)


class Held:
    """A player that ends actions when it is told to, and remembers what has begun."""

    def __init__(self, plan, **options):
        self.begun = {}
        self.ended = []
        self.machine = Machine(plan, plan.ranks[0], self.begin, lambda a: self.ended.append(a.id[1]), **options)
        self.machine.pump()

    def begin(self, a):
        self.begun[a.id[1]] = a

    def end(self, name):
        self.machine.finish(self.begun.pop(name))


def test_one_stream_runs_in_order(listed):
    held = Held(listed({"w": (do("x"), do("y"))}, BUFFERS))
    assert list(held.begun) == ["x"]
    held.end("x")
    assert list(held.begun) == ["y"]


def test_streams_are_independent_without_common_buffers(listed):
    held = Held(listed({"w": (do("x", writes="a"), do("y", writes="b", on="other"))}, BUFFERS))
    assert list(held.begun) == ["x", "y"]


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (("", "a"), ("a", ""), True),  # read after write
        (("a", ""), ("", "a"), True),  # write after read
        (("", "a"), ("", "a"), True),  # write after write
        (("a", ""), ("a", ""), False),  # two readers
        (("a", "b"), ("c", ""), False),
        (("a", "a"), ("a", ""), True),  # in place
    ],
)
def test_buffers_order_streams(listed, first, second, waits):
    held = Held(listed({"w": (do("x", *first), do("y", *second, on="other"))}, BUFFERS))
    assert list(held.begun) == (["x"] if waits else ["x", "y"])
    held.end("x")
    assert list(held.begun) == ["y"]


def test_a_writer_waits_for_every_reader(listed):
    readers = tuple(do(f"r{k}", reads="a", on=f"s{k}") for k in range(40))
    held = Held(listed({"w": (*readers, do("w", writes="a", on="t"))}, BUFFERS))
    for k in range(39):
        held.end(f"r{k}")
    assert "w" not in held.begun
    held.end("r39")
    assert "w" in held.begun


def test_slots_are_different_places(listed):
    stream = tuple(Do(id=(0, f"x{k}"), kernel="x", writes=(Ref("a", k),), on=f"s{k}") for k in range(3))
    held = Held(listed({"w": stream}, {"a": Buffer(size=4, slots=2)}))
    assert list(held.begun) == ["x0", "x1"]
    held.end("x0")
    assert list(held.begun) == ["x1", "x2"]


def test_parts_are_different_places(listed):
    stream = tuple(Do(id=(0, f"x{k}"), kernel="x", writes=(Ref("a", part=k, parts=4),), on=f"s{k}") for k in range(4))
    assert len(Held(listed({"w": stream}, BUFFERS)).begun) == 4


def test_the_program_sleeps_until_what_it_waits_for_ends(listed):
    held = Held(listed({"w": (do("x", wait=True), do("y", on="other"))}, BUFFERS))
    assert list(held.begun) == ["x"]
    held.end("x")
    assert list(held.begun) == ["y"]
    held.end("y")
    assert held.machine.ended
    assert not held.machine.live


def test_the_window_bounds_how_far_the_host_is_ahead(listed):
    held = Held(listed({"w": tuple(do(f"x{k}") for k in range(9))}, BUFFERS), window=3)
    assert len(held.machine.live) == 3
    held.end("x0")
    assert len(held.machine.live) == 3


def test_launch_costs_host_time(listed):
    now = [10.0]
    held = Held(listed({"w": tuple(do(f"x{k}", on=f"s{k}") for k in range(3))}, BUFFERS), clock=lambda: now[0], launch=0.5)
    assert [a.ready for a in held.begun.values()] == [10.5, 11.0, 11.5]


def test_a_collective_is_a_leaf_unless_it_is_expanded(listed):
    stream = (Collective(id=(0, "sum"), algorithm="ring", what=Ref("a"), along=("dp",)), do("x", reads="a"))
    held = Held(listed({"w": stream}, BUFFERS, {"dp": 2}))
    whole = held.begun["sum"]
    assert whole.is_leaf
    held.end("sum")
    assert list(held.begun) == ["x"]
    held = Held(listed({"w": stream}, BUFFERS, {"dp": 2}))
    whole = held.begun.pop("sum")
    held.machine.expand(whole)
    assert not whole.is_leaf
    assert [a.id for a in held.machine.live] == [
        (0, "sum"), (0, "x"), (0, "sum", 0, "send"), (0, "sum", 0, "recv"), (0, "sum", 1, "send"), (0, "sum", 1, "recv"),
    ]  # fmt: skip


def test_a_collective_of_one_rank_ends_at_once(listed):
    stream = (Collective(id=(0, "sum"), algorithm="ring", what=Ref("a"), along=("dp",), wait=True), do("x", reads="a"))
    plan = listed({"w": stream}, BUFFERS, {"dp": 1})
    ended = []

    def begin(a):
        (a.machine.expand if isinstance(a.ins, Collective) else a.machine.finish)(a)  # within its issue

    Machine(plan, plan.ranks[0], begin, lambda a: ended.append(a.id[1])).pump()
    assert ended == ["sum", "x"]


def test_only_collectives_expand(listed):
    held = Held(listed({"w": (do("x"),)}, BUFFERS))
    with pytest.raises(InvalidPlan, match="w:0/x is no collective"):
        held.machine.expand(held.begun["x"])


def test_nothing_that_ended_is_kept(reduce_once):
    """Actions alive when a plan has been played do not grow with its steps, readers that nobody overwrites included."""

    def left(steps):
        plan = reduce_once("ring", 3, steps=steps)
        machines = []

        def begin(a):
            todo.append(a)

        def play(a):
            if isinstance(a.ins, Do):
                a.machine.finish(a)
            elif isinstance(a.ins, Collective):
                a.machine.expand(a)
            elif isinstance(a.ins, Send):
                lanes.offer(a, a.machine.rank, plan.peer(a.machine.rank, a.ins.to))
            else:
                lanes.want(a, a.machine.rank, plan.peer(a.machine.rank, a.ins.source))

        def carry(a, dst):
            a.machine.finish(a)
            lanes.arrived((a.machine.rank, a.ins.tag), dst, a.ins.lane)

        todo = []
        lanes = Lanes(plan.slots, carry, lambda a, letter: a.machine.finish(a))
        machines = [Machine(plan, r, begin, lambda a: None, window=64) for r in plan.ranks]
        for m in machines:
            m.pump()
        while todo:
            play(todo.pop(0))
        gc.collect()
        return sum(isinstance(x, Action) for x in gc.get_objects())

    assert left(60) == left(3) < 30


def test_readers_of_what_nobody_writes_do_not_pile_up(listed):
    stream = tuple(do(f"x{k}", reads="a") for k in range(1000))
    held = Held(listed({"w": stream}, BUFFERS), window=4)
    for k in range(1000):
        held.end(f"x{k}")
    assert len(held.machine.scope._readers["a", 0, 0, 1]) < 20


def lanes_with_log(slots, log):
    return Lanes(
        slots, lambda a, dst: log.append(("carry", a.id[1])), lambda a, letter: log.append(("deliver", a.id[1], letter[1]))
    )


def test_lanes_hold_so_many_letters(listed):
    log = []
    lanes = lanes_with_log(2, log)
    a, b = Rank("a"), Rank("b")
    plan = listed({"a": tuple(Send(tag=(0, k), what=Ref("a"), to=b) for k in "xyz"), "b": ()}, BUFFERS)
    machine = Machine(plan, a, lambda s: None, lambda s: None)
    sends = [Action(machine, s, None, 0.0) for s in plan.role["a"].params["stream"]]
    take = Action(machine, Recv(tag=(0, "x"), into=Ref("a"), source=a), None, 0.0)
    for s in sends:
        lanes.offer(s, a, b)
    assert log == [("carry", "x"), ("carry", "y")]
    lanes.arrived((a, (0, "x")), b, "wire")
    lanes.want(take, b, a)
    assert log[2:] == [("deliver", "x", (0, "x")), ("carry", "z")]


def test_a_reader_of_a_role_takes_whoever_comes_first(listed):
    log = []
    lanes = lanes_with_log(2, log)
    plan = listed({"a": (), "b": ()}, BUFFERS)
    take = Action(
        Machine(plan, Rank("b"), lambda s: None, lambda s: None), Recv(tag=(0, "q"), into=Ref("a"), source="c"), None, 0.0
    )
    lanes.arrived((Rank("d"), "of another role"), Rank("b"), "wire")
    lanes.want(take, Rank("b"), "c")
    assert not log
    lanes.arrived((Rank("c", (1,)), "first"), Rank("b"), "wire")
    assert log == [("deliver", "q", "first")]


def test_a_letter_names_the_receipt_of_whoever_came(listed):
    plan = listed({"b": ()}, BUFFERS)
    machine = Machine(plan, Rank("b"), lambda s: None, lambda s: None)
    take = Action(machine, Recv(tag=(0, "q"), into=Ref("a"), source="c"), None, 0.0)
    take.take(Message(Rank("c", (1,)), (3, "push"), "note"))
    assert take.id == (3, "push", "c[1]", "recv")
    assert take.value.note == "note"


def touching(name, what, part, parts, *, writes):
    refs = (Ref(what, part=part, parts=parts),)
    return Do(id=(0, name), kernel=name, on=name, **{"writes" if writes else "reads": refs})


def test_a_part_waits_for_the_whole_and_the_whole_for_every_part(listed):
    stream = (
        touching("whole", "a", 0, 1, writes=True),
        touching("left", "a", 0, 2, writes=True),
        touching("right", "a", 1, 2, writes=False),
        touching("again", "a", 0, 1, writes=True),
    )
    held = Held(listed({"w": stream}, BUFFERS))
    assert list(held.begun) == ["whole"]
    held.end("whole")
    assert list(held.begun) == ["left", "right"]
    held.end("left")
    assert list(held.begun) == ["right"]
    held.end("right")
    assert list(held.begun) == ["again"]


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 6]), st.integers(0, 5), st.booleans()), min_size=2, max_size=12))
def test_however_a_buffer_is_cut_what_overlaps_is_ordered(steps):
    """Every action on a stream of its own: of two that touch an element, and one writes, the later follows the earlier."""
    stream = tuple(touching(str(k), "g", part, parts, writes=w) for k, (parts, part, w) in enumerate(steps))
    plan = Plan((Role(name="w", program="tests_listed", params={"stream": stream}, buffers={"g": Buffer(size=6)}),))
    (rank,) = plan.ranks
    after: list[set[int]] = []
    for a in unroll(plan, rank):
        after.append(set(a.needs).union(*(after[k] for k in a.needs)))
    spans = [plan.extent(rank, (*i.reads, *i.writes)[0]) for i in stream]
    for b, (later, n) in enumerate(spans):
        for a, (earlier, m) in enumerate(spans[:b]):
            if max(later, earlier) < min(later + n, earlier + m) and (steps[a][2] or steps[b][2]):
                assert a in after[b]
