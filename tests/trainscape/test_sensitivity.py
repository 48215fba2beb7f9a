"""`check --sensitivity`: every number is changed; what matters is told, and what does not has a reason that was found."""

from dataclasses import replace
from typing import Any

import pytest

from trainscape.build import Built
from trainscape.load import load_text
from trainscape.predict import Prediction, predict
from trainscape.sensitivity import STEPS, Effect, effect, numbers_of, sensitivity
from trainscape.sensitivity_numbers import Number, scenario_numbers, system_numbers

TEXT = """
name: s
model: {name: lenet, batch: 1024, input: mnist}
system: {name: dgx1-v100}
parallel: {ranks: 8, bucket: 25 MB}
run: {data: synthetic}
"""


@pytest.fixture(scope="module")
def effects() -> dict[str, Effect]:
    return {e.key: e for e in sensitivity(load_text(TEXT).scenario)}


def test_every_number_of_the_scenario_is_changed(effects: dict[str, Effect]) -> None:
    s = load_text(TEXT).scenario
    keys = {n.key for n in scenario_numbers(s)}
    assert keys == {k for k in effects if not k.startswith("system:")}
    assert {"model.batch", "model.width", "model.input.0", "parallel.ranks", "run.learning_rate", "seed"} <= keys
    assert "parallel.server_count" not in keys  # it means nothing for this strategy


def test_by_ten_percent_and_whole_numbers_by_one_at_least(effects: dict[str, Effect]) -> None:
    assert (effects["model.width"].before, effects["model.width"].after) == (1.0, pytest.approx(1.1))
    assert effects["model.batch"].after == 1024 + 104  # the nearest multiple of 8 ranks
    assert effects["model.classes"].after == 11
    assert effects["parallel.ranks"].after == 4  # of 8 devices and a batch of 1024, no other is nearer
    assert effects["run.weight_decay"].after == 0.1  # from 0, a fraction


def test_what_matters(effects: dict[str, Effect]) -> None:
    width, batch = effects["model.width"].changes, effects["model.batch"].changes
    assert width["bytes_sent_total"] > 0.1 and width["step_s"] > 0
    assert batch["bytes_sent_total"] == 0 and batch["memory_peak_bytes"] > 0.05
    link = effects["system:nvlink2.latency_seconds"].changes
    assert 0 < link["step_s"] < 0.1 and link["memory_peak_bytes"] == 0
    assert effects["system:v100-sxm2-16gb.watts"].changes["energy_j"] != 0


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("run.learning_rate", "values only: it is learning_rate of sgd of 10 operators"),
        ("run.momentum", "values only: it is momentum of sgd"),
        ("run.timeout", "not read: a step is the same work"),
        ("run.steps", "not read"),
        ("parallel.bucket", "too small: nothing changes within 10 %, but at 25000 step_s changes"),
        ("system:pcie3-x16.bytes_per_second", "not read: no transfer of this plan goes over pcie3-x16"),
        ("system:v100-sxm2-16gb.peak.f64", "not read: no operator computes in f64"),
        ("system:v100-sxm2-16gb.memory_nbytes", "a limit: a rank needs"),
    ],
)
def test_why_not(effects: dict[str, Effect], key: str, reason: str) -> None:
    assert not effects[key].has_effect
    assert effects[key].reason.startswith(reason)


def test_everything_without_effect_has_a_reason(effects: dict[str, Effect]) -> None:
    for e in effects.values():
        assert bool(e.reason) is not e.has_effect, e.key


def test_a_link_that_computing_hides() -> None:
    text = TEXT.replace("lenet, batch: 1024, input: mnist", "alexnet-owt, batch: 1024")
    base = predict(Built(load_text(text).scenario), steps=STEPS)
    (number,) = (n for n in system_numbers(base.built) if n.key == "system:nvlink2.bytes_per_second")
    e = effect(base, numbers_of(base), number)
    assert not e.has_effect and e.reason.startswith("hidden: transfers of a step take") and "computing covers" in e.reason


@pytest.fixture(scope="module")
def busy() -> Prediction:
    """Eight H100 that compute all the time, in a node whose power is stated as a whole."""
    text = TEXT.replace("lenet, batch: 1024, input: mnist", "resnet50, batch: 512").replace("dgx1-v100", "dgx-h100")
    return predict(Built(load_text(text).scenario), steps=STEPS)


def effect_of(p: Prediction, key: str) -> Effect:
    (number,) = (n for n in system_numbers(p.built) if n.key == f"system:h100-sxm5-80gb.{key}")
    return effect(p, numbers_of(p), number)


def test_a_number_that_is_zero_is_changed_by_a_little_of_its_kind(busy: Prediction) -> None:
    """A call of a library takes microseconds, not a tenth of a second; a rate is a fraction."""
    device = busy.built.system.device
    call = effect_of(busy, "convolution.call_seconds")
    assert call.before == 0 and call.after == pytest.approx(0.1 * min(device.launch_seconds, device.issue_seconds))
    assert call.reason.startswith("too small: nothing changes near 0, but at 3.4e-05 step_s changes by +")
    assert effect_of(busy, "convolution.winograd").after == 0.1


def test_a_zero_of_which_nothing_tells_the_size_is_left_and_said_so(busy: Prediction) -> None:
    free = replace(busy.built.system.device, usd_per_hour=0.0)
    base = predict(Built(busy.built.scenario, system=replace(busy.built.system, device=free)), steps=STEPS)
    e = effect_of(base, "usd_per_hour")
    assert e.after is None and e.reason.startswith("cannot be changed: it is 0, and there is nothing like it")


def test_power_that_the_rest_of_the_node_takes_up(busy: Prediction) -> None:
    e = effect_of(busy, "watts")
    assert not e.has_effect
    assert e.reason.startswith("absorbed: a node of dgx-h100 is stated to draw 10200 W as a whole")
    assert effect_of(busy, "idle_fraction").reason.startswith(
        "not read: no device is ever idle: they compute 100.0 % of the time"
    )


def test_values_that_are_tried() -> None:
    assert list(Number(key="x", value=100).near())[:3] == [110, 90, 111]
    assert list(Number(key="x", value=3).near())[:2] == [4, 2]
    assert list(Number(key="x", value=64, grain=8).near())[:2] == [72, 56]
    assert list(Number(key="x", value=2.0).near()) == pytest.approx([2.2, 1.8])
    assert list(Number(key="x", value=0.0, scale=1.0).near()) == [0.1]
    assert list(Number(key="x", value=0.0).near()) == [] and Number(key="x", value=0.0).is_unknown
    assert list(Number(key="x", value=0).near())[:1] == [1] and not Number(key="x", value=0).is_unknown


def test_on_the_command_line(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "s.yaml").write_text("name: s\nmodel: {name: mlp, batch: 64}\nsystem: {name: dgx1-v100}\nparallel: {ranks: 2}\n")
    found = cli("check", "s.yaml", "--sensitivity", "--json")
    document = found.document
    assert found.code == 0 and document["ok"]
    assert {"key", "before", "after", "change", "has_effect", "reason"} == set(document["sensitivity"][0])
    assert "Numbers without effect, and why" in found.err
