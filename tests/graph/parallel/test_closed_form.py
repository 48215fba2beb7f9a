"""Closed forms against what the programs do, counted and played."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.check import check
from graph.parallel.closed_form import collective_nbytes, collective_seconds, step_seconds, total_nbytes, traffic
from graph.parallel.plan import Buffer, Collective, Do, Plan, Rank, Ref, Role, Send
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.parallel.unroll import unroll

FIRST = Rank("worker", (0,))
LATENCY, RATE = 5e-6, 1e9


def lockstep(plan):
    """Seconds of a collective in which every hop takes latency + the bytes of its largest letter; hops are counted."""
    hops = {}
    for r in plan.ranks:
        for a in unroll(plan, r):
            if isinstance(a.ins, Send):
                hops[a.id[2]] = max(hops.get(a.id[2], 0), plan.nbytes(r, a.ins.what))
    return sum(LATENCY + n / RATE for n in hops.values())


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [5040, 5041, 7])
@pytest.mark.parametrize("name", ["ring", "reduce_scatter", "all_gather", "doubling"])
def test_seconds_are_hops_of_the_largest_letter(reduce_once, name, ranks, size):
    """Every hop of these algorithms keeps every port busy, so a hop takes as long as its largest letter; parts may be unequal."""
    plan = reduce_once(name, ranks, size=size)
    c = Collective(id=(0, "allreduce"), algorithm=name, what=Ref("g"), along=("dp",))
    expected = lockstep(plan)
    assert collective_seconds(plan, FIRST, c, LATENCY, RATE) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize("name", ["broadcast", "reduce"])
def test_one_port_carries_a_broadcast(name):
    """Four ranks, 4000 bytes: three letters of 4 us through the root's port, and the last one's latency."""
    assert COLLECTIVES[name].seconds(4, 4000, 1e-6, 1e9) == pytest.approx(13e-6)


def test_ring_by_hand():
    """Four ranks, 4000 bytes: 6 hops of 1000 bytes."""
    assert COLLECTIVES["ring"].seconds(4, 4000, 1e-6, 1e9) == pytest.approx(6 * 2e-6)


@pytest.mark.parametrize(("ranks", "levels"), [(3, 1), (7, 2), (15, 3)])
def test_full_trees_by_hand(ranks, levels):
    """A parent takes in two letters through one port, and sends out two, a level; up and down."""
    assert COLLECTIVES["tree"].seconds(ranks, 4000, 1e-6, 1e9) == pytest.approx(2 * levels * (1e-6 + 2 * 4e-6))


def test_trees_without_a_closed_form():
    assert COLLECTIVES["tree"].seconds(2, 4000, 1e-6, 1e9) == pytest.approx(2 * 5e-6)
    assert [COLLECTIVES["tree"].seconds(n, 4000, 1e-6, 1e9) for n in (4, 5, 6, 8)] == [None] * 4


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(COLLECTIVES)),
    ranks=st.integers(1, 8),
    inner=st.integers(1, 3),
    size=st.integers(0, 100),
    steps=st.integers(1, 2),
)
def test_bytes_counted_equal_the_formula(name, ranks, inner, size, steps):
    """Counted from the programs = transfers x bytes each = counted by the checker as it plays them."""
    if not COLLECTIVES[name].accepts(ranks):
        return
    buffers = {"g": Buffer(size=size), "w": Buffer(size=size)}
    stream = tuple(
        i
        for k in range(steps)
        for i in (
            Do(id=(k, "make"), kernel="make", writes=(Ref("g"),)),
            Collective(id=(k, "sum"), algorithm=name, what=Ref("g"), along=("dp",)),
        )
    )
    plan = Plan(
        (Role(name="w", program="tests_listed", params={"stream": stream}, axes={"tp": inner, "dp": ranks}, buffers=buffers),)
    )
    counted = traffic(plan, steps)
    proof = check(plan)
    assert (
        counted.total
        == total_nbytes(plan, steps)
        == steps * inner * collective_nbytes(name, ranks, 4 * size)
        == sum(proof.nbytes.values())
    )
    assert counted.transfers == steps * inner * COLLECTIVES[name].transfers(ranks) == sum(proof.transfers.values())
    assert dict(counted.wires) == dict(proof.wires)
    assert dict(counted.sent) == dict(proof.nbytes)


def test_messages_outside_of_collectives_are_counted():
    plan = pipeline_plan(3, 4, size=10, dp=2, parameters=100)
    messages = 2 * 2 * 2 * 4 * 40  # activations and their gradients, over two borders, for two replicas, 4 micro-batches
    assert traffic(plan).total == total_nbytes(plan) == messages + 3 * 2 * 400
    assert sum(check(plan).nbytes.values()) == traffic(plan).total


def test_a_plan_that_waits_is_not_counted_beforehand():
    with pytest.raises(InvalidPlan, match="waits for"):
        traffic(parameter_server_plan(2, 3, 1))


def overlapped(algorithm="ring", ranks=4):
    """Three layers, a bucket each, 40,000 bytes; updates at the end."""
    buffers = {f"{kind}{l}": Buffer(size=10_000, kind=k) for l in "abc" for kind, k in (("g", "gradient"), ("w", "parameter"))}
    stream = []
    for l in "abc":
        stream.append(Do(id=(0, "backward", l), kernel="backward", writes=(Ref(f"g{l}"),)))
        stream.append(Collective(id=(0, "allreduce", l), algorithm=algorithm, what=Ref(f"g{l}"), along=("dp",)))
    stream += [Do(id=(0, "update", l), kernel="update", reads=(Ref(f"g{l}"),), writes=(Ref(f"w{l}"),)) for l in "abc"]
    role = Role(name="worker", program="tests_listed", params={"stream": tuple(stream)}, axes={"dp": ranks}, buffers=buffers)
    return Plan((role,))


@pytest.mark.parametrize("backward", [1e-6, 60e-6, 1.0])
def test_step_is_the_longest_path(backward):
    """All-reduces one after the other, each after its backward; updates one after the other, each after its all-reduce."""
    update, reduce = 1e-6, 6 * (LATENCY + 10e-6)
    made = summed = updated = 0.0
    for _ in "abc":
        made += backward
        summed = max(made, summed) + reduce
        updated = max(updated, made, summed, 3 * backward) + update
    took = step_seconds(overlapped(), FIRST, lambda do: update if do.kernel == "update" else backward, LATENCY, RATE)
    assert took == pytest.approx(updated, rel=1e-12)


def test_step_without_a_closed_form():
    with pytest.raises(InvalidPlan, match="collective 'tree' has no closed form for 4 ranks; play the plan with sim"):
        step_seconds(overlapped("tree"), FIRST, lambda do: 0.0, LATENCY, RATE)
    with pytest.raises(InvalidPlan, match="is a message between ranks that need not be alike"):
        step_seconds(pipeline_plan(2, 2), Rank("stage.0", (0, 0)), lambda do: 0.0, LATENCY, RATE)
