"""A GPU that failed late is played again, carefully, for a bounded number of steps."""

from pathlib import Path

import pytest

from runtime.dist.replay import MOST, found_again
from runtime.errors import DistributedFailure
from runtime.job import Block, Job
from runtime.result import RunResult

JOB = Job(model="", strategy="exchange", params={"ranks": 1, "steps": 900}, platform="cuda", batch=1, blocks=(Block(steps=900),))


def failure(step: int, reason: str = "illegal address") -> DistributedFailure:
    return DistributedFailure(rank="worker[0]", reason=reason, step=step, checkpoint=None)


def test_the_action_is_found_when_it_fails_again() -> None:
    played: list[Job] = []

    def run(job: Job) -> RunResult:
        played.append(job)
        raise failure(5, "step 6: forward/conv1 failed")

    found = found_again(failure(5), JOB, 0, run)
    assert "forward/conv1 failed (found by playing it again" in found.reason and found.step == 5
    (again,) = played
    assert again.is_careful and again.steps == again.params["steps"] == 7 and again.checkpoints is None and not again.plan_hash


def test_one_that_does_not_fail_again_is_said_to() -> None:
    found = found_again(failure(5), JOB, 0, lambda job: None)  # type: ignore[arg-type,return-value]
    assert found.reason == "illegal address; played again, action by action, it did not fail"


def test_too_many_steps_are_not_played_again() -> None:
    def run(job: Job) -> RunResult:
        raise AssertionError("played")

    assert "with a checkpoint in the last" in found_again(failure(MOST), JOB, 0, run).reason
    near = found_again(failure(MOST + 100), JOB, MOST + 50, lambda job: None)  # type: ignore[arg-type,return-value]
    assert "did not fail" in near.reason


def test_it_goes_on_from_the_newest_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.dist.replay._step_of", lambda path: 400)
    saved = DistributedFailure(rank="worker[0]", reason="x", step=410, checkpoint=Path("step-400.npz"))
    played: list[Job] = []
    found_again(saved, JOB, 0, lambda job: played.append(job))  # type: ignore[arg-type,return-value,func-returns-value]
    assert played[0].resume == "step-400.npz" and played[0].steps == 412
