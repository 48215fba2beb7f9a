"""The commands that list and describe: models, devices, completion, the schema."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainscape.cli import cli as group
from trainscape.exit_codes import ExitCode


class TestLists:
    def test_models(self, cli: Any) -> None:
        assert {m["name"] for m in cli("model", "list", "--json").document["models"]} >= {"mlp", "lenet"}
        assert "LeNet-5" in cli("model", "list").out

    def test_lenet_5(self, cli: Any) -> None:
        found = cli("model", "show", "lenet", "--json").document
        assert found["parameters"] == 61_706  # LeCun et al. 1998, with every map of the second convolution connected
        assert [layer["name"] for layer in found["layers"]] == ["conv1", "conv2", "fc1", "fc2", "fc3", "loss"]
        assert found["forward_macs_per_sample"] == sum(layer["macs"] for layer in found["layers"])
        assert found["activation_bytes_per_sample"] > 0

    def test_settings_of_a_model(self, cli: Any) -> None:
        small = cli("model", "show", "lenet", "--json", "--set", "input=digits").document
        wide = cli("model", "show", "lenet", "--json", "--set", "model.input=digits", "--set", "width=2").document
        assert small["parameters"] == 19_754  # 60 + 880 + 7,800 + 10,164 + 850
        assert wide["parameters"] > 2 * small["parameters"]
        assert "61,706 parameters" in cli("model", "show", "lenet").out

    def test_a_setting_that_is_none(self, cli: Any) -> None:
        found = cli("model", "show", "lenet", "--set", "wdth=2")
        assert (found.code, found.err) == (3, "--set model.wdth: error: unknown key 'wdth'; did you mean 'width'?\n")

    def test_the_catalogue(self, cli: Any) -> None:
        entries = {e["name"]: e["kind"] for e in cli("hw", "list", "--json").document["entries"]}
        assert entries["host"] == entries["dgx1-v100"] == "system"
        assert entries["v100-sxm2-16gb"] == "device" and entries["nvlink2"] == "link"

    def test_every_number_has_a_unit_and_a_source(self, cli: Any) -> None:
        found = cli("hw", "show", "v100-sxm2-16gb", "--json").document
        bandwidth = next(q for q in found["quantities"] if q["quantity"] == "memory.bandwidth")
        assert bandwidth["value_bytes_per_s"] == 900e9 and bandwidth["text"] == "900 GB/s"
        assert all(q["source"] for q in found["quantities"])

    def test_the_host_without_a_profile(self, cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        found = cli("hw", "show", "host")
        assert found.code == ExitCode.MISSING_CAPABILITY
        assert "trainscape calibrate" in found.err

    def test_the_host_with_a_profile(self, cli: Any, profile: Any) -> None:
        found = cli("hw", "show", "host", "--json").document
        assert found["profile"]["cpu"] == profile.cpu
        assert "rows" not in found["profile"]


class TestCompletionAndSchema:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell: str, cli: Any) -> None:
        found = cli("completion", shell)
        assert found.code == 0 and "_TRAINSCAPE_COMPLETE" in found.out
        assert cli("completion", shell, "--json").document["script"] == found.out

    @pytest.mark.parametrize(("words", "proposed"), [("trainscape pre", "predict"), ("trainscape hw sh", "show")])
    def test_it_completes(self, words: str, proposed: str) -> None:
        import click.shell_completion as completion

        kind = completion.get_completion_class("bash")
        assert kind is not None
        *before, word = words.split()[1:]
        found = kind(group, {}, "trainscape", "_TRAINSCAPE_COMPLETE").get_completions(before, word)
        assert [c.value for c in found] == [proposed]

    def test_schema(self, cli: Any) -> None:
        found = cli("schema")
        assert json.loads(found.out)["title"] == "Trainscape scenario"
        assert cli("schema", "--json").document == json.loads(found.out)
