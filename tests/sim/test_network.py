"""Flows share links max-min fairly, at every moment; messages take turns."""

from itertools import groupby, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.clock import Clock
from sim.errors import SimError
from sim.message import MessageNetwork
from sim.network import FlowNetwork

CAPACITY = {"a": 3.0, "b": 2.0, "c": 5.0, "d": 1.0, "e": 4.0}

flows = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]) | st.floats(0.0, 5.0),  # when
        st.integers(0, 50),  # bytes
        st.lists(st.sampled_from(sorted(CAPACITY)), min_size=1, max_size=4, unique=True),
        st.integers(1, 3),  # how many like flows of folded ranks
    ),
    min_size=1,
    max_size=14,
)


def run(network_class, asked, capacity=CAPACITY, **hooks):
    """Plays flows (when, bytes, links, weight) -> their ends."""
    clock, ends = Clock(), {}
    network = network_class(clock, capacity.__getitem__, **hooks)
    for k, (when, nbytes, links, weight) in enumerate(asked):
        route = tuple((link, weight) for link in links)
        clock.later(when, network.start, nbytes, route, lambda k=k: ends.setdefault(k, []).append(clock.now))
    clock.run()
    assert all(len(e) == 1 for e in ends.values())
    assert len(ends) == len(asked)
    return [ends[k][0] for k in range(len(asked))]


@settings(max_examples=80, deadline=None)
@given(flows)
def test_max_min(asked):
    log = []
    ends = run(FlowNetwork, asked, on_rate=[lambda links, n, rate, time: log.append((time, links, n, rate))])
    active: dict = {}
    served, before = 0.0, 0.0
    for time, changes in groupby(log, key=lambda x: x[0]):
        served += sum(n * rate for n, rate in active.values()) * (time - before)
        before = time
        for _, links, n, rate in changes:
            active[links] = n, rate
            if not n:
                del active[links]
        if any(rate == 0.0 for _, rate in active.values()):
            continue
        load = {x: sum(n * rate * w for links, (n, rate) in active.items() for y, w in links if y == x) for x in CAPACITY}
        for x in CAPACITY:
            assert load[x] <= CAPACITY[x] * (1 + 1e-9), "no link carries more than it can"
        for links, (_, rate) in active.items():
            tight = [x for x, _ in links if load[x] >= CAPACITY[x] * (1 - 1e-9)]
            assert tight, "every flow has a saturated link"
            fastest = [max(r for other, (_, r) in active.items() if x in dict(other)) for x in tight]
            assert rate >= min(fastest) * (1 - 1e-9), "on one of them, nobody is faster"
    assert served == pytest.approx(sum(nbytes for _, nbytes, _, _ in asked), rel=1e-9, abs=1e-9)
    for (when, nbytes, links, weight), end in zip(asked, ends):
        assert end >= when + nbytes * weight / min(CAPACITY[x] for x in links) * (1 - 1e-12)


@settings(max_examples=60, deadline=None)
@given(flows)
@example([(0.0, 22, ["c"], 1), (0.5, 0, ["c"], 1), (0.3, 41, ["b", "c"], 1)])  # 0.3 + (20.8 - 0.3) is less than 20.8
def test_messages_have_a_link_for_themselves(asked):
    asked = [(when, nbytes, links, 1) for when, nbytes, links, _ in asked]
    busy: dict = {}
    ends = run(MessageNetwork, asked, on_busy=[lambda link, start, end: busy.setdefault(link, []).append((start, end))])
    for spans in busy.values():
        assert all(a_end <= b_start for (_, a_end), (b_start, _) in pairwise(spans))
    for (when, nbytes, links, _), end in zip(asked, ends):
        assert end >= when + nbytes / min(CAPACITY[x] for x in links) * (1 - 1e-12)


def test_a_share_is_given_back():
    """Two flows halve a link; when the short one ends the long one has it all; a third comes and halves it again."""
    assert run(FlowNetwork, [(0, 10, ["l"], 1), (0, 4, ["l"], 1), (6, 3, ["l"], 1)], {"l": 2.0}) == [8.0, 4.0, 8.5]


def test_others_are_not_solved_again():
    clock, seen = Clock(), []
    note = lambda links, n, rate, time: seen.append((time, links[0][0], n, rate))  # noqa: E731
    network = FlowNetwork(clock, {"a": 1.0, "b": 1.0}.__getitem__, [note])
    clock.later(0.0, network.start, 10, (("a", 1),), lambda: None)
    clock.later(1.0, network.start, 4, (("b", 1),), lambda: None)
    clock.later(2.0, network.start, 4, (("b", 1),), lambda: None)
    clock.run()
    assert seen == [
        (0.0, "a", 1, 1.0),
        (1.0, "b", 1, 1.0),
        (2.0, "b", 2, 0.5),
        (8.0, "b", 1, 1.0),
        (9.0, "b", 0, 0.0),
        (10.0, "a", 0, 0.0),
    ]
    assert network.solved == 4  # and nothing to solve where a link fell idle


def test_like_flows_weigh():
    """A flow that stands for three goes a third as fast, and leaves a fourth flow its fair share."""
    assert run(FlowNetwork, [(0, 6, ["l"], 3)], {"l": 2.0}) == [9.0]
    assert run(FlowNetwork, [(0, 6, ["l"], 3), (0, 3, ["l"], 1)], {"l": 4.0}) == [5.25, 3.0]


def test_nothing_to_carry_and_no_links():
    assert run(FlowNetwork, [(1.0, 0, ["a"], 1), (2.0, 9, [], 1)]) == [1.0, 2.0]
    assert run(MessageNetwork, [(1.0, 0, ["a"], 1), (2.0, 9, [], 1)]) == [1.0, 2.0]


def test_cut_through():
    """The head goes on at once; the second message waits where the first is, not longer."""
    assert run(MessageNetwork, [(0, 8, ["a", "b"], 1), (0, 8, ["c", "b"], 1)], {"a": 4.0, "b": 2.0, "c": 4.0}) == [4.0, 8.0]
    assert run(FlowNetwork, [(0, 8, ["a", "b"], 1), (0, 8, ["c", "b"], 1)], {"a": 4.0, "b": 2.0, "c": 4.0}) == [8.0, 8.0]


@pytest.mark.parametrize("capacity", [0.0, -1.0, float("inf"), float("nan")])
def test_capacity_is_checked(capacity):
    with pytest.raises(SimError, match=r"link 'l' has a capacity of .* bytes/s; it must be finite and above 0"):
        run(FlowNetwork, [(0, 1, ["l"], 1)], {"l": capacity})


def test_messages_of_folded_ranks():
    message = "2 folded ranks share link 'l': at message detail they take turns; unfold them, or use flows"
    with pytest.raises(SimError, match=message):
        run(MessageNetwork, [(0, 1, ["l"], 2)], {"l": 1.0})
