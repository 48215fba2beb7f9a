"""Timelines: joined by rank and action, at the coarsest level that both sides recorded."""

import pytest

from graph.parallel.plan import Rank
from graph.timeline import Record, Timeline, action_name, compare

A, B = Rank("w", (0,)), Rank("w", (1,))


def at(rank, id, start, end, **more):
    return Record(rank=rank, id=id, stream="compute", ready=start, start=start, end=end, **more)


def test_seconds_are_from_the_first_start_to_the_last_end():
    assert Timeline().seconds == 0.0
    assert Timeline([at(A, (0, "x"), 2.0, 3.0), at(B, (0, "x"), 1.0, 2.5)]).seconds == 2.0


def test_of_takes_a_prefix_with_gaps():
    t = Timeline(
        [at(A, (0, "forward", "a", 0), 0, 1), at(A, (1, "forward", "b", 0), 1, 2), at(A, (1, "update"), 2, 3)], plan_hash="h"
    )
    assert [r.id[0] for r in t.of(None, "forward")] == [0, 1]
    assert [r.id[1] for r in t.of(1)] == ["forward", "update"]
    assert len(t.of(1, "forward", "b", 0, 0)) == 0
    assert t.of(1).plan_hash == "h"


def test_an_action_is_named_by_its_id_without_numbers():
    assert action_name(at(A, (3, "allreduce", "b0", 1, "send"), 0, 1)) == "allreduce/b0/send"


def test_compare_joins_at_the_coarsest_level_of_both():
    """One side recorded transfers, the other only the collective; one side has an action that the other lacks."""
    predicted = Timeline(
        [at(A, (0, "x"), 0, 2), at(A, (0, "sum"), 2, 5), at(A, (0, "sum", 0, "send"), 2, 3), at(A, (0, "only"), 5, 6)]
    )
    measured = Timeline(
        [at(A, (0, "x"), 0, 4), at(A, (0, "sum"), 4, 6), at(A, (0, "sum", 0, "send"), 4, 5), at(B, (0, "x"), 0, 1)]
    )
    rows = {c.name: (c.count, c.predicted, c.measured, c.error) for c in compare(predicted, measured)}
    assert rows == {"x": (1, 2, 4, -0.5), "sum": (1, 3, 2, 0.5)}


def test_compare_takes_medians_and_any_name():
    predicted = Timeline([at(A, (k, "x"), 0, s) for k, s in enumerate((1.0, 2.0, 9.0))])
    measured = Timeline([at(A, (k, "x"), 0, s) for k, s in enumerate((2.0, 4.0, 5.0))])
    (row,) = compare(predicted, measured, lambda r: "all")
    assert (row.name, row.count, row.predicted, row.measured) == ("all", 1, 2.0, 4.0)
    assert row.error == pytest.approx(-0.5)


def test_a_run_may_have_other_steps_than_its_prediction():
    predicted = Timeline([at(A, (k, "x"), k, k + 1) for k in range(3)])
    measured = Timeline([at(A, (k, "x"), k, k + 2) for k in range(1000, 1060)])
    assert [(c.name, c.count, c.error) for c in compare(predicted, measured)] == [("x", 1, -0.5)]


def test_error_of_what_takes_no_time():
    nothing, something = Timeline([at(A, (0, "x"), 0, 0)]), Timeline([at(A, (0, "x"), 0, 1)])
    assert compare(nothing, something)[0].error == -1.0
    assert compare(something, nothing)[0].error is None
