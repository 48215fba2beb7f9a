"""Unrolled steps: complete, in an order that can be played, and with exactly the partial order that the machine keeps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.machine import Machine
from graph.parallel.plan import Buffer, Collective, Do, Peer, Plan, Rank, Recv, Ref, Role, Send
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.unroll import instructions, unroll

FIRST = Rank("worker", (0,))


def reachable(actions):
    """For each action: what must have ended before it begins, directly or not."""
    before = []
    for a in actions:
        mine = set(a.needs)
        for d in a.needs:
            mine |= before[d]
        before.append(mine)
    return before


def test_ring_of_three(reduce_once):
    """Sends wait for what they send; receipts for the part's earlier use, and for the lane."""
    actions = unroll(reduce_once("ring", 3), FIRST)
    table = [("/".join(map(str, a.id[1:])), a.needs, a.parent, a.is_leaf) for a in actions]
    assert table == [
        ("backward", (), None, True),
        ("allreduce", (0,), None, False),
        ("allreduce/0/send", (0,), 1, True),
        ("allreduce/0/recv", (0,), 1, True),
        ("allreduce/1/send", (2, 3), 1, True),
        ("allreduce/1/recv", (3,), 1, True),
        ("allreduce/2/send", (4, 5), 1, True),
        ("allreduce/2/recv", (2, 5), 1, True),
        ("allreduce/3/send", (6, 7), 1, True),
        ("allreduce/3/recv", (4, 7), 1, True),
        ("update", (8, 9), None, True),
    ]


def test_a_collective_of_one_rank_leaves_its_order_behind(reduce_once):
    table = [(a.id[1], a.needs, a.is_leaf) for a in unroll(reduce_once("ring", 1), Rank("worker", (0,)))]
    assert table == [("backward", (), True), ("allreduce", (0,), False), ("update", (0,), True)]


def test_steps_are_cut_out(reduce_once):
    plan = reduce_once("ring", 2, steps=5)
    one, two = unroll(plan, FIRST, first=3), unroll(plan, FIRST, 2)
    assert {a.id[0] for a in one} == {3}
    assert [a.id[1:] for a in one] == [a.id[1:] for a in unroll(plan, FIRST)]
    assert {a.id[0] for a in two} == {0, 1}
    assert len(two) == 2 * len(one)
    assert two[len(one)].needs  # the second step is ordered after the first
    assert len(unroll(plan, FIRST, 99)) == 5 * len(one)


def test_collectives_whole(reduce_once):
    actions = unroll(reduce_once("ring", 4), FIRST, expand=False)
    assert [(a.id[1], a.needs, a.is_leaf) for a in actions] == [
        ("backward", (), True),
        ("allreduce", (0,), True),
        ("update", (1,), True),
    ]
    assert [type(i) for i in instructions(reduce_once("ring", 4), FIRST)] == [Do, Collective, Do]


@pytest.mark.parametrize(("steps", "first"), [(0, 0), (1, -1)])
def test_steps_out_of_range(reduce_once, steps, first):
    with pytest.raises(InvalidPlan, match="steps >= 1 from first >= 0"):
        unroll(reduce_once("ring", 2), FIRST, steps, first=first)
    with pytest.raises(InvalidPlan, match="steps >= 1 from first >= 0"):
        list(instructions(reduce_once("ring", 2), FIRST, steps, first=first))


def test_programs_that_wait_are_refused():
    plan = parameter_server_plan(2, 3, 1)
    with pytest.raises(
        InvalidPlan, match=r"server waits for 0/push/recv: a stream that depends on what it hears cannot be unrolled"
    ):
        unroll(plan, Rank("server"))
    with pytest.raises(InvalidPlan, match=r"worker\[0\] waits for 0/pull/recv"):
        unroll(plan, FIRST)


def test_receipts_from_anybody_are_refused(listed):
    plan = listed({"worker": (Recv(tag=(0, "x"), into=Ref("a"), source="worker"),)}, {"a": Buffer(size=1)})
    with pytest.raises(InvalidPlan, match="worker receives from whichever 'worker' comes first"):
        unroll(plan, Rank("worker"))


def test_ids_without_a_step_are_refused(listed):
    plan = listed({"worker": (Do(id=("x",), kernel="x"),)}, {})
    with pytest.raises(InvalidPlan, match="does not begin with a step"):
        unroll(plan, Rank("worker"))


def test_a_lane_of_two_streams_has_no_fixed_order(listed):
    """Two collectives on different streams that share a lane's name with a send of its own."""
    stream = (
        Collective(id=(0, "sum"), algorithm="ring", what=Ref("a"), along=("dp",)),
        Send(tag=(0, "x"), what=Ref("b"), to=Peer(along=("dp",), by=1), lane="comm"),
    )
    plan = listed({"worker": stream}, {"a": Buffer(size=4), "b": Buffer(size=4)}, {"dp": 2})
    with pytest.raises(InvalidPlan, match="its lane is used by more than one stream"):
        unroll(plan, FIRST)


names = st.sampled_from("abc")
streams = st.lists(
    st.tuples(
        st.frozensets(names, max_size=2),
        st.frozensets(names, max_size=2),
        st.sampled_from(["one", "two", "three"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(streams)
def test_needs_are_the_order_of_the_machine(rows):
    """Against a naive statement of the rules: same stream, or one writes what the other touches."""
    stream = []
    for k, (reads, writes, on, is_sum) in enumerate(rows):
        if is_sum:
            stream.append(Collective(id=(0, k), algorithm="ring", what=Ref(min(writes, default="a")), along=("dp",)))
        else:
            r, w = tuple(map(Ref, sorted(reads))), tuple(map(Ref, sorted(writes)))
            stream.append(Do(id=(0, k), kernel="x", reads=r, writes=w, on=on))
    role = Role(
        name="w",
        program="tests_listed",
        params={"stream": tuple(stream)},
        axes={"dp": 2},
        buffers={n: Buffer(size=4) for n in "abc"},
    )
    plan = Plan((role,))
    actions = unroll(plan, plan.ranks[0])
    assert [a.index for a in actions] == list(range(len(actions)))
    assert all(d < a.index and actions[d].is_leaf for a in actions for d in a.needs)
    before = reachable(actions)
    top = {a.id: a for a in actions if a.parent is None}
    parts = {a.id: [b for b in actions if b.parent == a.index] or [a] for a in top.values()}
    direct = {}
    for k, second in enumerate(stream):
        direct[k] = set()
        for j, first in enumerate(stream[:k]):
            touched = {r.buffer for r in (*second.reads, *second.writes)}
            clash = {r.buffer for r in first.writes} & touched or {r.buffer for r in first.reads} & {
                r.buffer for r in second.writes
            }
            if first.on == second.on or clash:
                direct[k] |= {j} | direct[j]
        for j in range(k):
            ordered = all(p.index in before[q.index] for p in parts[0, j] for q in parts[0, k] if p.is_leaf)
            assert ordered == (j in direct[k])


def test_the_machine_plays_what_was_unrolled(reduce_once):
    """Same ids from a machine that ends everything at once, collectives' children included."""
    plan = reduce_once("tree", 4, steps=2)
    seen = []

    def begin(a):
        todo.append(a)

    todo = []
    machine = Machine(plan, FIRST, begin, lambda a: seen.append(a.id))
    machine.pump()
    while todo:
        a = todo.pop(0)
        (machine.expand if isinstance(a.ins, Collective) else machine.finish)(a)
    assert sorted(seen, key=str) == sorted((a.id for a in unroll(plan, FIRST, 2)), key=str)
