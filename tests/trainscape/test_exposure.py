"""The parts of a step: every moment belongs to one kind, and all of them add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parallel.plan import Rank
from graph.timeline import Record, Timeline
from trainscape.report.exposure import ORDER, WAITING, exposure, kind_bands
from trainscape.report.publication import first_steps


def test_a_step_by_hand(timeline: Timeline) -> None:
    assert exposure(timeline) == {
        "forward": 3.0,
        "backward": 4.0,
        "update": 1.0,
        "allreduce": 1.0,  # of 2, one is hidden behind backward
        "input": 0.0,
        WAITING: 1.0,
    }


def test_nothing_happened() -> None:
    assert exposure(Timeline()) == dict.fromkeys((*ORDER, WAITING), 0.0)


def test_ranks_are_averaged_by_how_many_they_stand_for() -> None:
    def forward(rank: int, seconds: float) -> Record:
        return Record(rank=Rank("w", (rank,)), id=(0, "forward", "x", 0), stream="compute", ready=0.0, start=0.0, end=seconds)

    found = exposure(Timeline([forward(0, 1.0), forward(1, 4.0)], like={Rank("w", (1,)): 2}))
    assert found["forward"] == pytest.approx(3.0)


@given(
    st.lists(
        st.tuples(st.sampled_from([*ORDER, "accumulate", "other"]), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20
    )
)
def test_the_parts_add_up_to_the_step(leaves: list[tuple[str, float, float]]) -> None:
    records = [
        Record(rank=Rank("w"), id=(0, kind, "x", i), stream=kind, ready=a, start=a, end=a + d)
        for i, (kind, a, d) in enumerate(leaves)
    ]
    parts = exposure(Timeline(records))
    span = max(r.end for r in records) - min(r.start for r in records)
    assert sum(parts.values()) == pytest.approx(span, abs=1e-9)
    assert all(s >= 0 for s in parts.values())


def test_bands_of_kinds() -> None:
    """Steps 1 to 11 take 1 to 11 seconds: their 10th percentile is 2, their 90th is 10; step 0 is left out."""

    def forward(step: int, end: float) -> Record:
        return Record(rank=Rank("w"), id=(step, "forward", "x", 0), stream="compute", ready=0.0, start=0.0, end=end)

    records = [forward(0, 100.0), *(forward(k, float(k)) for k in range(1, 12))]
    assert kind_bands(Timeline(records)) == ({"forward": 2.0}, {"forward": 10.0})
    assert kind_bands(Timeline(records[:2])) == ({}, {})


def test_the_first_steps_of_a_timeline(timeline: Timeline) -> None:
    assert {r.id[0] for r in first_steps(timeline, 1)} == {0}
    assert len(first_steps(timeline)) == len(timeline)
