"""Scenarios on NFUs: in which numbers they compute, what is refused, what is said of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from graph.fixed_point import Fixed
from graph.ir import Graph
from hw import catalogue
from hw.cost import NfuModel
from trainscape import cross_check
from trainscape.build import Built
from trainscape.compare import compare
from trainscape.errors import ScenarioError
from trainscape.explain import explain
from trainscape.explanation import Section
from trainscape.footprint import footprint
from trainscape.load import load, load_text
from trainscape.numerics import nfus, numerics
from trainscape.predict import Prediction, predict
from trainscape.scenario import Scenario
from trainscape.sensitivity_numbers import system_numbers

FOLDER = Path(__file__).parents[2] / "scenarios"
LENET = str(FOLDER / "digits-lenet-diannao.yaml")
TRAINS = """\
name: s
model: {name: lenet, batch: 8}
system: {name: diannao-4}
parallel:
  strategy: data
  ranks: 2
"""


def scenario(*overrides: str) -> Scenario:
    return load(LENET, overrides).scenario


def formats(built: Built) -> set[tuple[object, ...]]:
    """(bits, fraction) of all that is converted."""
    return {(n.attrs["bits"], n.attrs["fraction"]) for n in graph_of(built) if n.op.name in ("quantize", "dequantize")}


def graph_of(built: Built) -> Graph:
    graph = built.plan.role["worker"].graph
    assert graph is not None
    return graph


@pytest.fixture(scope="module")
def lenet() -> Prediction:
    return predict(Built(scenario()))


def test_an_nfu_computes_in_its_own_words_unless_told_otherwise() -> None:
    assert formats(Built(scenario())) == {(16, 10)}
    assert formats(Built(scenario("numerics.fraction=12"))) == {(16, 12)}
    on_gpu = "system.name=dgx1-v100"
    assert formats(Built(scenario(on_gpu))) == set()  # floats
    assert formats(Built(scenario(on_gpu, "numerics.word=8", "numerics.fraction=4"))) == {(8, 4)}
    assert numerics(scenario(), None) is None
    found = numerics(scenario(), catalogue.system("diannao-1"))
    assert found is not None and Fixed(bits=found.word, fraction=found.fraction) == Fixed()


def test_nfus_among_other_devices() -> None:
    mixed = load_text(
        "name: s\nmodel: {name: lenet, batch: 4, input: mnist}\nsystem: {name: k20-diannao}\n"
        "parallel: {strategy: features, ranks: 4, features_on: nfu, classifier_on: gpu}\n"
    ).scenario
    assert [(key, d.name) for key, d in nfus(mixed, catalogue.system("k20-diannao"))] == [("features_on", "diannao")]
    built = Built(mixed)
    kernels = {role: {c.kernel.split(".")[0] for c in low.calls if c.nodes} for role, low in built.lowered.items()}
    assert kernels == {"features": {"nfu", "cpu"}, "classifier": {"cuda"}}
    swapped = load_text(
        "name: s\nmodel: {name: lenet, batch: 4, input: mnist}\nsystem: {name: k20-diannao}\n"
        "parallel: {strategy: inference, ranks: 1}\n"
    ).scenario
    assert numerics(swapped, catalogue.system("k20-diannao")) is None  # it stands on the GPU


def test_training_is_refused_where_it_stands_with_the_way_out() -> None:
    with pytest.raises(ScenarioError) as e:
        load_text(TRAINS, "s.yaml")
    said = "s.yaml:5:13: error: parallel.strategy: strategy data trains, but diannao computes in fixed point"
    assert str(e.value).startswith(said)
    assert "write strategy: inference" in str(e.value) and e.value.is_infeasible
    load_text(TRAINS.replace("strategy: data", "strategy: inference"), "s.yaml")
    (row,) = compare([load(LENET)], ["ring"])
    assert not row.fits and row.change is not None
    assert dict(row.change.settings) == {"parallel": {"strategy": "inference", "ranks": 1}}


def test_words_of_another_length_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"numerics\.word: .*a word of 8 bits, but those of diannao have 16"):
        scenario("numerics.word=8", "numerics.fraction=4")


def test_synapses_of_another_length_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    system = catalogue.system("diannao-1")
    monkeypatch.setattr(cross_check, "catalogue_system", lambda part: replace(system, device=catalogue.device("anna-like")))
    with pytest.raises(ScenarioError, match=r"system\.name: .*neurons of anna-like have 3 bits, its synapses 6"):
        scenario()


def test_a_step_is_the_sum_of_its_calls(lenet: Prediction) -> None:
    """By hand at least 886 cycles of the NFU, see the scenario; energy is that of the calls, and the device is never idle."""
    placed = lenet.built.placed
    rank = lenet.built.plan.ranks[0]
    cost = placed.cost_of(rank)
    assert isinstance(cost, NfuModel)
    calls = lenet.built.lowered["worker"].calls
    computed = [c for c in calls if c.kernel != "cpu.input"]
    assert lenet.stats.step_s == pytest.approx(sum(map(cost.seconds, computed)), rel=1e-9)
    assert sum(cost.seconds(c) for c in computed if c.kernel.startswith("nfu.")) > 886 / 0.98e9
    f = footprint(lenet)
    assert f.joules == pytest.approx(sum(cost.joules(c) or 0.0 for c in calls), rel=1e-6)
    assert f.peak_flop_per_second == pytest.approx(2 * 256 * 0.98e9)
    assert f.mfu == pytest.approx(2 * 35_880 / (lenet.stats.step_s * 2 * 256 * 0.98e9))
    assert "17.5 W for its processor while that works" in f.energy_basis


def kernels_of(sections: tuple[Section, ...]) -> Section:
    return next(s for s in sections if s.title.startswith("Kernels"))


def test_an_explanation_says_where_cycles_go(lenet: Prediction) -> None:
    section = kernels_of(explain(lenet))
    assert tuple(section.header[6:10]) == ("nfu", "dram", "waits", "bound by")
    bound = {(row[0], row[2]): row[9] for row in section.rows}
    assert bound["conv1", "conv2d"] == "nfu" and bound["fc2", "matmul"] == "dram" and bound["input", "quantize"] == "processor"
    lines = {line.symbol: line for line in section.lines}
    assert lines["c_nfu"].value == 8 * 8 * 9  # conv1: 8 x 8 positions, 3 x 3 of the window, one row of maps in and out
    assert lines["t(call)"].value == pytest.approx((lines["c_nfu"].value + lines["c_wait"].value) / lines["f"].value)
    assert lines["t_nfu"].value + lines["t_processor"].value == pytest.approx(lines["t_compute"].value)
    assert lines["t_compute"].value == pytest.approx(lenet.stats.compute_s)


def test_nfus_that_share_a_memory_wait_for_one_another() -> None:
    def worker(ranks: int) -> float:
        settings = ("system.name=diannao-4", "model.name=mlp", f"parallel.ranks={ranks}", f"model.batch={ranks}")
        return predict(Built(scenario(*settings))).stats.step_s

    one, two, four = map(worker, (1, 2, 4))
    assert one < two < four < 4 * one


def test_memory_of_an_nfu_is_one_number(lenet: Prediction) -> None:
    numbers = {n.key.removeprefix("system:diannao."): n for n in system_numbers(lenet.built)}
    assert {"memory_bytes_per_second", "nfu.clock_hz", "processor.watts"} <= set(numbers)
    assert not {"nfu.dram_bytes_per_second", "efficiency.matrix", "cores"} & set(numbers)
    change = numbers["memory_bytes_per_second"].system
    assert change is not None
    half = change(125e9).device
    assert half.nfu is not None and half.nfu.dram_bytes_per_second == half.memory_bytes_per_second == 125e9
