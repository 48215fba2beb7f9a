"""Plans as data: peers, parts, refusals, identity; and the text form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.plan import PROGRAMS, Buffer, Coordinate, Peer, Plan, Rank, Ref, Role, program
from graph.parallel.programs.coordinator import coordinator_plan
from graph.parallel.programs.hogwild import hogwild_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.parallel.text import plan_text


@pytest.fixture
def grid():
    """A role of 2 x 3 x 4 ranks with one buffer of 10 elements."""
    role = Role(
        name="w", program="tests_listed", params={"stream": ()}, axes={"pp": 2, "dp": 3, "tp": 4}, buffers={"g": Buffer(size=10)}
    )
    return Plan((role,))


def test_ranks_are_the_product_of_the_axes(grid):
    assert len(grid.ranks) == 24
    assert grid.ranks[0] == grid.first_rank("w") == Rank("w", (0, 0, 0))
    assert str(grid.ranks[-1]) == "w[1,2,3]"
    assert str(Rank("server")) == "server"


def test_index_counts_along_the_named_axes(grid):
    me = Rank("w", (1, 2, 3))
    assert grid.index(me, ("tp",)) == (3, 4)
    assert grid.index(me, ("pp", "tp")) == (7, 8)
    assert grid.index(me, ()) == (0, 1)
    with pytest.raises(InvalidPlan, match="role 'w' has no axis 'dq'; known: dp, pp, tp"):
        grid.index(me, ("dq",))


def test_peers_go_round(grid):
    me = Rank("w", (1, 2, 3))
    assert grid.peer(me, Peer(along=("dp",), by=1)) == Rank("w", (1, 0, 3))
    assert grid.peer(me, Peer(along=("tp",), by=-5)) == Rank("w", (1, 2, 2))
    assert grid.peer(me, Peer(along=("dp", "tp"), by=1)) == Rank("w", (1, 0, 0))
    assert grid.peer(me, Rank("x")) == Rank("x")
    assert grid.group(me, ("dp",)) == [Rank("w", (1, 2, 3)), Rank("w", (1, 0, 3)), Rank("w", (1, 1, 3))]


def test_peers_in_a_role_with_other_axes():
    """Counted from an index of mine, or the same for everybody; along an axis of the same name, where I stand."""
    params = {"stream": ()}
    plan = Plan(
        (
            Role(name="w", program="tests_listed", params=params, axes={"node": 3, "device": 4}),
            Role(name="s", program="tests_listed", params=params, axes={"node": 3}),
        )
    )
    me, there = Rank("w", (1, 3)), Rank("s", (2,))

    def server(*at):
        return plan.peer(me, Peer("s", at=at))

    assert server(Coordinate("node", plus=2)) == Rank("s", (2,))
    assert server(Coordinate("node", ("node",), plus=2)) == Rank("s", (0,))
    assert server(Coordinate("node", ("device",), over=2)) == Rank("s", (1,))
    assert server(Coordinate("node", ("node", "device"), times=2, plus=1)) == Rank("s", ((7 * 2 + 1) % 3,))
    back = Coordinate("device", ("node",), times=2, plus=1)
    assert plan.peer(there, Peer("w", at=(back,))) == Rank("w", (2, 1))
    with pytest.raises(InvalidPlan, match="role 's' has no axis 'device'; known: node"):
        plan.peer(there, Peer("w", at=(Coordinate("node", plus=1),)))


def test_parts_are_counted_in_strides():
    role = Role(name="w", program="tests_listed", params={"stream": ()}, axes={"dp": 3}, buffers={"g": Buffer(size=12)})
    plan = Plan((role,))
    refs = [Ref("g", part=1, parts=6, turn=("dp",), stride=2)]
    assert [plan.extent(Rank("w", (k,)), r) for k in range(3) for r in refs] == [(2, 2), (6, 2), (10, 2)]


@given(size=st.integers(0, 50), parts=st.integers(1, 9))
def test_parts_are_those_of_array_split(size, parts):
    role = Role(
        name="w", program="tests_listed", params={"stream": ()}, axes={"dp": parts}, buffers={"g": Buffer(size=size, itemsize=8)}
    )
    plan = Plan((role,))
    whole = np.arange(size)
    for k, part in enumerate(np.array_split(whole, parts)):
        me = Rank("w", (k,))
        for ref in (Ref("g", part=k, parts=parts), Ref("g", part=k + parts, parts=parts), Ref("g", parts=parts, turn=("dp",))):
            first, n = plan.extent(me, ref)
            assert (whole[first : first + n] == part).all()
            assert plan.nbytes(me, ref) == part.nbytes


def test_values_take_turns_in_slots():
    role = Role(name="w", program="tests_listed", params={"stream": ()}, buffers={"x": Buffer(size=1, slots=3)})
    assert [Plan((role,)).key(Rank("w"), Ref("x", k))[1] for k in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Buffer(size=1, kind="gradiant"), "unknown kind of buffer 'gradiant'; did you mean 'gradient'?"),
        (lambda: Buffer(size=1, slots=0), "slots >= 1, got size 1, itemsize 4, slots 0"),
        (lambda: Buffer(size=-1), "got size -1"),
        (lambda: Role(name="w", program="recorded", axes={"dp": 0}), "role 'w': axis 'dp' has 0 ranks; it needs at least 1"),
        (
            lambda: Plan((Role(name="w", program="recordet"),)),
            "role 'w' plays unknown program 'recordet'; did you mean 'recorded'?",
        ),
        (lambda: Plan((Role(name="w", program="recorded"),) * 2), "two roles are named 'w'"),
        (lambda: Plan((), slots=0), "a lane needs room for at least 1 message, got 0"),
    ],
)
def test_impossible_parts_are_refused(make, message):
    with pytest.raises(InvalidPlan) as found:
        make()
    assert message in str(found.value)


def test_hash_is_of_content():
    def make(**params):
        return Plan((Role(name="w", program="tests_reduce_once", params={"algorithm": "ring", "steps": 1, **params}),))

    assert make().hash == make().hash
    assert make(steps=7).hash == make().hash
    assert make(algorithm="tree").hash != make().hash
    assert Plan(make().roles, slots=3).hash != make().hash


def test_hash_sees_the_source_of_a_program(monkeypatch):
    def one(plan, role):
        yield from ()

    def two(plan, role):
        yield from []

    monkeypatch.setattr(PROGRAMS, "_items", {**PROGRAMS, "tests_source": one})
    first = Plan((Role(name="w", program="tests_source"),)).hash
    monkeypatch.setattr(PROGRAMS, "_items", {**PROGRAMS, "tests_source": two})
    assert Plan((Role(name="w", program="tests_source"),)).hash != first


def test_a_program_has_one_name(monkeypatch):
    monkeypatch.setattr(PROGRAMS, "_items", dict(PROGRAMS.items()))

    def recorded(plan, role):
        yield from ()

    with pytest.raises(Exception, match="program 'recorded' is registered twice"):
        program(recorded)


def test_shortened_plans_keep_their_hash(reduce_once):
    plan = reduce_once("ring", 2, steps=50)
    assert plan.shortened(2).role["worker"].params["steps"] == 2
    assert plan.shortened(99).role["worker"].params["steps"] == 50
    assert plan.shortened(2).hash == plan.hash


def test_text_of_a_pipeline_whole():
    plan = pipeline_plan(2, 1, dp=2, parameters=6)
    head, first_stage = plan_text(plan).split("\nrole stage.1")[0].split("\n\n", 1)
    assert head == f"plan {plan.hash}: 4 ranks, a lane holds 2 unread messages"
    assert (
        first_stage
        == """\
role stage.0: program pipeline, dp 2 x tp 1, 816 bytes of buffers a rank
  steps 1, stage 0, stages 2, micro_batches 1, schedule 1f1b, layers 1

    x  activation  1 x 256 B
    d  activation  2 x 256 B
    g  gradient    1 x 24 B   sharded along tp
    w  parameter   1 x 24 B   sharded along tp

  stream of stage.0[0,0], step 0
    input        0/input/0            -> x
    compute      0/forward/0/0        x w -> x                               1 flop
    activation>  0/activation/0/send  x -> stage.1[0,0]                      256 B
    gradient<    0/gradient/0/recv    d <- stage.1[0,0]                      256 B
    compute      0/backward/0/0       x w d -> d g                           1 flop
    comm         0/allreduce/g        g ring over dp (2 ranks, 4 transfers)  24 B
    compute      0/update/g           g w -> w
"""
    )


def test_text_of_a_program_that_waits_says_so():
    text = plan_text(coordinator_plan(2, 3))
    assert "stream of coordinator, as played once: it depends on what it hears" in text
    assert "in <- any worker" in text
    assert plan_text(coordinator_plan(2, 3)) == text  # the same bytes each time


def test_long_streams_are_cut():
    assert "more" in plan_text(coordinator_plan(2, 300))


def test_text_says_what_is_shared():
    assert "in the memory of thread" in plan_text(hogwild_plan(2, 3))
