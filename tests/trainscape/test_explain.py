"""`predict --explain`: every sum of the explanation is the prediction's, for each strategy, as it was played."""

from itertools import pairwise

import pytest

from graph.parallel.plan import Collective
from graph.parallel.unroll import instructions
from sim.collective import ClosedForms
from trainscape.build import Built
from trainscape.explain import compute_seconds, explain
from trainscape.explanation import Line, Section, shown, total
from trainscape.load import load_text
from trainscape.predict import Prediction, predict

TEXT = """
name: s
model: {name: lenet, batch: 512, input: mnist}
system: {name: dgx1-v100}
parallel: {ranks: 8}
run: {data: {name: synthetic, storage: 100 MB/s, decode: 1 ms}}
"""
STRATEGIES = {
    "ring": (),
    "micro-batches": ("parallel.micro_batches=2",),
    "tree": ("parallel.collective=tree",),
    "servers on devices": ("parallel.strategy=parameter_server",),
    "servers on the host": ("parallel.strategy=parameter_server", "parallel.servers=host"),
    "hybrid": ("parallel.strategy=hybrid", "parallel.ranks=4"),
    "hybrid in turns": ("parallel.strategy=hybrid", "parallel.scheme=turns", "parallel.ranks=4"),
    "model": ("parallel.strategy=model", "parallel.ranks=2"),
}


def prediction(*overrides: str) -> Prediction:
    return predict(Built(load_text(TEXT, "s", overrides).scenario))


def value(sections: tuple[Section, ...], symbol: str) -> float:
    (found,) = {line.value for s in sections for line in s.lines if line.symbol == symbol}
    return found


@pytest.mark.parametrize("overrides", STRATEGIES.values(), ids=STRATEGIES)
def test_the_parts_are_the_prediction(overrides: tuple[str, ...]) -> None:
    p = prediction(*overrides)
    sections, numbers = explain(p), p.numbers()
    assert compute_seconds(p.built) == pytest.approx(numbers["compute_s"], rel=1e-9)
    assert value(sections, "t_step") == pytest.approx(numbers["step_s"], rel=1e-9)
    assert value(sections, "t_comm") == numbers["comm_s"]
    assert value(sections, "t_exposed") == numbers["exposed_comm_s"]
    assert value(sections, "S") == numbers["bytes_sent_total"]
    assert value(sections, "samples/s") == pytest.approx(numbers["samples_per_s"], rel=1e-12)
    assert max(line.value for s in sections for line in s.lines if line.symbol == "M") == max(numbers["memory_peak_bytes"])
    arenas = {line.value for s in sections for line in s.lines if line.symbol == "arena"}
    assert arenas == {low.layout.nbytes for low in p.built.lowered.values()}


@pytest.mark.parametrize("overrides", STRATEGIES.values(), ids=STRATEGIES)
def test_every_sum_is_the_sum_of_its_terms(overrides: tuple[str, ...]) -> None:
    for section in explain(prediction(*overrides)):
        known = {line.symbol: line.value for line in section.lines}
        for line in section.lines:
            terms = line.formula.split(" + ")
            if len(terms) > 1 and all(t in known for t in terms):
                assert line.value == pytest.approx(sum(known[t] for t in terms), rel=1e-12), line.symbol


def test_a_step_that_waits_for_its_input_is_as_long_as_the_formula_says() -> None:
    p = prediction("run.data.storage=1 MB/s")
    sections = explain(p)
    assert value(sections, "t_storage") == pytest.approx(512 * 28 * 28 / 1e6)  # all eight ranks read from one storage
    assert value(sections, "t_input") == pytest.approx(p.stats.step_s, rel=1e-3)


def test_the_table_ends_in_the_rest() -> None:
    table = next(s for s in explain(prediction()) if s.rows)
    assert len(table.rows) == 9 and table.rows[-1][0].endswith(" others")


def test_numbers_of_the_catalogue_come_with_their_source() -> None:
    lines = {line.symbol: line for s in explain(prediction()) for line in s.lines}
    for symbol in ("P", "W", "e_W", "L", "α", "β"):
        assert len(lines[symbol].source) > 20, symbol


def test_a_calibrated_host_is_explained_by_counts(profile: object) -> None:
    text = "name: s\nmodel: {name: lenet, batch: 64}\nparallel: {ranks: 2}\n"
    p = predict(Built(load_text(text).scenario))
    sections = explain(p)
    assert compute_seconds(p.built) == pytest.approx(p.numbers()["compute_s"], rel=1e-9)
    (call,) = [line for s in sections for line in s.lines if line.symbol == "t(call)"]
    assert "coefficients of the calibration" in call.source and " s x " in call.numbers


def test_on_the_command_line(cli, tmp_path) -> None:
    (tmp_path / "s.yaml").write_text(TEXT)
    found = cli("predict", "s.yaml", "--explain")
    titles = ["lenet on dgx1-v100", "Kernels of a worker", "Transfers", "Memory of a worker", "Input", "The step", "What comes"]
    places = [found.out.index(t) for t in titles]
    assert found.code == 0 and all(a < b for a, b in pairwise(places))
    document = cli("predict", "s.yaml", "--explain", "--json").document
    line = document["explanation"][0]["lines"][0]
    assert (line["symbol"], line["value"], line["unit"], line["source"]) == ("B", 512, "", "model.batch")


def test_how_a_line_reads() -> None:
    line = Line(symbol="t", value=2e-3, unit="s", formula="a + b", numbers="1 ms + 1 ms")
    assert line.text() == "t = a + b = 1 ms + 1 ms = 2.00 ms"
    assert total("S", {"x": 1.0, "y": 2.0}, "B").text() == "S = x + y = 1 B + 2 B = 3 B"
    assert [shown(1234, ""), shown(0.5, "%"), shown(2e9, "B/s"), shown(3.0, "kWh")] == ["1,234", "50.0 %", "2 GB/s", "3 kWh"]


@pytest.mark.parametrize("overrides", [("parallel.collective=direct",), ("parallel.strategy=parameter_server",)])
def test_who_sends_to_all_is_told_the_rate_to_all(overrides: tuple[str, ...]) -> None:
    """As the simulator prices it, not by what a neighbour gets: on a DGX-1 some pairs have no NVLink between them."""
    p = prediction(*overrides)
    plan, placed = p.built.plan, p.built.placed
    me = plan.first_rank("worker")
    everybody, ring = (placed.group(plan.group(me, ("dp",)), is_direct) for is_direct in (True, False))
    assert everybody[1] < ring[1]
    lines = [line for s in explain(p) for line in s.lines]
    assert {line.value for line in lines if line.symbol == "β"} == {everybody[1]}
    assert {line.value for line in lines if line.symbol == "α"} == {everybody[0]}
    priced = ClosedForms(plan, placed, every=True, algorithms=frozenset())
    calls = [i for i in instructions(plan, me, 1, first=1) if isinstance(i, Collective)]
    told = sum(line.value for line in lines if line.symbol.startswith("t(") and line.symbol.endswith("worker)"))
    assert told == pytest.approx(sum(priced.seconds(me, c) or 0.0 for c in calls), rel=1e-12)


@pytest.mark.parametrize(
    ("model", "system", "is_said"), [("lenet", "dgx-a100", True), ("lenet", "dgx1-v100", False), ("mlp", "dgx-a100", False)]
)
def test_where_nothing_is_known_of_convolutions_it_is_said(model: str, system: str, is_said: bool) -> None:
    sections = explain(prediction(f"model.name={model}", f"system.name={system}"))
    notes = [n for s in sections if s.title.startswith("Kernels") for n in s.notes]
    assert any("speed of a matrix product" in n for n in notes) is is_said
