"""What scenarios expect of results, held: of predictions at once, of trainings by running them. Times are left to `validate`."""

from pathlib import Path

import pytest

from runtime.cuda.driver import find_driver
from trainscape.build import Built
from trainscape.expect import outcomes
from trainscape.load import load
from trainscape.output import Output
from trainscape.predict import predict
from trainscape.results import prediction_run
from trainscape.scenario import RunsOn
from trainscape.train import train

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
HERE = {None, RunsOn.CPU, *([RunsOn.CUDA] if (driver := find_driver()) and driver.gpus else [])}
TRAINED = [f for f in FILES if "accuracy" in (s := load(str(f)).scenario).expect and s.system.platform in HERE]


def held(document, expect):
    found = outcomes(expect, document)
    wrong = [f"{o.key} is {o.got}, expected {o.low} ... {o.high} ({o.source})" for o in found if not o.is_met]
    assert not wrong, "; ".join(wrong)
    return {o.key for o in found}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_prediction_is_as_expected(file, profile, gpu_profile):
    loaded = load(str(file))
    expect, is_gpu = loaded.scenario.expect, loaded.scenario.system.platform is RunsOn.CUDA
    built = Built(loaded.scenario, profile=gpu_profile if is_gpu else None)
    found = held(prediction_run(predict(built)).document, expect)
    assert found == {k for k in expect if k.startswith(("predicted.", "model."))}


def test_some_scenario_trains():
    assert len(TRAINED) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("file", TRAINED, ids=lambda f: f.stem)
def test_a_training_is_as_expected(file, profile, tmp_path):
    loaded = load(str(file))
    found = train(Built(loaded.scenario), folder=tmp_path, output=Output(verbosity=-1))
    assert "accuracy" in held(found.numbers(), loaded.scenario.expect)
