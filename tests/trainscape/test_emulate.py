"""Validation of scenarios that train nothing: emulated on NFUs, measured on this computer; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from graph.init import init_parameters
from runtime import checkpoint
from trainscape.build import Built
from trainscape.emulate import TOLERANCE, emulate
from trainscape.exit_codes import ExitCode
from trainscape.load import load_text
from trainscape.predict import UNFOLDED
from trainscape.results import emulation_run, enforce

SCENARIO = """
name: small
seed: 3
model: {name: lenet, batch: 4, width: 0.5, input: digits}
system: {name: diannao-1}
parallel: {strategy: inference, ranks: 1}
run: {steps: 6, data: digits, held_out: 30}
"""


def built(*overrides: str) -> Built:
    return Built(load_text(SCENARIO, "small", overrides).scenario)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of the model with other parameters than those drawn from its seed."""
    values = init_parameters(built().model_graph, 11)
    made = checkpoint.Checkpoint(step=9, seed=11, batch=64, data="digits", values=values, hashes={})
    return checkpoint.save(tmp_path / "run" / "checkpoints", made)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {k for v in value.values() for k in keys_of(v)}
    return {k for v in value for k in keys_of(v)} if isinstance(value, list) else set()


def test_so_do_those_of_ranks_that_a_prediction_would_fold() -> None:
    found = emulate(built("system.name=dadiannao-64", "parallel.ranks=64", "model.batch=64"))
    assert len(found.prediction.built.plan.ranks) > UNFOLDED
    assert found.predicted_timeline.actions() == found.emulated_timeline.actions() and found.verdict == "ok"


def test_every_action_takes_what_was_predicted() -> None:
    found = emulate(built())
    assert found.verdict == "ok" and found.greatest_error <= TOLERANCE
    assert found.predicted_timeline.actions() == found.emulated_timeline.actions()
    numbers = found.numbers()
    assert numbers["emulated"]["memory_peak_bytes"] == numbers["predicted"]["memory_peak_bytes"]
    assert numbers["emulated"]["plan_hash"] == numbers["predicted"]["plan_hash"]
    assert numbers["emulated"]["steps"] == 6 and numbers["emulated"]["samples"] == 24
    assert 0 <= numbers["references"]["cpu"]["accuracy"] <= 1
    assert 0 < numbers["references"]["float32"]["logits_error"]["max"] < 1
    actions = {a["action"]: a for a in emulation_run(found).document["actions"]}
    assert set(actions) >= {"input", "forward/input", "forward/conv1", "forward/fc3"}
    assert all(a["emulated_s"] > 0 and abs(a["error"]) <= TOLERANCE for a in actions.values())


def test_ranks_of_one_memory() -> None:
    found = emulate(built("system.name=diannao-4", "parallel.ranks=4"))
    assert found.verdict == "ok" and len(found.played.memory_peak_bytes) == 4
    assert len(found.played.samples) == 24
    alone = emulate(built())
    assert found.accuracy == alone.accuracy
    assert found.stats.step_s > alone.stats.step_s / 4


def test_storage_that_is_too_slow_is_emulated_too() -> None:
    found = emulate(built("run.data={name: digits, storage: 1 MB/s, prefetch: 2}"))
    assert found.verdict == "ok"
    assert found.stats.step_s == pytest.approx(4 * 64 / 1e6)


def test_a_wrong_prediction_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    from hw.cost import nfu

    whole = nfu.NfuModel.seconds
    monkeypatch.setattr(nfu.NfuModel, "seconds", lambda self, call, **rest: (1 + 1e-6) * whole(self, call, **rest))
    found = emulate(built())
    assert found.verdict == "outside" and 1e-9 < found.greatest_error < 1e-5
    with pytest.raises(Exception, match="closed form and instructions differ by up to 1e-06, tolerance 1e-09"):
        enforce(emulation_run(found).document)


class TestCommand:
    def test_nothing_is_called_measured(self, cli: Any, file: Path, saved: Path) -> None:
        code, _, err = cli("validate", file, "--out", "out", "--checkpoint", saved.parent.parent, "--json")
        assert code == ExitCode.OK
        document = json.loads(Path("out/result.json").read_text())
        assert document["verdict"] == "ok" and document["emulated"]["parameters"] == f"of {saved.parent.parent}"
        assert not any("measured" in k for k in keys_of(document))
        assert "measured" not in err.replace("nothing was measured", "") and "emulated" in err
        page = Path("out/report.md").read_text()
        assert "measured" not in page.replace("nothing was measured", "") and "| emulated |" in page
        assert {p.name for p in Path("out").iterdir()} >= {"step.png", "trace.json.gz", "report.md"}

    def test_parameters_come_from_the_checkpoint(self, cli: Any, file: Path, saved: Path) -> None:
        plain = cli("validate", file, "--json").document
        loaded = cli("validate", file, "--json", "--checkpoint", saved).document
        assert plain["emulated"]["parameters"] == "as drawn from seed 3, untrained"
        assert plain["references"]["float32"]["logits_error"] != loaded["references"]["float32"]["logits_error"]
        assert plain["emulated"]["step_s"] == loaded["emulated"]["step_s"]

    def test_a_checkpoint_of_another_model(self, cli: Any, file: Path, saved: Path) -> None:
        code, _, err = cli("validate", file, "--checkpoint", saved, "--set", "model.width=1")
        assert code == ExitCode.INVALID_INPUT
        assert "'conv1.weight' is float32[3, 3, 1, 3] in the checkpoint and float32[3, 3, 1, 6] in the model" in err

    def test_something_that_is_no_checkpoint(self, cli: Any, file: Path) -> None:
        code, _, err = cli("validate", file, "--checkpoint", file)
        assert code == ExitCode.INVALID_INPUT and "is no checkpoint, or damaged" in err
        assert not Path("runs").exists()

    def test_training_says_the_way_out(self, cli: Any, file: Path) -> None:
        code, _, err = cli("train", file)
        assert code == ExitCode.MISSING_CAPABILITY
        assert "strategy 'inference' trains nothing" in err
        assert "--set system.name=host --set parallel.strategy=data" in err and "--checkpoint" in err

    def test_what_can_neither_be_run_nor_emulated(self, cli: Any, file: Path) -> None:
        code, _, err = cli("validate", file, "--set", "system.name=dgx1-v100")
        assert code == ExitCode.MISSING_CAPABILITY and "is not this computer: it can be predicted, not run" in err

    @pytest.mark.parametrize("where", ["diannao-1", "host"])
    def test_resident_samples_are_no_samples(self, cli: Any, file: Path, profile: Any, where: str) -> None:
        code, _, err = cli("validate", file, "--set", "run.data=resident", "--set", f"system.name={where}")
        assert code == ExitCode.MISSING_CAPABILITY and "so there is nothing to compute: it can be predicted" in err

    def test_links_are_not_emulated(self, cli: Any, file: Path) -> None:
        features = "parallel={strategy: features, ranks: 2, features_on: device, classifier_on: device}"
        code, _, err = cli("validate", file, "--set", "system.name=diannao-4", "--set", features)
        assert code == ExitCode.MISSING_CAPABILITY and "links are not emulated" in err

    def test_a_run_that_takes_too_long(self, cli: Any, file: Path) -> None:
        code, _, err = cli("validate", file, "--set", "run.timeout=1 us")
        assert code == ExitCode.DISTRIBUTED_FAILURE and "run.timeout of 1e-06 s has passed" in err

    def test_what_trains_takes_no_checkpoint(self, cli: Any, file: Path, saved: Path, profile: Any) -> None:
        code, _, err = cli(
            "validate", file, "--checkpoint", saved, "--set", "system.name=host", "--set", "parallel.strategy=data"
        )
        assert code == ExitCode.MISSING_CAPABILITY and "--checkpoint is for strategies that train nothing" in err


@pytest.mark.slow
@pytest.mark.parametrize("numerics", ["", "numerics={word: 16, fraction: 10}"], ids=["floats", "words"])
def test_the_same_scenario_on_this_computer_is_measured(
    cli: Any, file: Path, saved: Path, profile: Any, monkeypatch: pytest.MonkeyPatch, numerics: str
) -> None:
    monkeypatch.setattr("trainscape.validate.BLOCK_SECONDS", 0.002)
    emulated = cli("validate", file, "--json", "--checkpoint", saved, "--set", "run.steps=8").document
    more = ("--set", numerics) if numerics else ()
    code, out, _ = cli("validate", file, "--json", "--checkpoint", saved, "--set", "system.name=host", *more)
    document = json.loads(out)
    assert code in (ExitCode.OK, ExitCode.OUTSIDE_TOLERANCE) and "error" in document
    assert document["measured"]["plan_hash"] == document["predicted"]["plan_hash"]
    assert {a["action"] for a in document["actions"]} == {a["action"] for a in emulated["actions"]} - (
        set() if numerics else {"forward/input"}
    )
    assert document["measured"]["kinds_s"]["forward"] > 0 and document["measured"]["loss"] is None
    assert 0 < document["measured"]["memory_peak_bytes"][0] <= document["predicted"]["memory_peak_bytes"][0]
    name = "cpu" if numerics else "float32"
    assert document["measured"]["accuracy"] == emulated["references"][name]["accuracy"]
