"""The shipped JSON Schema is current, sound, and accepts what the reader accepts."""

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from trainscape.schema import FILE, schema, schema_text

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def test_the_shipped_file_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), "run: trainscape schema > trainscape/scenario.schema.json"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenarios_pass(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    assert [e.message for e in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        ({"run": {"data": "digits"}}, True),
        ({"run": {"data": {"name": "mnist", "folder": "x"}}}, True),
        ({"model": {"name": "mlp", "input": [1, 2, 3]}}, True),
        ({"expect": {"predicted.memory_peak_bytes.0": {"at_most": "1 MB", "source": "x"}}}, True),
        ({"expect": {"predicted.stepp_s": {"at_most": "1 ms", "source": "x"}}}, False),
        ({"model": {"name": "mlp", "widht": 1}}, False),
        ({"model": {"name": "mlp", "batch": 0}}, False),
        ({"parallel": {"bucket": 5}}, False),
        ({"modle": {}}, False),
    ],
)
def test_editors_see_the_same_mistakes(change: dict, is_right: bool, validator: jsonschema.Draft202012Validator) -> None:  # type: ignore[type-arg]
    assert validator.is_valid({"name": "x", "model": {"name": "mlp"}, **change}) is is_right
