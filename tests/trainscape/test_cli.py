"""The command line: commands, options, exit codes, one JSON document on stdout, nothing heavy imported."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from graph.errors import InvalidPlan
from hw.errors import DoesNotFit, HwError, StaleProfile
from runtime.errors import CheckpointError, DataError, DistributedFailure, Interrupted, StepFailed
from runtime.errors import MissingCapability as RuntimeLacks
from sim.errors import OutOfMemory
from trainscape.cli import _COMMANDS, main
from trainscape.cli import cli as group
from trainscape.commands.nfu import COMMANDS as NFU
from trainscape.errors import MissingCapability, Mistake, OutsideTolerance, RunFolderError, ScenarioError, TimedOut
from trainscape.exit_codes import ExitCode, classify, error_document

ROOT = Path(__file__).parents[2]
SCENARIO = "name: x\nmodel: {name: lenet, batch: 64}\nparallel: {ranks: 2}\nrun: {steps: 5}\n"
GROUPS = {"model": ("list", "show"), "hw": ("list", "show"), "nfu": tuple(NFU)}
LEAVES = [*(c for c in _COMMANDS if c not in GROUPS), *(f"{group} {name}" for group, names in GROUPS.items() for name in names)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return path


class TestHelp:
    @pytest.mark.parametrize("command", LEAVES)
    def test_every_command_explains_itself_and_has_the_common_options(self, command: str, cli: Any) -> None:
        found = cli(*command.split(), "--help")
        assert found.code == ExitCode.OK
        assert found.out.startswith(f"Usage: trainscape {command}")
        for option in ("--json", "-q, --quiet", "-v, --verbose"):
            assert option in found.out

    @pytest.mark.parametrize("command", ["check", "plan", "predict", "train", "validate", "demo", "model show"])
    def test_commands_that_read_scenarios_can_change_them(self, command: str, cli: Any) -> None:
        found = cli(*command.split(), "--help")
        assert "--set KEY=VALUE" in found.out and "--seed" in found.out
        assert ("--out" in found.out) is (command in ("predict", "train", "validate", "demo"))

    def test_the_group_lists_all(self, cli: Any) -> None:
        found = cli("--help")
        for name, summary in _COMMANDS.items():
            assert re.search(rf"  {name} +{re.escape(summary)}", found.out)

    @pytest.mark.parametrize("name", _COMMANDS)
    def test_commands_are_named_as_their_modules(self, name: str) -> None:
        command = group.get_command(click.Context(group), name)
        assert command is not None and command.name == name

    def test_version(self, cli: Any) -> None:
        assert cli("--version").out.startswith("trainscape ")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "scenarios/digits-lenet-2workers.yaml"], ["doctor"], ["nfu", "run", "lenet"], ["kernels"]]
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from trainscape.cli import main; code = main(sys.argv[1:]);"
        "print([m for m in ('numba', 'matplotlib', 'scipy', 'simpy') if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr.strip().splitlines()[-1] == "[]"


def test_as_a_module(file: Path) -> None:
    command = [sys.executable, "-m", "trainscape", "check", str(file), "--set", "model.batch=65"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == ExitCode.INFEASIBLE
    assert found.stdout == ""
    assert found.stderr.startswith("--set model.batch: error: a batch of 65 does not divide over 2 ranks")


class TestCheck:
    def test_good(self, file: Path, cli: Any) -> None:
        found = cli("check", file)
        assert found == (0, f"{file}: ok (lenet, batch 64, 2 ranks on host)\n", "")

    def test_good_as_json(self, file: Path, cli: Any) -> None:
        found = cli("check", file, "--json", "-q")
        document = found.document
        assert (found.code, found.err) == (0, "")
        assert (document["schema"], document["command"], document["ok"]) == ("trainscape.result/1", "check", True)
        assert document["differs"] is None
        assert document["settings"]["model"]["batch"] == 64

    def test_bad(self, file: Path, cli: Any) -> None:
        found = cli("check", file, "--set", "model.widht=2")
        assert found == (3, "", "--set model.widht: error: unknown key 'widht'; did you mean 'width'?\n")

    def test_bad_as_json(self, file: Path, cli: Any) -> None:
        found = cli("check", file, "--json", "--set", "model.widht=2")
        error = found.document["error"]
        assert found.code == error["code"] == 3
        assert error["kind"] == "invalid_input"
        assert error["mistakes"][0]["path"] == "model.widht"

    def test_several_files(self, file: Path, tmp_path: Path, cli: Any) -> None:
        bad = tmp_path / "bad.yaml"
        bad.write_text("name: 3\n")
        found = cli("check", bad, file, "--json")
        assert found.code == ExitCode.INVALID_INPUT
        first, second = found.document["results"]
        assert first["error"]["kind"] == "invalid_input" and first["file"] == str(bad)
        assert second["ok"] is True

    def test_a_long_message_is_not_wrapped(self, file: Path, cli: Any) -> None:
        found = cli("check", file, "--set", "model.depth=4")
        assert len(found.err.splitlines()) == 3

    def test_scenarios_of_the_project(self, cli: Any) -> None:
        files = sorted((ROOT / "scenarios").glob("*.yaml"))
        assert cli("check", *files).code == 0


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["chekc"], "no such command 'chekc'; did you mean 'check'?"),
            (["check"], "Missing argument 'FILE...'"),
            (["train"], "Missing argument 'FILE...'"),
            (["check", "x.yaml", "--sed", "1"], "No such option"),
            (["check", "x.yaml", "--set", "width"], "'width' is not of the form key=value, e.g. model.width=2"),
            (["check", "x.yaml", "--seed", "-1"], "-1 is not in the range x>=0"),
            (["model", "show", "lente"], "unknown model 'lente'; did you mean 'lenet'?"),
            (["hw", "show", "dgx1"], "nothing in the catalogue is named 'dgx1'"),
            (["completion", "tcsh"], "'tcsh' is not one of"),
            (["predict", "x.yaml", "--detail", "packet"], "'packet' is not one of"),
        ],
    )
    def test_mistakes(self, arguments: list[str], message: str, cli: Any) -> None:
        found = cli(*arguments)
        assert (found.code, found.out) == (ExitCode.USAGE, "")
        assert message in found.err and "--help" in found.err
        as_json = cli(*arguments, "--json")
        assert (as_json.code, as_json.document["error"]["code"], as_json.document["error"]["kind"]) == (2, 2, "usage")

    @pytest.mark.parametrize("group", ["", "hw", "nfu"])
    def test_without_a_command_there_is_help(self, group: str, cli: Any) -> None:
        found = cli(*group.split())
        assert (found.code, found.out) == (ExitCode.USAGE, "")
        assert found.err.startswith(f"Usage: trainscape {group}".rstrip()) and "error:" not in found.err

    def test_options_without_effect_are_said_so(self, cli: Any) -> None:
        found = cli("model", "list", "--seed", 3)
        assert found.code == 0
        assert found.err == "note: --seed has no effect on 'model list'\n"

    def test_check_writes_nothing(self, file: Path, cli: Any, tmp_path: Path) -> None:
        assert "--out has no effect on 'check'" in cli("check", file, "--out", "runs/x").err
        assert not (tmp_path / "runs").exists()


MISTAKE = Mistake(place="f:1:1", path="a", message="m")
LOST = DistributedFailure(rank="worker[1]", reason="killed by SIGKILL", step=7, checkpoint=Path("c.npz"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.UsageError("x"), ExitCode.USAGE),
        (ScenarioError([MISTAKE]), ExitCode.INVALID_INPUT),
        (DataError("x"), ExitCode.INVALID_INPUT),
        (CheckpointError("x"), ExitCode.INVALID_INPUT),
        (RunFolderError("x"), ExitCode.INVALID_INPUT),
        (OutsideTolerance("x"), ExitCode.OUTSIDE_TOLERANCE),
        (HwError("x"), ExitCode.INFEASIBLE),
        (DoesNotFit("x"), ExitCode.INFEASIBLE),
        (OutOfMemory("x"), ExitCode.INFEASIBLE),
        (InvalidPlan("x"), ExitCode.INFEASIBLE),
        (MissingCapability("x"), ExitCode.MISSING_CAPABILITY),
        (RuntimeLacks("x"), ExitCode.MISSING_CAPABILITY),
        (StaleProfile("x"), ExitCode.MISSING_CAPABILITY),
        (LOST, ExitCode.DISTRIBUTED_FAILURE),
        (StepFailed("x"), ExitCode.DISTRIBUTED_FAILURE),
        (TimedOut(seconds=60, step=3, checkpoint=None), ExitCode.DISTRIBUTED_FAILURE),
        (Interrupted(step=3, checkpoint=None), ExitCode.INTERRUPTED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (click.exceptions.Abort(), ExitCode.INTERRUPTED),
        (ZeroDivisionError("x"), ExitCode.INTERNAL),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else x.name,
)
def test_exit_codes(error: BaseException, code: ExitCode) -> None:
    assert classify(error) is code
    document = error_document(error, code)
    assert document["code"] == code and document["kind"] == code.name.lower() and document["message"]
    json.dumps(document)


def test_a_lost_worker_is_named() -> None:
    document = error_document(LOST, ExitCode.DISTRIBUTED_FAILURE)
    assert (document["rank"], document["step"], document["checkpoint"]) == ("worker[1]", 7, "c.npz")


class TestErrors:
    """What happens to errors that a command lets out; `model list` stands for all commands."""

    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch, cli: Any) -> Any:
        def run(error: BaseException, *arguments: str) -> Any:
            def fail() -> None:
                raise error

            monkeypatch.setattr("trainscape.models.list_models", fail)
            return cli("model", "list", *arguments)

        return run

    def test_an_internal_error_leaves_its_traceback_in_a_file(self, failing: Any, monkeypatch: Any, tmp_path: Path) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        found = failing(ZeroDivisionError("the reason"), "--json")
        assert found.code == ExitCode.INTERNAL
        path = Path(found.document["error"]["traceback_file"])
        assert str(path) in found.err and "internal error: ZeroDivisionError: the reason" in found.err
        text = path.read_text()
        assert text.startswith("trainscape model list --json\n") and "ZeroDivisionError: the reason" in text

    def test_a_missing_capability(self, failing: Any) -> None:
        found = failing(MissingCapability("no such device"))
        assert found == (6, "", "error: no such device\n")

    def test_interruption(self, failing: Any) -> None:
        assert failing(KeyboardInterrupt()).code == ExitCode.INTERRUPTED
        found = failing(Interrupted(step=3, checkpoint=Path("c.npz")), "--json")
        assert found.code == 130
        assert found.document["error"]["checkpoint"] == "c.npz"
        assert "stopped after step 3; resume from c.npz" in found.err


@pytest.mark.parametrize(
    "arguments", [["model", "list"], ["model", "list", "--json"], ["schema"], ["check", "no.yaml", "--json"]]
)
@pytest.mark.parametrize("place", ["full", "closed"])
def test_a_lost_stdout_is_no_defect(arguments: list[str], place: str) -> None:
    command = [sys.executable, "-m", "trainscape", *arguments]
    if place == "full":
        with Path("/dev/full").open("w") as full:
            found = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        found = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        os.close(writer)
    assert found.returncode == ExitCode.INTERNAL
    assert "Traceback" not in found.stderr and "defect" not in found.stderr and "ignored" not in found.stderr
    if place == "full":
        assert "stdout cannot be written: No space left on device" in found.stderr


class TestPlanAndPredict:
    def test_plan(self, file: Path, cli: Any) -> None:
        found = cli("plan", file, "--json").document["plan"]
        assert found["ranks"] == ["worker[0]", "worker[1]"]
        (role,) = found["roles"]
        assert role["axes"] == {"dp": 2} and "forward/conv1" in role["segments"]
        assert f"plan {found['hash']}: 2 ranks" in cli("plan", file).out

    def test_predict_elsewhere(self, file: Path, cli: Any, tmp_path: Path) -> None:
        found = cli("predict", file, "--set", "system.name=dgx1-v100", "--json", "--out", "runs/there")
        predicted = found.document["predicted"]
        assert found.code == 0
        assert set(predicted) >= {
            "step_s", "step_interval_s", "samples_per_s", "compute_s", "comm_s", "exposed_comm_s", "bytes_sent_total",
            "memory_peak_bytes", "flop_total",
        }  # fmt: skip
        low, high = predicted["step_interval_s"]
        assert 0 < low < predicted["step_s"] < high
        assert predicted["samples_per_s"] == pytest.approx(64 / predicted["step_s"])
        assert len(predicted["memory_peak_bytes"]) == 2
        assert sum(predicted["exposed_s"].values()) == pytest.approx(predicted["step_s"], rel=0.05)
        files = {p.name for p in (tmp_path / "runs" / "there").iterdir()}
        assert files == {"report.md", "result.json", "run.json", "step.png", "trace.json.gz"}

    def test_predict_here(self, file: Path, cli: Any, profile: Any) -> None:
        found = cli("predict", file, "--json")
        assert found.code == 0 and found.document["predicted"]["cost_model"] == "calibrated"

    def test_predict_here_without_a_profile(self, file: Path, cli: Any, monkeypatch: Any, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        found = cli("predict", file, "--json")
        assert (found.code, found.document["error"]["kind"]) == (6, "missing_capability")
        assert "trainscape calibrate" in found.err

    def test_an_expectation_that_is_not_met(self, file: Path, cli: Any) -> None:
        expect = "expect={predicted.step_s: {at_most: 1 ns, source: nobody}}"
        found = cli("predict", file, "--set", "system.name=dgx1-v100", "--set", expect, "--json")
        assert found.code == ExitCode.OUTSIDE_TOLERANCE
        (outcome,) = found.document["expectations"]
        assert (outcome["met"], outcome["high"], outcome["source"]) == (False, 1e-9, "nobody")
        assert re.search(r"predicted.step_s is \S+, expected at most 1e-09 \(nobody\)", found.err)
        assert found.document["predicted"]["step_s"] > 1e-9

    def test_same_scenario_same_bytes(self, file: Path, cli: Any) -> None:
        first, second = (cli("predict", file, "--set", "system.name=dgx-h100", "--json").out for _ in range(2))
        assert first == second

    def test_what_is_not_here_cannot_be_run(self, file: Path, cli: Any) -> None:
        for command in ("train", "validate"):
            found = cli(command, file, "--set", "system.name=dgx1-v100")
            assert found.code == ExitCode.MISSING_CAPABILITY
            assert "it can be predicted, not run" in found.err


class TestCalibrate:
    def test_it_keeps_the_profile_and_draws_it(self, cli: Any, profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measuring is faked; what is measured has tests of its own."""
        from hw.profile import Row, load_profile

        rows = tuple(Row(kernel="cpu.relu", busy=n, what="f32[8]", measured_s=1e-6, fitted_s=1.1e-6) for n in (1, 2))
        asked: list[bool] = []

        def calibrate(*, quick: bool, instruments: Any) -> Any:
            asked.append(quick)
            instruments[0].on_phase("timing kernels")
            return replace(profile, rows=rows, created="2030-01-01T00:00:00+00:00")

        monkeypatch.setattr("trainscape.calibrate.calibrate", calibrate)
        found = cli("calibrate", "--quick", "--json")
        assert (found.code, asked) == (0, [True])
        assert "calibration: timing kernels\n" in found.err
        assert load_profile(Path(found.document["file"])).created == "2030-01-01T00:00:00+00:00"
        assert Path(found.document["picture"]).read_bytes()[:4] == b"\x89PNG"
        assert "rows" not in found.document["profile"]


def test_main_returns_and_does_not_exit() -> None:
    assert main(["--version"]) == 0
