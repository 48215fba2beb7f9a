"""All mistakes at once: what rules between keys find is told beside keys that are wrong, and nothing that follows from these."""

from pathlib import Path

import pytest

from trainscape.errors import ScenarioError
from trainscape.load import load, load_text

MODEL = "name: x\nmodel: {name: lenet, batch: 65}\n"


def mistakes(text: str, file: str = "s.yaml") -> list[str]:
    with pytest.raises(ScenarioError) as e:
        load_text(text, file)
    return [f"{m.path}: {m.message.split(';')[0]}" for m in e.value.mistakes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            MODEL + "parallel: {ranks: 2, bucket: 3}\nrun: {step: 1}\n",
            [
                "model.batch: a batch of 65 does not divide over 2 ranks",
                "parallel.bucket: 3 has no unit",
                "run.step: unknown key 'step'",
            ],
        ),
        (
            "model: {batch: 65}\nparallel: {ranks: 2}\n",
            [
                "name: missing, and there is no default",
                "model.name: missing, and there is no default",
                "model.batch: a batch of 65",
            ],
        ),
        (
            "name: x\nmodel: {name: lenet}\nsystem: {name: dgx1-v100, device: 4}\nparallel: {ranks: 3}\nrun: {steps: 0}\n"
            "expect: {predicted.memory_peak_bytes: {at_most: 1 MB, source: s}, accuracy: {at_least: 1}}\n",
            [
                "model.batch: a batch of 64 does not divide over 3 ranks",
                "system.device: unknown key 'device'",
                "run.steps: must be at least 1, got 0",
                "expect.predicted.memory_peak_bytes: the result is a list",
                "expect.accuracy.source: missing, and there is no default",
            ],
        ),
    ],
)
def test_broken_rules_are_told_beside_wrong_keys(text: str, expected: list[str]) -> None:
    found = mistakes(text)
    assert len(found) == len(expected) and all(any(f.startswith(e) for f in found) for e in expected), found


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nmodel: {name: lenet, bacth: 63}\nparallel: {ranks: 3}\n",
        "name: x\nmodel: {name: lenet, batch: many}\nparallel: {ranks: 3}\n",
        MODEL + "paralel: {ranks: 5}\n",
        MODEL + "parallel: {ranks: two}\n",
        MODEL + "system: {name: dgx1, devices: 1}\nparallel: {ranks: 5}\n",
        "name: x\nmodel: {name: lenet, classes: 12}\nrun: {data: {folder: x}}\n",
        "name: x\nmodel: lenet\n",
        "name: x\nmodel: {name: lenet}\nexpect: {accuracy: {value: much, tolerance: x, source: s}}\n",
        "name: x\nmodel: {name: lenet}\nrun: 3\nparallel: [1]\n",
    ],
)
def test_what_only_follows_from_a_wrong_key_is_not_told(text: str) -> None:
    assert len(mistakes(text)) == text.count("[1]") + 1


def test_a_data_folder_that_is_not_there(tmp_path: Path) -> None:
    text = "name: x\nmodel: {name: mlp, input: mnist}\nsystem: {name: %s}\nrun: {data: {name: mnist, folder: files}}\n"
    file = str(tmp_path / "s.yaml")
    for system in ("host", "dgx1-v100"):  # plans and predictions need none; a training says how to come by one
        (warning,) = load_text(text % system, file).warnings
        assert warning == f"run.data.folder: there is no folder {tmp_path / 'files'}, so nothing can be trained on it here"
    (tmp_path / "files").mkdir()
    assert load_text(text % "host", file).warnings == ()


def test_a_file_without_end_is_given_up_soon() -> None:
    with pytest.raises(ScenarioError, match=r"/dev/zero: error: too large; a scenario has at most 1000000 bytes"):
        load("/dev/zero")


def test_a_name_is_short_enough_for_a_folder() -> None:
    assert mistakes(f"name: {'x' * 101}\nmodel: {{name: mlp}}\n") == ["name: must have at most 100 characters, not 101"]


@pytest.mark.parametrize("key", ["predicted.step_interval_s", "predicted.memory_peak_bytes", "measured.memory_peak_bytes"])
def test_an_expectation_names_an_item_of_a_list(key: str) -> None:
    text = "name: x\nmodel: {name: mlp}\nexpect: {%s: {at_most: %s, source: s}}\n"
    limit = "1 MB" if "bytes" in key else "1 s"
    with pytest.raises(ScenarioError, match=rf"name an item: {key}\.0"):
        load_text(text % (key, limit))
    assert load_text(text % (f"{key}.0", limit)).scenario.expect
