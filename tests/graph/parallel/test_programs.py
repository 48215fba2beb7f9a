"""Asynchronous programs, in the same four instructions: parameter server, HOGWILD!, a coordinator that hands out work, a tape."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.check import check
from graph.parallel.plan import Buffer, Do, Plan, Rank, Ref, Role
from graph.parallel.programs.coordinator import coordinator_plan
from graph.parallel.programs.hogwild import hogwild_plan
from graph.parallel.programs.parameter_server import parameter_server_plan


def applied(plan, seed):
    """Proof, and the pushes in the order in which the server applied them: (worker, its update, staleness)."""
    order = []

    def log(a):
        if a.id[1] == "apply":
            order.append((a.id[2], a.id[0], a.ins.note))

    return check(plan, seed, log=log), order


@pytest.mark.parametrize("bound", [0, 1, 4, 1000])
@pytest.mark.parametrize("workers", [1, 3, 5])
def test_nobody_is_further_ahead_than_the_bound(workers, bound):
    """Under many orders of events: a worker begins update k only when the slowest has done k - bound."""
    most = 0
    for seed in range(25):
        proof, order = applied(parameter_server_plan(workers, 12, bound), seed)
        done = Counter({f"worker[{i}]": 0 for i in range(workers)})
        for worker, k, _ in order:
            ahead = k - min(done.values())
            assert ahead <= bound
            most = max(most, ahead)
            done[worker] += 1
        assert set(done.values()) == {12}
        assert not proof.lost
        assert len(proof.taken) == 12 * workers
        assert all(len(taken) == 1 for taken in proof.taken.values())  # each push is applied once, by itself
    if workers > 1:
        assert most == bound if bound < 2 else most > 1  # the bound is reached, so it is what holds them


@pytest.mark.parametrize("bound", [0, 2])
def test_staleness_is_what_the_server_says_and_bounded(bound):
    """The checker's own count of versions = the program's notes; a gradient misses at most (2 s + 1)(n - 1) updates.

    While a worker computes, its own count d stands, so every other lies between d - s and d + s + 1.
    """
    for seed in range(25):
        proof, order = applied(parameter_server_plan(4, 8, bound), seed)
        assert proof.staleness == Counter(note for *_, note in order)
        assert max(proof.staleness) <= (2 * bound + 1) * 3


def test_a_bound_of_zero_keeps_workers_in_step():
    _, order = applied(parameter_server_plan(3, 4, 0), 1)
    assert [k for _, k, _ in order] == sorted(k for _, k, _ in order)


def test_silent_workers_are_given_up():
    """A worker that never pushes: the others go on when patience ends, and the server ends."""
    good = parameter_server_plan(2, 5, 1, patience=1.0)
    dead = Role(name="worker", program="tests_listed", params={"stream": ()}, axes={"dp": 2}, buffers=good.roles[1].buffers)
    assert check(Plan((good.roles[0], dead))).actions == 1  # one receipt, given up
    stuck = parameter_server_plan(2, 5, 1)
    with pytest.raises(InvalidPlan, match="deadlock: server:0/push/recv waits for a letter from worker"):
        check(Plan((stuck.roles[0], dead)))


def test_parameter_server_of_nobody_is_refused():
    with pytest.raises(InvalidPlan, match="workers >= 1, updates >= 1, bound >= 0; got 0, 3, 1"):
        parameter_server_plan(0, 3, 1)


def portions(plan, seed):
    """(Proof, how often each portion was computed, how often it was counted)."""
    computed, counted = Counter(), Counter()

    def log(a):
        if a.id[1] == "portion":
            computed[a.id] += 1
        elif a.id[1] == "collect":
            counted[a.id] += 1

    return check(plan, seed, log=log), computed, counted


@settings(max_examples=25, deadline=None)
@given(workers=st.integers(1, 5), parts=st.integers(1, 9), iterations=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_every_portion_is_counted_once(workers, parts, iterations, seed):
    proof, computed, counted = portions(coordinator_plan(workers, parts, iterations), seed)
    assert counted == Counter({(k, "collect", p): 1 for k in range(iterations) for p in range(parts)})
    assert all(1 <= n <= 2 for n in computed.values())
    assert len(proof.taken) == iterations
    for update, taken in proof.taken.items():  # whoever's result it was, each portion is in the sum once
        assert sorted(c.id for c in taken) == [(update.id[0], "portion", p) for p in range(parts)]
    assert len(proof.lost) == sum(computed.values()) - parts * iterations  # the copies that came second


def test_late_portions_are_handed_to_a_second_worker():
    twice = 0
    for seed in range(5):
        _, computed, _ = portions(coordinator_plan(4, 6, 2), seed)
        twice += sum(n == 2 for n in computed.values())
    assert twice > 0


def test_one_slow_worker_does_not_hold_up_the_others(clock):
    """Four workers, one ten times slower: its portion is done by a second worker."""
    plan = coordinator_plan(4, 12, 1)

    def seconds(rank, do):
        if do.kernel != "gradient":
            return 0.0
        return 10.0 if rank == Rank("worker", (3,)) else 1.0

    spans = clock(plan, seconds)
    assert spans[Rank("coordinator"), (0, "update")][1] == 4.0  # 11 portions and the late one's copy, over three workers
    assert spans[Rank("worker", (3,)), (0, "portion", 3)] == (0.0, 10.0)


def test_coordinator_of_nothing_is_refused():
    with pytest.raises(InvalidPlan, match="got 2, 0, 1"):
        coordinator_plan(2, 0)


def test_hogwild_threads_share_one_vector():
    """No messages, every gradient applied once, some of them stale: what threads miss of each other is seen."""
    stale = Counter()
    for seed in range(5):
        proof = check(hogwild_plan(3, 10), seed)
        assert not proof.wires
        assert not proof.lost
        assert len(proof.taken) == 10
        assert sum(proof.staleness.values()) == 30
        stale.update(proof.staleness)
    assert max(stale) > 0
    assert check(hogwild_plan(1, 10)).staleness == {0: 10}


def test_shared_memory_is_counted_where_it_lives():
    plan = hogwild_plan(3, 10, size=100)
    assert plan.role["thread"].nbytes == 800
    other = Role(name="other", program="hogwild", params=plan.role["thread"].params, buffers=plan.role["thread"].buffers)
    assert other.nbytes == 400


def test_a_recorded_tape_is_a_plan_of_one_rank(in_order):
    tape = (
        Do(id=(0, "matmul"), kernel="matmul", reads=(Ref("x"), Ref("w")), writes=(Ref("y"),)),
        Do(id=(0, "relu"), kernel="relu", reads=(Ref("y"),), writes=(Ref("z"),)),
    )
    buffers = {n: Buffer(size=4, kind="parameter" if n in "xw" else "activation") for n in "xwyz"}
    plan = Plan((Role(name="tape", program="recorded", params={"tape": tape}, buffers=buffers),))
    assert [a.id for a in in_order(plan)] == [i.id for i in tape]
    assert check(plan).actions == 2


@pytest.mark.parametrize(("slots", "seconds"), [(1, 80.0), (2, 53.0)])
def test_an_accelerator_is_a_place_with_streams(clock, slots, seconds):
    """Its double buffer is a buffer with two slots: loads of 3 s hide behind computation of 5 s."""
    stream = []
    for k in range(10):
        stream.append(Do(id=(k, "load"), kernel="dma", writes=(Ref("nbin", k),), on="load"))
        stream.append(Do(id=(k, "compute"), kernel="mac", reads=(Ref("nbin", k),), on="nfu"))
    role = Role(
        name="chip",
        program="tests_listed",
        params={"stream": tuple(stream)},
        buffers={"nbin": Buffer(size=1024, slots=slots)},
        places={"load": "nfu.dma", "nfu": "nfu.core"},
    )
    spans = clock(Plan((role,)), lambda rank, do: 3.0 if do.kernel == "dma" else 5.0)
    assert max(end for _, end in spans.values()) == seconds
