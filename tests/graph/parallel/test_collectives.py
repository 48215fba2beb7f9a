"""Every registered collective: it sums (or gathers) what it says, counts its transfers, keeps the rules of symmetry."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.algorithm import Group, Operation
from graph.parallel.check import check
from graph.parallel.collectives import COLLECTIVES
from graph.parallel.plan import Buffer, Collective, Plan, Rank, Ref, Role, Send
from graph.parallel.unroll import unroll

SIZES = (1, 2, 3, 4, 5, 7, 8, 16)
CASES = [(name, n) for name, a in COLLECTIVES.items() for n in SIZES if a.accepts(n)]


def transfers(plan):
    """Sends of all ranks in one step."""
    return sum(isinstance(a.ins, Send) for r in plan.ranks for a in unroll(plan, r))


@pytest.mark.parametrize(("name", "ranks"), [c for c in CASES if COLLECTIVES[c[0]].operation is Operation.ALL_REDUCE])
def test_each_contribution_is_counted_once(reduce_once, name, ranks):
    plan = reduce_once(name, ranks)
    for seed in range(3):
        proof = check(plan, seed)
        (taken,) = proof.taken.values()
        assert {c.rank for c in taken} == set(plan.ranks)
        assert not proof.lost


@pytest.mark.parametrize(("name", "ranks"), CASES)
def test_transfers_are_as_many_as_declared(reduce_once, name, ranks):
    plan = reduce_once(name, ranks)
    assert transfers(plan) == COLLECTIVES[name].transfers(ranks)


@pytest.mark.parametrize("ranks", SIZES)
def test_ring_makes_two_n_n_minus_one_chunk_transfers(reduce_once, ranks):
    plan = reduce_once("ring", ranks, size=ranks * 10)
    proof = check(plan)
    assert proof.transfers.get(("allreduce",), 0) == 2 * ranks * (ranks - 1)
    assert set(proof.wires.values()) <= {40}  # every letter is one part of 10 floats
    assert len(proof.wires) == (ranks if ranks > 1 else 0)  # one neighbour each


@pytest.mark.parametrize(("name", "ranks"), CASES)
@pytest.mark.parametrize("size", [48, 53, 3])
def test_numbers_are_numpy_sums(reduce_once, add_up, name, ranks, size):
    plan = reduce_once(name, ranks, size=size)
    before = np.random.Generator(np.random.Philox(ranks)).integers(-99, 99, (ranks, size)).astype(float)
    for seed in range(2):
        after = add_up(plan, before, seed)
        parts = np.array_split(np.arange(size), ranks)
        if COLLECTIVES[name].operation is Operation.ALL_REDUCE:
            assert (after == before.sum(axis=0)).all()
        elif COLLECTIVES[name].operation is Operation.REDUCE_SCATTER:
            for i, part in enumerate(parts):
                assert (after[i, part] == before.sum(axis=0)[part]).all()
        elif COLLECTIVES[name].operation is Operation.ALL_GATHER:
            for i, part in enumerate(parts):
                assert (after[:, part] == before[i, part]).all()
        elif COLLECTIVES[name].operation is Operation.BROADCAST:
            assert (after == before[0]).all()
        else:
            assert COLLECTIVES[name].operation is Operation.REDUCE
            assert (after[0] == before.sum(axis=0)).all()


@pytest.mark.parametrize("root", range(-1, 6))
@pytest.mark.parametrize("name", ["broadcast", "reduce"])
def test_any_rank_may_be_the_root(listed, add_up, name, root):
    """It is counted modulo the ranks."""
    c = Collective(id=(0, name), algorithm=name, what=Ref("g"), along=("dp",), root=root)
    plan = listed({"worker": (c,)}, {"g": Buffer(size=6)}, {"dp": 5})
    before = np.arange(30.0).reshape(5, 6) ** 2
    after = add_up(plan, before, 0)
    assert (after == before[root % 5]).all() if name == "broadcast" else (after[root % 5] == before.sum(axis=0)).all()


@pytest.mark.parametrize("name", [n for n, a in COLLECTIVES.items() if a.symmetric])
def test_symmetric_algorithms_issue_the_same_stream_everywhere(reduce_once, name):
    plan = reduce_once(name, 5)
    first, *others = ([a.ins for a in unroll(plan, r)] for r in plan.ranks)
    assert all(o == first for o in others)


@pytest.mark.parametrize("name", list(COLLECTIVES))
def test_ids_occur_once(reduce_once, name):
    plan = reduce_once(name, 4)
    for r in plan.ranks:
        assert max(Counter(a.id for a in unroll(plan, r)).values()) == 1


def test_a_size_that_cannot_be_played_names_those_that_can(reduce_once):
    with pytest.raises(InvalidPlan, match=r"'doubling' cannot be played by 6 ranks; these can: ring, tree"):
        check(reduce_once("doubling", 6))


def test_index_is_refused_to_a_symmetric_algorithm(reduce_once):
    plan = reduce_once("ring", 3)
    group = Group(Collective(id=(0,), algorithm="ring", what=Ref("g"), along=("dp",)), *plan.index(plan.ranks[1], ("dp",)))
    with pytest.raises(InvalidPlan, match="may not look at its index"):
        _ = group.i


@pytest.mark.parametrize("name", list(COLLECTIVES))
def test_closed_form_of_one_rank_is_nothing(name):
    assert COLLECTIVES[name].seconds(1, 1000, 1e-6, 1e9) == 0
    assert COLLECTIVES[name].transfers(1) == 0


@settings(max_examples=25, deadline=None)
@given(
    ranks=st.integers(1, 9),
    inner=st.integers(1, 3),
    size=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    slots=st.integers(1, 3),
    name=st.sampled_from([n for n, a in COLLECTIVES.items() if a.operation is Operation.ALL_REDUCE]),
)
def test_groups_along_one_axis_of_two(ranks, inner, size, seed, slots, name):
    """Several groups at once, any size, any order of events: no deadlock, each contribution once, none of another group's."""
    if not COLLECTIVES[name].accepts(ranks):
        return
    buffers = {
        "g": Buffer(size=size, kind="gradient", sharded=("tp",)),
        "w": Buffer(size=size, kind="parameter", sharded=("tp",)),
    }
    role = Role(
        name="worker",
        program="tests_reduce_once",
        params={"algorithm": name, "steps": 2},
        axes={"dp": ranks, "tp": inner},
        buffers=buffers,
    )
    plan = Plan((role,), slots)
    proof = check(plan, seed)
    assert not proof.lost
    for update, taken in proof.taken.items():
        assert {c.rank for c in taken} == set(plan.ranks)  # of both shards together
        assert {c.id[0] for c in taken} == {update.id[0]}


def test_ring_hops_of_rank_one_of_three_whole(reduce_once):
    """The story of one rank, asserted whole."""
    plan = reduce_once("ring", 3, size=30)
    me = Rank("worker", (1,))
    moved = []
    for a in unroll(plan, me):
        if a.parent is not None:
            ref = a.ins.what if isinstance(a.ins, Send) else a.ins.into
            moved.append((a.id[2], a.id[3], plan.key(me, ref)[2], getattr(a.ins, "add", None)))
    assert moved == [
        (0, "send", 0, None), (0, "recv", 2, True),
        (1, "send", 2, None), (1, "recv", 1, True),  # part 1 is complete at rank 1
        (2, "send", 1, None), (2, "recv", 0, False),
        (3, "send", 0, None), (3, "recv", 2, False),
    ]  # fmt: skip
