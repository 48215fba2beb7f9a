"""One summary for both engines: worked out by hand on a small timeline."""

import pytest

from graph.errors import GraphError
from graph.parallel.plan import Rank
from graph.step_stats import step_stats
from graph.timeline import Record, Timeline

A, B = Rank("worker", (0,)), Rank("worker", (1,))


def of(rank, id, stream, ready, start, end, nbytes=0, flop=0, is_leaf=True):
    return Record(rank=rank, id=id, stream=stream, ready=ready, start=start, end=end, nbytes=nbytes, flop=flop, is_leaf=is_leaf)


def step(k, at, rank=A, late=0.0):
    """A step of 10 s: input 1, forward 2, backward 3, all-reduce 3.5 (of which 2 behind backward), update 1."""
    return [
        of(rank, (k, "input", 0), "input", at, at, at + 1),
        of(rank, (k, "forward", "a", 0), "compute", at + 1, at + 1, at + 3, flop=5),
        of(rank, (k, "backward", "b", 0), "compute", at + 3, at + 3, at + 4, flop=5),
        of(rank, (k, "backward", "a", 0), "compute", at + 4, at + 4, at + 6, flop=5),
        of(rank, (k, "allreduce", "b"), "comm", at + 4, at + 4, at + 8, is_leaf=False),
        of(rank, (k, "allreduce", "b", 0, "send"), "comm>", at + 4, at + 4, at + 5, nbytes=100),
        of(rank, (k, "allreduce", "b", 0, "recv"), "comm<", at + 4, at + 7, at + 8, nbytes=100),
        of(rank, (k, "update", "b"), "compute", at + 8, at + 9, at + 10 + late),
    ]


def test_by_hand():
    records = [r for k in range(3) for r in step(k, 10.0 * k)] + [r for k in range(3) for r in step(k, 10.0 * k, B, late=2.0)]
    s = step_stats(Timeline(records))
    assert (s.steps, s.step_s) == (3, 10.0)
    assert s.kinds == {"input": 1.0, "forward": 2.0, "backward": 3.0, "allreduce": 2.0, "update": 2.0}
    assert (s.compute_s, s.comm_s, s.exposed_comm_s) == (7.0, 4.0, 2.0)
    assert (s.bytes_sent_total, s.flop_total) == (600, 90)


def test_one_step_counts_from_its_start():
    assert step_stats(Timeline(step(0, 5.0))).step_s == 10.0


def test_the_first_step_is_left_out_when_there_are_others():
    slow_start = [of(A, (0, "forward", "a", 0), "compute", 0, 0, 50.0)]
    s = step_stats(Timeline(slow_start + step(1, 50.0) + step(2, 60.0)))
    assert s.step_s == 10.0
    assert s.kinds["forward"] == 2.0


def test_steps_may_overlap():
    """The next step's communication is hidden by this step's computing: it counts in the step in which it passes."""
    records = [of(A, (k, "forward", "a", 0), "compute", 10 * k, 10 * k, 10 * k + 10) for k in range(4)]
    records += [of(A, (k + 1, "weights", 0, "recv"), "comm<", 10 * k + 2, 10 * k + 3, 10 * k + 4) for k in range(3)]
    s = step_stats(Timeline(records))
    assert (s.comm_s, s.exposed_comm_s, s.step_s) == (2.0, 0.0, 10.0)


def test_waiting_is_never_longer_than_the_step():
    """A receive that was issued two steps before it is answered."""
    records = [of(A, (k, "forward", "a", 0), "compute", 10 * k, 10 * k, 10 * k + 4) for k in range(4)]
    records += [of(A, (k, "weights", 0, "recv"), "comm<", max(10 * k - 15, 0), 10 * k + 9, 10 * k + 10) for k in range(4)]
    s = step_stats(Timeline(records))
    assert (s.comm_s, s.exposed_comm_s, s.step_s) == (10.0, 6.0, 10.0)


def test_like_ranks_count():
    s = step_stats(Timeline(step(0, 0.0) + step(0, 0.0, B, late=2.0), like={A: 3}))
    assert (s.bytes_sent_total, s.flop_total) == (400, 60)
    assert s.kinds["update"] == pytest.approx((3 * 1.0 + 3.0) / 4)


def test_empty():
    with pytest.raises(GraphError, match="an empty timeline has no steps"):
        step_stats(Timeline())
