"""`compare --systems`: rows are what `predict` says, ratios are of the same job, times are those of roofline and schedule."""

import csv
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import pytest

from graph.zoo import MODELS
from graph.zoo.diannao import LAYERS
from hw.catalogue import device
from hw.cost.roofline import memory_seconds
from hw.nfu.benchmark import LAYERS as BENCHMARK
from hw.nfu.schedule import best
from trainscape.build import Built
from trainscape.compare_hardware import Against, compare_hardware, summaries, with_model
from trainscape.load import Loaded, load
from trainscape.predict import predict
from trainscape.report.hardware import COLUMNS, bases, hardware_cells, hardware_csv, hardware_markdown, joules, reasons, sentences
from trainscape.systems import catalogue_system

FILE = Path(__file__).parents[2] / "scenarios" / "one-image.yaml"
NAMES = tuple(m.name for m in LAYERS)
SYSTEMS = ("k20", "diannao-1")


def loaded(*overrides: str) -> Loaded:
    return load(str(FILE), overrides)


@pytest.fixture(scope="module")
def rows() -> tuple[Against, ...]:
    return compare_hardware([loaded()], models=NAMES, systems=SYSTEMS)


@pytest.fixture(scope="module")
def documents(rows: tuple[Against, ...]) -> list[dict[str, Any]]:
    return [r.document() for r in rows]


def of(documents: list[dict[str, Any]], model: str, system: str) -> dict[str, Any]:
    return next(d for d in documents if (d["model"], d["system"]) == (f"diannao-{model}", system))


def test_rows_stay_in_the_order_in_which_things_are_named(documents: list[dict[str, Any]]) -> None:
    assert [(d["model"], d["system"]) for d in documents] == [(m, s) for m in NAMES for s in SYSTEMS]


@pytest.mark.parametrize("name", [n for n in BENCHMARK if n != "CONV5"])
def test_a_layer_on_the_nfu_takes_what_its_best_schedule_takes(name: str, documents: list[dict[str, Any]]) -> None:
    """Nothing is taken in, copied or converted: its data lie there."""
    nfu = device("diannao").nfu
    assert nfu is not None
    cost = best(BENCHMARK[name], nfu)
    row = of(documents, name.lower().replace("_", "-"), "diannao-1")
    assert row["step_s"] == pytest.approx(cost.total_cycles / nfu.clock_hz, rel=1e-12)
    assert row["step_s"] * nfu.clock_hz >= BENCHMARK[name].nfu_cycles(nfu)
    assert row["memory_peak_bytes"] == pytest.approx(BENCHMARK[name].compulsory_bytes(nfu), rel=0.02)  # kept in words
    assert row["numerics"] == {"word": 16, "fraction": 10, "rounding": "nearest"}


def test_pooling_on_a_gpu_is_its_traffic(documents: list[dict[str, Any]]) -> None:
    """Floats in, floats and a byte for each maximum's place out; a launch before."""
    k20 = device("k20")
    nbytes = 4 * 256**2 * 256 + (4 + 1) * 128**2 * 256
    assert of(documents, "pool5", "k20")["step_s"] == pytest.approx(k20.launch_seconds + memory_seconds(nbytes, k20), rel=1e-9)


def test_a_layer_with_private_kernels_on_a_gpu_reads_every_weight_once(documents: list[dict[str, Any]]) -> None:
    k20 = device("k20")
    nbytes = 4 * (200 * 200 * 8 + 183 * 183 * 18 * 18 * 8 * 8 + 183 * 183 * 8)
    assert of(documents, "conv2", "k20")["step_s"] == pytest.approx(k20.launch_seconds + memory_seconds(nbytes, k20), rel=1e-9)


def test_what_no_memory_holds_is_a_row_with_its_reason(documents: list[dict[str, Any]]) -> None:
    """720 thousand million weights, in floats and in words."""
    gpu, nfu = (of(documents, "conv5", s) for s in SYSTEMS)
    weights = prod((246, 246, 11, 11, 256, 384))
    assert gpu["memory_peak_bytes"] == pytest.approx(4 * weights, rel=1e-3) and gpu["memory_peak_bytes"] > 4 * weights
    assert nfu["memory_peak_bytes"] == pytest.approx(2 * weights, rel=1e-3)
    assert not gpu["fits"] and not nfu["fits"] and gpu["speed_ratio"] is nfu["energy_ratio"] is None
    assert gpu["reason"] == "a rank needs 2.88 TB, but k20 has 5.03 GB: 2.87 TB too few"
    assert reasons([gpu, nfu])[0].startswith("diannao-conv5 on k20: a rank needs 2.88 TB")


def test_ratios_are_against_the_same_job_on_the_first_system(documents: list[dict[str, Any]]) -> None:
    for gpu, nfu in zip(documents[::2], documents[1::2], strict=True):
        if not gpu["fits"]:
            continue
        assert (gpu["speed_ratio"], gpu["energy_ratio"]) == (1, 1)
        assert nfu["speed_ratio"] == pytest.approx(gpu["step_s"] / nfu["step_s"])
        assert nfu["energy_ratio"] == pytest.approx(gpu["energy_j"] / nfu["energy_j"])


def test_a_row_is_what_predict_says() -> None:
    (row,) = compare_hardware([loaded("model.batch=8", "system.name=diannao-1")])
    numbers = predict(Built(loaded("model.batch=8", "system.name=diannao-1").scenario)).numbers()
    found = row.document()
    assert found["step_s"] == numbers["step_s"] and found["samples_per_s"] == numbers["samples_per_s"]
    assert found["energy_per_sample_j"] == pytest.approx(found["energy_j"] / 8)


def test_training_is_compared_under_its_own_strategy_and_what_cannot_be_has_a_reason() -> None:
    file = FILE.parent / "alexnet-dgx1-strategies.yaml"
    first, second, nfu = (
        r.document() for r in compare_hardware([load(str(file))], systems=("dgx1-v100", "dgx-a100", "diannao-4"))
    )
    assert {r["strategy"] for r in (first, second, nfu)} == {"ring"} and second["parallel"] == first["parallel"]
    assert second["speed_ratio"] == pytest.approx(second["samples_per_s"] / first["samples_per_s"])
    assert not nfu["fits"] and nfu["reason"] and nfu["memory_peak_bytes"] is None


class TestModels:
    def test_they_are_as_published_but_for_what_is_set(self) -> None:
        published = with_model(loaded(), "lenet").model
        assert (published.input, published.classes, published.batch) == ((28, 28, 1), 10, 1)
        asked = with_model(loaded("model.input=[64, 64, 3]", "model.width=2"), "lenet").model
        assert (asked.input, asked.classes, asked.width) == ((64, 64, 3), 10, 2.0)
        assert with_model(loaded("model.input=[64, 64, 3]"), "alexnet") == loaded("model.input=[64, 64, 3]").scenario

    def test_one_that_cannot_be_is_a_row(self) -> None:
        (row,) = compare_hardware([loaded("model.width=2")], models=("diannao-conv1",), systems=("k20",))
        assert not row.row.fits and "a single layer takes input and classes" in row.row.reason


class TestAlone:
    def test_a_device_is_a_system_by_itself(self) -> None:
        system = catalogue_system(loaded().scenario.system)
        assert (system.name, system.count, system.nodes, system.host, system.wires) == ("k20", 1, 1, None, ())
        assert system.device == device("k20")

    def test_only_its_own_power_counts(self, documents: list[dict[str, Any]]) -> None:
        row = of(documents, "conv1", "k20")
        assert row["energy_j"] == pytest.approx(225 * row["step_s"])


class TestResident:
    def test_nothing_is_taken_in_and_nothing_is_converted(self) -> None:
        for name, calls in (("diannao-1", ["nfu.conv2d"]), ("k20", ["cuda.conv2d"])):
            built = Built(loaded("model.name=diannao-conv3", f"system.name={name}").scenario)
            (lowered,) = built.lowered.values()
            assert [c.kernel for part in lowered.segments.values() for c in part] == calls
            assert "data" not in built.plan.roles[0].buffers

    def test_a_layer_may_be_given_its_data_instead(self) -> None:
        there, brought = (
            compare_hardware([loaded("model.name=diannao-class1", "system.name=diannao-1", *more)])[0].document()
            for more in ((), ("run.data=synthetic",))
        )
        assert brought["step_s"] > 10 * there["step_s"]  # copied and quantized by the processor beside the NFU

    def test_whole_nets_may_have_it_too(self) -> None:
        (row,) = compare_hardware([loaded("run.data=resident")])
        built = Built(row.row.scenario)
        assert "data" not in built.plan.roles[0].buffers and row.row.fits

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (("run.data=resident", "parallel.strategy=data"), "resident samples are for strategy inference, not data"),
            (("run.data={name: resident, storage: 1 GB/s}",), "nothing makes them ready; remove storage"),
            (("run.data={name: resident, folder: x}",), "resident samples come from no folder"),
            (
                ("model.name=diannao-conv1", "parallel.strategy=data"),
                "nothing can train it, but strategy data trains; write strategy",
            ),
        ],
    )
    def test_refused(self, settings: tuple[str, ...], message: str) -> None:
        from trainscape.errors import ScenarioError

        with pytest.raises(ScenarioError, match=message):
            loaded(*settings)


def test_summaries_are_geometric_means_over_what_both_can_do() -> None:
    def row(system: str, speed: float | None, energy: float | None) -> dict[str, Any]:
        return {"system": system, "speed_ratio": speed, "energy_ratio": energy}

    rows = [row("a", 1, 1), row("b", 4, 2), row("a", 1, 1), row("b", 9, None), row("a", None, None), row("b", None, None)]
    (found,) = summaries(rows, ("a", "b"))
    assert (found["jobs"], found["both"]) == (3, 2)
    assert found["speed"] == {"mean": pytest.approx(6), "least": 4, "most": 9}
    assert found["energy"] == {"mean": pytest.approx(2), "least": 2, "most": 2}
    assert sentences([found]) == ["b against a, 2 of 3 jobs: 6 (4 to 9) times as fast, 2 times less energy, geometric means."]
    assert sentences(summaries(rows[4:], ("a", "b"))) == ["b against a: there is no job that both can do."]


class TestTable:
    def test_it_says_what_each_number_rests_on(self, documents: list[dict[str, Any]]) -> None:
        gpu, nfu = bases(documents)
        assert gpu.startswith("k20: time by cost model roofline, in floats (f32); energy modelled: 225 W busy")
        assert nfu.startswith(
            "diannao-1: time by cost model nfu, in 16-bit words with 10 behind the point; energy modelled: what each"
        )

    def test_an_energy_that_nobody_knows(self, documents: list[dict[str, Any]]) -> None:
        row = {**documents[0], "energy_j": None, "energy_basis": "device 'host-core' has no stated power"}
        assert bases([row])[0].endswith("; energy not known, device 'host-core' has no stated power")

    def test_columns_that_tell_nothing_are_left_out(self, documents: list[dict[str, Any]]) -> None:
        header, lines = hardware_cells(documents)
        assert {"scenario", "batch", "strategy"}.isdisjoint(header) and {"model", "system", "times as fast"} <= set(header)
        assert all(len(line) == len(header) for line in lines)

    def test_csv(self, documents: list[dict[str, Any]]) -> None:
        found = list(csv.DictReader(StringIO(hardware_csv(documents))))
        assert tuple(found[0]) == COLUMNS
        assert [r["speed_ratio"] for r in found] == ["" if d["speed_ratio"] is None else str(d["speed_ratio"]) for d in documents]
        assert {r["numerics"] for r in found} == {"", "16:10"}

    def test_markdown(self, documents: list[dict[str, Any]]) -> None:
        page = hardware_markdown("s", documents, ["The sentence."], picture="compare.svg")
        assert page.startswith("# s\n\nThe sentence.\n\n![") and "- diannao-conv5 on k20: a rank needs" in page

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, ""), (0.0, "0 J"), (9.14, "9.14 J"), (7.87e-6, "7.87 uJ"), (0.99996, "1 J"), (2450.0, "2.45 kJ")],
    )
    def test_energies(self, value: float | None, text: str) -> None:
        assert joules(value) == text


class TestCommand:
    def test_json(self, cli: Any) -> None:
        found = cli("compare", FILE, "--systems", "k20,diannao-1", "--models", "diannao-class*,lenet", "--json")
        document = found.document
        assert (found.code, document["systems"], document["models"]) == (
            0,
            list(SYSTEMS),
            ["diannao-class1", "diannao-class3", "lenet"],
        )
        assert len(document["rows"]) == 6 and document["summaries"][0]["both"] == 3
        assert document["said"][0] in found.err

    def test_files(self, cli: Any, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            found = cli(
                "compare", FILE, "--systems", "k20,diannao-1", "--models", "diannao-conv*", "--out", folder, "--csv", "x.csv"
            )
            assert found.code == 0
        names = {"compare.csv", "compare.png", "compare.svg", "report.md", "result.json", "run.json"}
        assert {p.name for p in (tmp_path / "a").iterdir()} == names
        for name in ("compare.csv", "compare.svg", "compare.png", "report.md"):  # same scenario, same bytes
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "x.csv").read_text() == (tmp_path / "a" / "compare.csv").read_text()

    def test_nothing_fits(self, cli: Any) -> None:
        found = cli("compare", FILE, "--systems", "k20,diannao-1", "--models", "diannao-conv5", "--out", "out")
        assert found.code == 5 and "there is no job that both can do" in found.out

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--systems", "k21", "unknown system 'k21'; did you mean 'k20'"),
            ("--models", "dianao-*", "unknown model 'dianao-*'"),
            ("--systems", " ,", "' ,' names nothing"),
        ],
    )
    def test_an_unknown_name(self, option: str, value: str, message: str, cli: Any) -> None:
        found = cli("compare", FILE, option, value)
        assert found.code == 2 and message in found.err

    def test_layers_are_listed_by_themselves(self, cli: Any) -> None:
        said = cli("model", "list").out
        nets, layers = said.split("single layers, for inference")
        assert "alexnet" in nets and "diannao" not in nets and "diannao-conv5-shared" in layers
        trains = {m["name"]: m["trains"] for m in cli("model", "list", "--json").document["models"]}
        assert trains == {m.name: m.trains for m in MODELS.values()}


class TestDaDianNao:
    """Published figures beside ours: docs/compare-hardware.md has the table and says why they differ. Nothing is fitted."""

    PUBLISHED_64_CHIPS, PUBLISHED_ONE_CHIP = 450.65, 21.38  # times a K20M: abstract, MICRO 2014; quoted from memory, not re-read

    def test_64_nodes_infer_64_times_as_many_samples_and_none_sooner(self) -> None:
        one, all_ = (
            compare_hardware([loaded("model.name=diannao-conv1", f"system.name={system}", *more)])[0].document()
            for system, more in (("dadiannao-1", ()), ("dadiannao-64", ("parallel.ranks=64", "model.batch=64")))
        )
        assert all_["step_s"] == pytest.approx(one["step_s"]) and all_["samples_per_s"] == pytest.approx(
            64 * one["samples_per_s"]
        )
        assert all_["energy_per_sample_j"] == pytest.approx(one["energy_per_sample_j"])

    def test_the_page_has_the_published_figures(self) -> None:
        page = (FILE.parents[1] / "docs" / "compare-hardware.md").read_text()
        for figure in (self.PUBLISHED_64_CHIPS, self.PUBLISHED_ONE_CHIP):
            assert str(figure) in page
