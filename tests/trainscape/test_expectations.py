"""What scenarios expect of results, held: of predictions at once, of trainings by running them. Times are left to `validate`."""

from pathlib import Path

import pytest

from trainscape.build import Built
from trainscape.expect import outcomes
from trainscape.load import load
from trainscape.output import Output
from trainscape.predict import predict
from trainscape.results import prediction_run
from trainscape.train import train

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
TRAINED = [f for f in FILES if "accuracy" in load(str(f)).scenario.expect]


def held(document, expect):
    found = outcomes(expect, document)
    wrong = [f"{o.key} is {o.got}, expected {o.low} ... {o.high} ({o.source})" for o in found if not o.is_met]
    assert not wrong, "; ".join(wrong)
    return {o.key for o in found}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_prediction_is_as_expected(file, profile):
    loaded = load(str(file))
    expect = loaded.scenario.expect
    found = held(prediction_run(predict(Built(loaded.scenario))).document, expect)
    assert found == {k for k in expect if k.startswith(("predicted.", "model."))}


def test_some_scenario_trains():
    assert len(TRAINED) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("file", TRAINED, ids=lambda f: f.stem)
def test_a_training_is_as_expected(file, profile, tmp_path):
    loaded = load(str(file))
    found = train(Built(loaded.scenario), folder=tmp_path, output=Output(verbosity=-1))
    assert "accuracy" in held(found.numbers(), loaded.scenario.expect)
