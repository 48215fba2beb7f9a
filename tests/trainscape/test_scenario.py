"""Scenarios that are right: units, defaults, overrides, settings that read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainscape.errors import ScenarioError
from trainscape.load import load, load_text
from trainscape.scenario import Activation, DataName, Scenario

TEXT = """\
name: digits
model: {name: lenet, batch: 64, input: digits}
parallel: {ranks: 2}
expect:
  predicted.step_s: {value: 1.2 ms, tolerance: 10 %, source: a test}
"""


def scenario(*overrides: str, seed: int | None = None) -> Scenario:
    return load_text(TEXT, "s.yaml", overrides, seed).scenario


def mistake(*overrides: str, seed: int | None = None) -> str:
    with pytest.raises(ScenarioError) as e:
        scenario(*overrides, seed=seed)
    return str(e.value)


def test_defaults() -> None:
    s = scenario()
    assert s.seed == 1
    assert (s.model.width, s.model.depth, s.model.activation, s.model.dropout) == (1.0, None, Activation.RELU, 0.0)
    assert s.system.name == "host" and s.system.devices is None
    assert (s.parallel.strategy, s.parallel.collective, s.parallel.bucket) == ("data_parallel", "ring", 32768)
    assert s.data.name is DataName.DIGITS
    assert s.micro_batch == 32


def test_data_follows_the_images() -> None:
    assert scenario("model.input=[5, 7, 2]", "model.depth=1").data.name is DataName.SYNTHETIC


def test_it_is_frozen_and_compares_by_value() -> None:
    assert scenario() == scenario()
    with pytest.raises(ValueError, match="frozen"):
        scenario().model.batch = 3  # type: ignore[misc]


def test_settings_read_back_as_the_same_scenario() -> None:
    s = scenario("parallel.bucket=1.5 MB", "run.timeout=250 ms", "run.data={name: mnist, folder: .}", "model.input=mnist")
    assert s.settings()["parallel"]["bucket"] == "1.5 MB"
    assert load_text(json.dumps(s.settings()), "again").scenario == s


@given(
    batch=st.integers(1, 100),
    width=st.floats(0.01, 8),
    ranks=st.integers(1, 4),
    bucket=st.integers(1, 10**12),
    timeout=st.floats(1e-9, 1e9),
)
def test_any_settings_read_back(batch: int, width: float, ranks: int, bucket: int, timeout: float) -> None:
    text = {
        "name": "x",
        "model": {"name": "mlp", "batch": batch * ranks, "width": width},
        "parallel": {"ranks": ranks, "bucket": f"{bucket} B"},
        "run": {"timeout": f"{timeout!r} s"},
    }
    s = load_text(json.dumps(text), "x").scenario
    assert (s.parallel.bucket, s.run.timeout, s.model.width) == (bucket, timeout, width)
    assert load_text(json.dumps(s.settings()), "x").scenario == s


def test_the_hash_is_of_what_matters() -> None:
    s = scenario()
    assert s.hash == scenario("name=other").hash == scenario("expect={}").hash
    assert s.hash != scenario("model.width=2").hash
    assert s.hash != scenario(seed=2).hash


def test_strategy_may_be_written_in_full() -> None:
    assert scenario("parallel.strategy=data") == scenario("parallel.strategy=data_parallel")


def test_overrides_are_yaml() -> None:
    s = scenario("model.width=2", "parallel.bucket=1 MB", "model.input=[28, 28, 1]", "model.input.0=30", "run.data=synthetic")
    assert s.model.width == 2.0
    assert s.parallel.bucket == 10**6
    assert s.model.input == (30, 28, 1)


def test_an_override_of_a_key_with_dots() -> None:
    assert scenario("expect.predicted.step_s.tolerance=5 %").expect["predicted.step_s"].tolerance == 0.05


def test_later_overrides_win() -> None:
    assert scenario("model.batch=2", "model.batch=4").model.batch == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.witdh=2", "--set model.witdh: error: unknown key 'witdh'; did you mean 'width'?"),
        ("modle.width=2", "--set modle.width: error: modle: unknown key 'modle'; did you mean 'model'?"),
        ("model.width=-1", "--set model.width: error: must be above 0, got -1"),
        ("model.width='2'", "--set model.width: error: must be a number, got '2'; remove the quotes"),
        ("model.width=", "--set model.width: error: no value; write --set model.width=value"),
        ("model.width=[1", "--set model.width: error: not valid YAML: '[' is not closed by ']' (noticed on line 1)"),
        ("model.width.x=1", "--set model.width.x: error: model.width: must be a number, got a section"),
        ("name.x=1", "--set name.x: error: name is 'digits', which has no keys"),
        ("model.batch=33", "--set model.batch: error: a batch of 33 does not divide over 2 ranks; the nearest that does is 32"),
        ("parallel=null", "--set parallel: error: must be a section of keys and values, got nothing"),
        ("run.timeout=60", "--set run.timeout: error: 60 has no unit; write 60 s"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    assert mistake(override) == message


def test_a_rule_broken_by_an_override_names_the_file_where_the_file_has_it() -> None:
    assert mistake("parallel.ranks=3").startswith("s.yaml:2:29: error: model.batch: a batch of 64 does not divide over 3 ranks")


def test_seed() -> None:
    assert scenario(seed=7).seed == 7
    assert mistake(seed=-1) == "--seed: error: must be at least 0, got -1"


def test_a_file_that_cannot_be_read(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(ScenarioError, match=r"no\.yaml: error: cannot be read: No such file or directory"):
        load(f"{tmp_path}/no.yaml")


def test_data_folders_are_seen_from_the_scenario_file() -> None:
    run = "run: {data: {name: mnist, folder: data/mnist}}"
    text = f"name: x\nmodel: {{name: lenet, input: mnist}}\nsystem: {{name: dgx1-v100}}\n{run}\n"
    assert str(load_text(text, "some/where/s.yaml").data_folder) == "some/where/data/mnist"


def test_warning_of_more_ranks_than_cores() -> None:
    found = load_text(TEXT, "s.yaml", ["parallel.ranks=4096", "model.batch=4096"])
    assert found.warnings == (f"4096 ranks on {_cores()} free cores: timings will mean little",)


def _cores() -> int:
    from trainscape.doctor import free_cores

    return free_cores()
