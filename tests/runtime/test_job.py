"""Jobs travel as JSON and come back the same; contradictions are refused when they are made."""

import pytest

from runtime.errors import InvalidJob
from runtime.job import Block, Checkpoints, Job, Source

JOB = Job(
    model="text", params={"ranks": 2, "steps": 9}, batch=16, source=Source(name="idx", path="d"), folder="runs/x",
    blocks=(Block(steps=4), Block(steps=5, timed=True)), checkpoints=Checkpoints(every=2), algorithms={"conv2d": "direct"},
)  # fmt: skip


def test_json_round_trip_is_one_line() -> None:
    text = JOB.to_json()
    assert "\n" not in text
    assert Job.from_json(text) == JOB
    assert JOB.steps == 9


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "trainscape.job/1"}', '{"schema": "trainscape.job/2", "graph": ""}']
)
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(InvalidJob, match="not a job"):
        Job.from_json(text)


def test_contradictions_are_refused() -> None:
    with pytest.raises(InvalidJob, match=r"blocks of at least one step each, got \[0\]"):
        Job(model="", batch=1, blocks=(Block(steps=0),))
    with pytest.raises(InvalidJob, match="batch must be at least 1, got 0"):
        Job(model="", batch=0, blocks=(Block(steps=1),))
    with pytest.raises(InvalidJob, match="needs a run folder"):
        Job(model="", batch=1, blocks=(Block(steps=1),), checkpoints=Checkpoints())
