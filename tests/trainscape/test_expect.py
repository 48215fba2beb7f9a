"""Expectations: units by the key, bounds, what is looked at, and how a miss ends."""

import pytest

from hw.errors import HwError
from trainscape.commands.options import Options
from trainscape.errors import OutsideTolerance
from trainscape.exit_codes import ExitCode, classify
from trainscape.expect import bound, find, outcomes
from trainscape.load import load_text
from trainscape.output import Output
from trainscape.results import enforce, with_expectations
from trainscape.scenario import Expectation

DOCUMENT = {"predicted": {"step_s": 1.1e-3, "memory_peak_bytes": [100, 300]}, "accuracy": 0.96, "error": {"step": None}}


def met(key: str, **e: object) -> list[bool]:
    return [o.is_met for o in outcomes({key: Expectation(source="test", **e)}, DOCUMENT)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "given", "number"),
    [
        ("predicted.step_s", "1.2 ms", 1.2e-3),
        ("predicted.step_interval_s.1", "5 us", 5e-6),
        ("predicted.kinds_s.forward", "5 us", 5e-6),
        ("predicted.samples_per_s", 1000, 1000.0),
        ("predicted.bytes_sent_total", "2 KiB", 2048),
        ("predicted.memory_peak_bytes.0", "1 MB", 10**6),
        ("error.step", "-10 %", -0.1),
        ("accuracy", "95 %", 0.95),
        ("measured.accuracy", 0.95, 0.95),
    ],
)
def test_units_follow_from_the_key(key: str, given: float | str, number: float) -> None:
    assert bound(key, given) == number


def test_a_rate_is_a_bare_number() -> None:
    with pytest.raises(HwError, match=r"'1 kB': predicted.samples_per_s is a bare number"):
        bound("predicted.samples_per_s", "1 kB")


def test_value_with_tolerance() -> None:
    assert met("predicted.step_s", value="1.2 ms", tolerance="10 %") == [True]
    assert met("predicted.step_s", value="1.2 ms", tolerance="5 %") == [False]
    assert met("predicted.memory_peak_bytes.1", value=300, tolerance=0) == [True]


def test_bounds() -> None:
    assert met("accuracy", at_least=0.95) == [True]
    assert met("accuracy", at_least=0.95, at_most=0.955) == [False]


def test_what_is_no_number_is_not_met() -> None:
    assert met("error.step", at_most=1) == [False]


def test_keys_of_other_commands_are_left_alone() -> None:
    assert met("measured.step_s", at_most=1) == []


def test_find() -> None:
    assert find(DOCUMENT, "predicted.memory_peak_bytes.1") == (True, 300)
    assert find(DOCUMENT, "predicted.memory_peak_bytes.2") == (False, None)


TEXT = "name: x\nmodel: {name: mlp}\nexpect:\n  accuracy: {at_least: 97 %, source: a test}\n"


def options(*overrides: str) -> Options:
    return Options(command="test", output=Output(verbosity=-1), overrides=overrides)


def test_a_miss_ends_outside_tolerance_and_keeps_the_document() -> None:
    document = with_expectations(load_text(TEXT), DOCUMENT, options())
    with pytest.raises(OutsideTolerance, match=r"^accuracy is 0.96, expected at least 0.97 \(a test\)$") as e:
        enforce(document)
    assert e.value.document == document
    assert classify(e.value) is ExitCode.OUTSIDE_TOLERANCE


def test_expectations_are_about_the_scenario_as_written() -> None:
    assert with_expectations(load_text(TEXT), DOCUMENT, options("model.width=2"))["expectations"] == []
    asked = ["model.width=2", "expect.accuracy.at_least=0.99"]
    assert len(with_expectations(load_text(TEXT, "x", asked), DOCUMENT, options(*asked))["expectations"]) == 1


@pytest.mark.parametrize(("verdict", "words"), [("outside", "error is 30.0 %"), ("inconclusive", "probes moved by 15.0 %")])
def test_verdicts_other_than_ok(verdict: str, words: str) -> None:
    document = {"verdict": verdict, "error": {"step": 0.3}, "tolerance": 0.1, "measured": {"probe_moved": 0.15}}
    with pytest.raises(OutsideTolerance, match=words):
        enforce(document)


def test_a_good_verdict() -> None:
    enforce({"verdict": "ok", "expectations": []})
