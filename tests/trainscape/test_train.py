"""`train`: real workers, run folders, resuming, deadlines; and what a run that fails says."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.instrument import hooks
from runtime import checkpoint
from runtime.checkpoint import Checkpoint
from runtime.errors import CheckpointError, DistributedFailure, Interrupted, InvalidJob, RunError
from trainscape.build import Built
from trainscape.errors import TimedOut
from trainscape.exit_codes import classify, message
from trainscape.load import load_text
from trainscape.output import Output
from trainscape.report.run_folder import RunFolder
from trainscape.train import _polite_end, find_checkpoint, train, training_job

SCENARIO = """
name: tiny
seed: 3
model: {name: mlp, batch: 16, width: 0.25, input: digits}
parallel: {ranks: 2}
run: {steps: 12, held_out: 100, checkpoint_every: 4}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return path


def parameters(checkpoint: str) -> dict[str, Any]:
    with np.load(checkpoint) as arrays:
        return {k: arrays[k] for k in arrays.files if not k.endswith(".json")}


@pytest.mark.slow
def test_train_and_resume_are_bit_for_bit_one_run(file: Path, cli: Any, tmp_path: Path) -> None:
    whole = cli("train", file, "--json", "--out", "whole").document
    assert whole["steps"] == 12 and 0 <= whole["accuracy"] <= 1 and whole["held_out"] == 100
    assert (tmp_path / "whole" / "result.json").is_file()
    cli("train", file, "--json", "--out", "cut", "--set", "run.steps=5")
    found = cli("train", file, "--json", "--out", "cut", "--resume")
    assert found.code == 0
    assert (found.document["first_step"], found.document["steps"]) == (5, 12)
    assert not (tmp_path / "cut.1").exists()  # it went on in its folder
    a, b = parameters(whole["checkpoint"]), parameters(found.document["checkpoint"])
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_training_that_is_not_equal_to_one_workers_says_so(cli: Any, tmp_path: Path) -> None:
    text = SCENARIO.replace("mlp", "lenet").replace("width: 0.25", "width: 0.5").replace("steps: 12", "steps: 2")
    for options, why in (
        ("", None),
        ("strategy: hybrid, scheme: parts, fc_update: round, ", "fully connected layers are updated after each round"),
    ):
        (tmp_path / "s.yaml").write_text(text.replace("{ranks", "{" + options + "ranks"))
        found = cli("train", "s.yaml", "--json")
        assert found.code == 0
        assert (found.document["differs"] or "").startswith(why or "") and (found.document["differs"] is None) is (why is None)
        assert ("training is not equal to that of one worker: fully connected" in found.err) is (why is not None)


def test_a_run_that_cannot_begin_leaves_the_last_one_where_it_is(file: Path, cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    RunFolder.create(folder, command="train")
    values = {"w": np.zeros(3, np.float32)}
    saved = Checkpoint(step=2, seed=3, batch=16, data="digits", values=values, hashes={})
    path = checkpoint.save(tmp_path / "elsewhere", saved)
    found = cli("train", file, "--out", "out", "--resume", path)
    assert found.code == 3
    assert "it is of another model" in found.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "out", "s.yaml"]


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert find_checkpoint(None, tmp_path) is None
    assert find_checkpoint("auto", tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint there; name a file, a run folder, or auto"):
        find_checkpoint(str(tmp_path / "no"), tmp_path)


def test_the_job(tmp_path: Path) -> None:
    built = Built(load_text(SCENARIO).scenario)
    job = training_job(built, folder=tmp_path, data=None, resume=None)
    assert (job.steps, job.batch, job.seed, job.strategy) == (12, 16, 3, "data_parallel")
    assert job.checkpoints is not None and job.checkpoints.every == 4
    assert job.plan_hash == built.plan.hash
    assert round(1797 * job.source.held_out) == 100


class TestFailures:
    """The launcher is faked; its own tests are in `tests/runtime`."""

    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch, cli: Any, file: Path) -> Any:
        def run(error: Exception) -> Any:
            def launch(job: Any, **_: Any) -> None:
                raise error

            monkeypatch.setattr("trainscape.job.run", launch)
            return cli("train", file, "--json")

        return run

    def test_a_lost_worker(self, failing: Any) -> None:
        found = failing(DistributedFailure(rank="worker[1]", reason="killed by SIGKILL", step=7, checkpoint=Path("c.npz")))
        assert found.code == 7
        assert found.document["error"]["rank"] == "worker[1]"
        assert "worker[1] failed after step 7: killed by SIGKILL; resume from c.npz" in found.err

    def test_ctrl_c(self, failing: Any) -> None:
        found = failing(Interrupted(step=7, checkpoint=Path("c.npz")))
        assert (found.code, found.document["error"]["kind"]) == (130, "interrupted")
        assert "stopped after step 7; resume from c.npz" in found.err


def test_a_run_that_takes_too_long_is_stopped_as_by_ctrl_c(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launch(job: Any, *, instruments: Any, timeout: float) -> None:
        assert timeout == 1e-9
        raise Interrupted(step=2, checkpoint=tmp_path / "c.npz")

    monkeypatch.setattr("trainscape.job.run", launch)
    built = Built(load_text(SCENARIO, "s", ["run.timeout=1 ns"]).scenario)
    with pytest.raises(TimedOut, match=r"run.timeout of 1e-09 s has passed after step 2; go on with --resume .*c.npz"):
        train(built, folder=tmp_path, output=Output(verbosity=-1))


def test_a_run_whose_testing_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launch(job: Any, *, instruments: Any, timeout: float) -> None:
        for call in hooks(instruments, "on_phase"):
            call("testing")
        raise Interrupted(step=2, checkpoint=tmp_path / "c.npz")

    monkeypatch.setattr("trainscape.job.run", launch)
    built = Built(load_text(SCENARIO, "s", ["run.timeout=1 ns"]).scenario)
    with pytest.raises(TimedOut, match=r"passed while testing accuracy after step 2: raise run.timeout, or .*run.held_out\)$"):
        train(built, folder=tmp_path, output=Output(verbosity=-1))


def test_ctrl_c_in_time_is_no_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launch(job: Any, **_: Any) -> None:
        raise Interrupted(step=2, checkpoint=None)

    monkeypatch.setattr("trainscape.job.run", launch)
    with pytest.raises(Interrupted):
        train(Built(load_text(SCENARIO).scenario), folder=tmp_path, output=Output(verbosity=-1))


def test_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from trainscape.progress import progress

    monkeypatch.setattr("trainscape.progress.EVERY", 0.0)
    with progress(Output(), "tiny") as shown:
        shown.on_phase("compiling kernels")
        shown.on_part(1, 3)
        shown.on_phase("training")
        shown.on_step(1, 10, 2.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "tiny: compiling kernels\ntiny: step 1 of 10, loss 2.5000\n"


def test_sigterm_is_taken_as_ctrl_c_while_a_run_goes_on() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _polite_end():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MemoryError("Unable to allocate 512. GiB"), 5, "not enough memory: Unable to allocate 512. GiB"),
        (RunError("compiling kernels failed: "), 7, "compiling kernels failed: "),
        (InvalidJob("the job was made for plan 1"), 3, "the job was made for plan 1"),
    ],
)
def test_exit_codes_of_rare_failures(error: Exception, code: int, text: str) -> None:
    assert (int(classify(error)), message(error)) == (code, text)
