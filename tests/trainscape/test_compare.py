"""`compare`: rows are ranked, say what a planner asks, and agree with `predict`; what cannot be is listed with its reason."""

import csv
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from graph.parallel.closed_form import traffic
from graph.parallel.plan import Send
from graph.parallel.unroll import instructions
from trainscape.build import Built
from trainscape.compare import Row, as_variant, compare, omitted, ranked, row_of
from trainscape.compare_words import winner_sentence
from trainscape.detail import detail_of, transfers
from trainscape.footprint import footprint, model_flop
from trainscape.load import Loaded, load, load_text
from trainscape.predict import predict
from trainscape.report.comparison import COLUMNS, comparison_cells, comparison_csv, comparison_markdown, notes
from trainscape.strategies import VARIANTS

TEXT = """\
name: s
model: {name: alexnet-owt, batch: 256}
system: {name: dgx1-v100}
parallel: {ranks: 8, bucket: 25 MB}
"""
SCENARIOS = Path(__file__).parents[2] / "scenarios"
SOME = ("ring", "tree", "parameter_server", "hybrid")


def loaded(*overrides: str) -> Loaded:
    return load_text(TEXT, "s.yaml", overrides)


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    return compare([loaded()], SOME)


def test_best_first(rows: tuple[Row, ...]) -> None:
    assert {r.strategy for r in rows} == set(SOME)
    assert [r.samples_per_s for r in rows] == sorted((r.samples_per_s for r in rows), reverse=True)


def test_a_row_is_what_predict_says(rows: tuple[Row, ...]) -> None:
    row = next(r for r in rows if r.strategy == "ring").document()
    numbers = predict(Built(loaded().scenario)).numbers()
    for key in ("step_s", "samples_per_s", "compute_s", "comm_s", "exposed_comm_s", "bytes_sent_total"):
        assert row[key] == numbers[key], key
    assert row["memory_peak_bytes"] == max(numbers["memory_peak_bytes"])
    assert row["fits"] is True and row["reason"] is None and row["change"] is None


def test_parts_of_a_row_are_its_step(rows: tuple[Row, ...]) -> None:
    for r in rows:
        d = r.document()
        assert d["compute_s"] + d["exposed_comm_s"] + d["waiting_s"] == pytest.approx(d["step_s"], rel=1e-6)


def test_kernels_of_two_streams_take_turns_on_a_device() -> None:
    """Servers on the devices step their parts while backward goes on; both are priced with the whole device."""
    net = ("model.name=lenet", "model.input=digits", "model.classes=10", "model.batch=64")
    small = loaded(*net, "parallel.ranks=4", "parallel.bucket=32 KiB")
    (row,) = compare([small], ("parameter_server",))
    assert row.prediction is not None
    stats, mine = row.prediction.stats, row.prediction.built.plan.ranks[0]
    assert stats.compute_s + stats.exposed_comm_s <= stats.step_s * 1.001  # medians
    kernels = [r for r in row.prediction.timeline if r.rank == mine and r.stream in ("compute", "update") and r.is_leaf]
    in_order = sorted(kernels, key=lambda r: r.start)
    assert {r.stream for r in in_order} == {"compute", "update"}
    assert all(a.end <= b.start + 1e-15 for a, b in pairwise(in_order))


def test_utilization_energy_and_money(rows: tuple[Row, ...]) -> None:
    d = next(r for r in rows if r.strategy == "ring").document()
    flop, peak = model_flop(Built(loaded().scenario).model_graph) * 8, 15.7e12 * 8
    assert d["mfu"] == pytest.approx(flop / (d["step_s"] * peak))
    steps = 1_281_167 / 256
    assert d["epoch_s"] == pytest.approx(steps * d["step_s"])
    assert d["kwh_per_epoch"] == pytest.approx(steps * d["energy_j"] / 3.6e6)
    assert d["usd_per_epoch"] == pytest.approx(24.48 * d["epoch_s"] / 3600)  # the catalogue's price of the node by the hour


def test_model_flop_of_a_net_by_hand() -> None:
    """A perceptron of 64 - 128 - 64 - 10: three products, forward and for weights and inputs; the first has none of inputs."""
    built = Built(load_text("name: s\nmodel: {name: mlp, batch: 8}\nsystem: {name: dgx1-v100}\n").scenario)
    first, rest = 64 * 128, 128 * 64 + 64 * 10
    assert model_flop(built.model_graph) == 2 * 8 * (2 * first + 3 * rest)
    assert footprint(predict(built)).model_flop == 2 * 8 * (2 * first + 3 * rest)


def test_what_does_not_fit_comes_after_and_what_cannot_be_last() -> None:
    text = TEXT.replace("dgx1-v100", "k20x8-2014").replace("batch: 256", "batch: 80, width: 4")
    found = compare([load_text(text, "s.yaml")], ("hybrid_parts", "ring", "hybrid"))  # 10 samples a rank are no 8 parts
    assert [r.strategy for r in found] == ["hybrid", "ring", "hybrid_parts"]
    fits, too_big, refused = (r.document() for r in found)
    assert (fits["fits"], too_big["fits"], refused["fits"]) == (True, False, False)
    assert too_big["memory_peak_bytes"] > too_big["memory_device_bytes"] and too_big["step_s"] is None
    assert too_big["reason"].startswith("a rank needs") and too_big["change"]["settings"]["parallel"]["strategy"] == "hybrid"
    assert refused["memory_peak_bytes"] is None and refused["reason"]


def test_by_default_all_that_can_be() -> None:
    found = [
        r.strategy for r in compare([loaded("model.name=lenet", "model.input=mnist", "model.classes=10", "parallel.ranks=2")])
    ]
    assert {"ring", "direct", "parameter_server", "parameter_server_host", "hybrid", "model"} <= set(found)
    assert all(r.fits for r in compare([loaded("parallel.ranks=1", "model.batch=32")]))
    assert [r.strategy for r in compare([loaded("parallel.ranks=1", "model.batch=32")])] == ["ring"]


def test_of_a_hybrids_file_the_other_hybrids_are_compared_too() -> None:
    """What it says of rounds means nothing for the scheme that has none, which is renewed once a step."""
    file = SCENARIOS / "krizhevsky-2014.yaml"
    found = {r.strategy: r for r in compare([load(str(file))])}
    assert set(found) == set(VARIANTS)
    assert found["hybrid"].fits and found["hybrid"].document()["parallel"]["fc_update"] == "step"
    assert found["hybrid_turns"].document()["parallel"]["fc_update"] == "round"  # as the file says


def test_of_a_file_with_servers_on_hosts_those_on_devices_are_compared_too() -> None:
    servers = ("parallel.strategy=parameter_server", "parallel.servers=host", "parallel.levels=2", "parallel.server_count=2")
    found = compare([loaded("system.nodes=2", "parallel.ranks=16", *servers)], ("parameter_server", "parameter_server_host"))
    said = {r.strategy: r.document()["parallel"] for r in found if r.fits}
    assert (said["parameter_server_host"]["levels"], said["parameter_server_host"]["server_count"]) == (2, 2)
    assert not {"levels", "server_count"} & set(said["parameter_server"])


def test_nothing_is_left_out_silently() -> None:
    """What cannot be has a row with its reason; what makes no sense for the kind of net is named with the rule."""
    small = ("model.name=mlp", "model.input=mnist", "model.classes=10", "parallel.ranks=6", "model.batch=60")
    scenario = loaded(*small)
    rows = {r.strategy: r for r in compare([scenario])}
    without = omitted(scenario.scenario)
    assert {*rows, *without} == set(VARIANTS) and not set(rows) & set(without)
    assert set(without) == {"hybrid", "hybrid_turns", "hybrid_parts"}
    assert all(why.endswith("the net has no convolutions") for why in without.values())
    for name, why in (("doubling", "cannot be played by 6 ranks"), ("layers", "cannot be put on 6 ranks")):
        assert rows[name].is_refused and why in rows[name].reason
    assert set(omitted(loaded("parallel.ranks=1", "model.batch=32").scenario)) == set(VARIANTS) - {"ring"}


class TestDetail:
    @pytest.mark.parametrize("strategy", ["ring", "tree", "parameter_server", "hybrid_turns", "parameter_server_host"])
    def test_transfers_are_counted_by_formula(self, strategy: str) -> None:
        plan = Built(as_variant(loaded().scenario, VARIANTS[strategy])).plan
        outside = sum(isinstance(i, Send) for r in plan.ranks for i in instructions(plan, r, 1, first=1))
        assert transfers(plan) + outside == traffic(plan, 1, first=1).transfers

    def test_rows_say_it(self, rows: tuple[Row, ...]) -> None:
        assert {r.document()["detail"] for r in rows} == {"flow"}
        assert "detail" not in comparison_cells([r.document() for r in rows])[0]

    def test_hundreds_of_ranks_are_answered_within_seconds(self) -> None:
        """All send to all: by closed form. Trees and servers on hosts send little: played."""
        text = (SCENARIOS / "alexnet-p2.16xlarge-scaling.yaml").read_text()
        many = ("system.nodes=16", "parallel.ranks=256", "model.batch=131072")
        scenario = load_text(text, "s.yaml", many).scenario
        found = {n: detail_of(Built(as_variant(scenario, VARIANTS[n])).plan) for n in VARIANTS if n not in ("model", "layers")}
        assert {n for n, d in found.items() if d == "flow"} == {"tree", "doubling", "parameter_server_host"}
        row = row_of(load_text(text, "s.yaml", many), "direct")
        assert row.fits and row.document()["detail"] == "closed-form"
        header, (line,) = comparison_cells([row.document()])
        assert line[header.index("detail")] == "closed-form"
        assert notes([row.document()])[-1].startswith("direct: a collective takes what its closed form says")


def test_ranking_is_by_samples_a_second_over_files() -> None:
    found = compare([loaded(), load_text(TEXT.replace("256", "512"), "t.yaml")], ("ring",))
    assert [r.file for r in found] == ["t.yaml", "s.yaml"]  # the greater batch has more samples a second, in a longer step
    assert ranked(found[::-1]) == found


class TestSentence:
    def test_it_names_the_winner_its_rival_and_the_term_that_differs(self, rows: tuple[Row, ...]) -> None:
        said = winner_sentence(rows)
        best, second = rows[:2]
        assert said.startswith(f"{best.strategy} is the fastest with ")
        factor = best.samples_per_s / second.samples_per_s
        assert f"{factor:.2f} times as fast as {second.strategy}" in said and said.endswith(".")

    def test_equals(self, rows: tuple[Row, ...]) -> None:
        assert "as good as equal" in winner_sentence((rows[0], rows[0]))

    def test_alone(self, rows: tuple[Row, ...]) -> None:
        assert winner_sentence(rows[:1]).endswith("samples/s).")

    def test_nothing_fits(self) -> None:
        found = compare([load_text(TEXT.replace("dgx1-v100", "k20x8-2014").replace("256", "256, width: 8"))], ("ring",))
        assert winner_sentence(found).startswith("Nothing fits: ring: a rank needs")

    def test_fewer_bytes_are_a_reason(self) -> None:
        """On slow links and few samples the hybrid sends less, and that is what it wins by."""
        text = TEXT.replace("dgx1-v100", "k20x8-2014").replace("256", "64")
        found = compare([load_text(text)], ("ring", "hybrid"))
        assert found[0].strategy == "hybrid"
        assert "instead of" in winner_sentence(found) and "it sends" in winner_sentence(found)


class TestExport:
    def test_csv(self, rows: tuple[Row, ...]) -> None:
        documents = [r.document() for r in rows]
        found = list(csv.DictReader(StringIO(comparison_csv(documents))))
        assert tuple(found[0]) == COLUMNS
        assert [float(r["step_s"]) for r in found] == [d["step_s"] for d in documents]

    def test_markdown(self, rows: tuple[Row, ...]) -> None:
        page = comparison_markdown("s", [r.document() for r in rows], "The sentence.", picture="compare.svg")
        assert page.startswith("# s\n\nThe sentence.\n\n![") and "| ring" in page

    def test_empty_columns_are_left_out(self, rows: tuple[Row, ...]) -> None:
        header, lines = comparison_cells([r.document() for r in rows])
        assert "smallest change that fits" not in header and "scenario" not in header
        assert all(len(line) == len(header) for line in lines)


class TestCommand:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(TEXT)
        return path

    def test_json(self, file: Path, cli: Any) -> None:
        found = cli("compare", file, "--strategies", "ring,hybrid", "--json")
        document = found.document
        assert (found.code, document["command"], len(document["rows"])) == (0, "compare", 2)
        asked = {"strategy", "step_s", "samples_per_s", "exposed_comm_s", "bytes_sent_total", "memory_peak_bytes", "fits"}
        assert all(asked <= set(r) for r in document["rows"])
        assert document["winner"] in found.err

    def test_what_is_not_equal_to_one_worker_is_told_once(self, file: Path, cli: Any) -> None:
        one, rounds = "parallel.fc_update=round", "ring,tree,hybrid_parts"
        hybrid = ("--set", "parallel.strategy=hybrid", "--set", "parallel.scheme=parts", "--set", one)
        found = cli("compare", file, "--strategies", rounds, *hybrid, "--set", "model.batch=512", "--json")
        said = {r["strategy"]: r["differs"] for r in found.document["rows"]}
        assert said["ring"] is None and said["hybrid_parts"].startswith("fully connected layers are updated after each round")
        assert found.err.count("training is not equal to that of one worker") == 1
        normed = ("--set", "model.name=resnet50", "--set", "model.batch=64")
        found = cli("compare", file, "--strategies", "ring,tree,layers", *normed, "--json")
        assert "ring, tree: training is not equal to that of one worker: batch normalization" in found.err.replace(
            "tree, ring", "ring, tree"
        )

    def test_files(self, file: Path, cli: Any, tmp_path: Path) -> None:
        found = cli("compare", file, "--strategies", "ring", "--out", "out", "--csv", "x.csv", "--md", "x.md")
        assert found.code == 0
        assert {p.name for p in (tmp_path / "out").iterdir()} == {
            "compare.csv", "compare.png", "compare.svg", "report.md", "result.json", "run.json",
        }  # fmt: skip
        assert (tmp_path / "out" / "compare.svg").read_text().startswith("<?xml")
        assert (tmp_path / "x.csv").read_text() == (tmp_path / "out" / "compare.csv").read_text()
        assert (tmp_path / "x.md").read_text().startswith("# s")

    def test_same_scenario_same_bytes(self, file: Path, cli: Any, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            cli("compare", file, "--strategies", "ring,tree", "--out", folder)
        for name in ("compare.csv", "compare.svg", "compare.png", "report.md"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_nothing_fits(self, file: Path, cli: Any) -> None:
        found = cli(
            "compare", file, "--strategies", "ring", "--set", "system.name=k20x8-2014", "--set", "model.width=8", "--json"
        )
        (row,) = found.document["rows"]
        assert found.code == 5 and not row["fits"] and row["reason"]

    def test_an_unknown_strategy(self, file: Path, cli: Any) -> None:
        found = cli("compare", file, "--strategies", "rign")
        assert found.code == 2 and "unknown strategy 'rign'; did you mean 'ring'?" in found.err

    def test_a_batch_that_some_cannot_divide_keeps_the_others(self, file: Path, cli: Any) -> None:
        found = cli("compare", file, "--strategies", "ring,model", "--set", "model.batch=250", "--json")
        rows = {r["strategy"]: r for r in found.document["rows"]}
        assert found.code == 0 and rows["model"]["fits"] and not rows["ring"]["fits"]
        assert rows["ring"]["reason"] == "a batch of 250 does not divide over 8 ranks; the nearest that does is 248"
        assert rows["ring"]["change"]["settings"] == {"model.batch": 248}


def test_on_this_computer(profile: Any) -> None:
    """Its peak, power and price are not known, so what follows from them is not either."""
    text = "name: s\nmodel: {name: lenet, batch: 64}\nparallel: {ranks: 2}\n"
    found = [r.document() for r in compare([load_text(text, "s.yaml")])]
    assert {"ring", "tree", "parameter_server", "parameter_server_host", "hybrid"} <= {r["strategy"] for r in found if r["fits"]}
    for r in found:
        assert r["mfu"] is None and r["energy_j"] is None and r["usd_per_epoch"] is None
    ring = next(r for r in found if r["strategy"] == "ring")
    assert ring["epoch_s"] == pytest.approx((1797 - 360) / 64 * ring["step_s"])
    header, _ = comparison_cells(found)
    assert "MFU" not in header
