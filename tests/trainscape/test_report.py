"""Documents, tables, pictures and run folders."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainscape.errors import RunFolderError
from trainscape.report.breakdown import Bar, draw_breakdown
from trainscape.report.json_document import dumps, plain
from trainscape.report.markdown import error_sentence, report_markdown
from trainscape.report.publication import publish
from trainscape.report.run import Run
from trainscape.report.run_folder import MARKER, RunFolder
from trainscape.report.tables import (
    comparison,
    comparison_table,
    markdown_table,
    nbytes,
    percent,
    plain_table,
    prediction_rows,
    seconds,
)
from trainscape.scenario import Activation

ROOT = Path(__file__).parents[2]
DOCUMENT = {
    "predicted": {
        "step_s": 1.0e-3,
        "step_interval_s": [0.9e-3, 1.1e-3],
        "samples_per_s": 64000.0,
        "compute_s": 0.9e-3,
        "comm_s": 0.1e-3,
        "exposed_comm_s": 0.05e-3,
        "bytes_sent_total": 158032,
        "memory_peak_bytes": [600_000, 610_000],
        "flop_total": 13_800_000,
        "kinds_s": {"forward": 0.3e-3, "backward": 0.6e-3, "update": 0.02e-3, "allreduce": 0.08e-3},
        "exposed_s": {"forward": 0.3e-3, "backward": 0.6e-3, "update": 0.02e-3, "allreduce": 0.05e-3, "waiting": 0.03e-3},
    },
    "measured": {
        "step_s": 1.25e-3,
        "step_p10_s": 1.2e-3,
        "step_p90_s": 1.5e-3,
        "kinds_s": {"forward": 0.4e-3, "backward": 0.6e-3, "update": 0.02e-3, "allreduce": 0.1e-3},
        "exposed_s": {"forward": 0.4e-3, "backward": 0.6e-3, "update": 0.02e-3, "allreduce": 0.1e-3, "waiting": 0.1e-3},
        "accuracy": 0.97,
    },
    "error": {"step": -0.2, "forward": -0.25, "backward": 0.0, "update": 0.0, "allreduce": -0.2},
    "repeat_band": 0.12,
    "tolerance": 0.1,
    "verdict": "outside",
    "accuracy": 0.97,
    "expectations": [{"key": "accuracy", "low": 0.95, "high": None, "got": 0.97, "met": True, "source": "a | b"}],
}


class TestJson:
    def test_only_plain_finite_data(self) -> None:
        given = {
            "nan": math.nan,
            "inf": [math.inf, -math.inf],
            "array": np.arange(3),
            "scalar": np.float32(0.5),
            "path": Path("a/b"),
            "enum": Activation.RELU,
            1: (True, None),
        }
        expected = {
            "nan": None,
            "inf": [None, None],
            "array": [0, 1, 2],
            "scalar": 0.5,
            "path": "a/b",
            "enum": "relu",
            "1": [True, None],
        }
        assert json.loads(dumps(given)) == expected

    def test_what_has_no_place(self) -> None:
        with pytest.raises(TypeError, match="object has no place in a JSON document"):
            plain({"a": object()})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0 s"),
        (1.234e-3, "1.23 ms"),
        (12.34e-6, "12.3 us"),
        (123.4e-6, "123 us"),
        (999.6e-6, "1.00 ms"),
        (1.5, "1.50 s"),
        (61.0, "61.0 s"),
        (3.2e-9, "3.20 ns"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_percent_and_bytes() -> None:
    assert (percent(-0.0512), percent(0.1), percent(None)) == ("-5.1 %", "+10.0 %", "")
    assert (nbytes(158032), nbytes(600), nbytes(0), nbytes(25_300_000_000)) == ("158 kB", "600 B", "0 B", "25.3 GB")


def test_rows_of_a_comparison() -> None:
    rows = comparison(DOCUMENT)
    assert [r.what for r in rows] == ["step", "forward", "backward", "update", "all-reduce"]
    assert rows[0].cells() == ("step", "1.00 ms", "1.25 ms", "-4.0 % to +20.0 %", "-20.0 %")
    assert rows[4].cells() == ("all-reduce", "80.0 us", "100 us", "", "-20.0 %")


def test_a_prediction_alone_has_no_empty_columns() -> None:
    table = comparison_table({"predicted": DOCUMENT["predicted"]}, "title")
    assert [str(c.header) for c in table.columns] == ["", "predicted"]


def test_prediction_rows() -> None:
    rows = dict(prediction_rows(DOCUMENT["predicted"]))  # type: ignore[arg-type]
    assert rows["step"] == "1.00 ms (80 %: 900 us to 1.10 ms)"
    assert rows["memory of a rank"] == "610 kB"
    assert rows["arithmetic of a step, in all"] == "13.8 Mflop"


def test_a_title_that_is_longer_than_its_table_stays_on_one_line() -> None:
    from io import StringIO

    from rich.console import Console

    title, out = "digits-lenet-diannao: 1 NFU of shidiannao-like", StringIO()
    Console(file=out, width=100).print(plain_table(("", "s"), [("step", "1.54 us")], title=title))
    assert out.getvalue().splitlines()[0].rstrip() == title


def test_markdown_table_is_aligned_and_escaped() -> None:
    assert markdown_table(("a", "n"), [("x|y", "1.5 ms"), ("z", "-2 %")]) == (
        "| a    |      n |\n|------|-------:|\n| x\\|y | 1.5 ms |\n| z    |   -2 % |\n"
    )


def test_report() -> None:
    runs = [Run(title="2 workers", document=DOCUMENT)]
    text = report_markdown("Title", runs, files=["step.png", "trace.json.gz"], notes=["A note."])
    assert text.startswith("# Title\n\nA note.\n\n![What the time of a step goes into](step.png)\n\n## 2 workers\n")
    assert "**outside** its tolerance. (tolerance 10 %)" in text
    assert "|step|1.00 ms|1.25 ms|-4.0 % to +20.0 %|-20.0 %|" in re.sub(r" *\| *", "|", text)
    assert "Accuracy on samples set aside: **97.0 %**." in text
    assert "a \\| b" in text
    assert "https://ui.perfetto.dev" in text


def test_report_of_actions() -> None:
    action = {"action": "forward/conv1", "count": 2, "predicted_s": 1e-5, "measured_s": 1.25e-5, "error": -0.2}
    text = report_markdown("Title", [Run(title="2 workers", document={**DOCUMENT, "actions": [action]})], files=[])
    assert "| forward/conv1 |     2 |   10.0 us |  12.5 us | -20.0 % |" in text


def test_error_sentence() -> None:
    assert error_sentence(DOCUMENT) == (
        "outside: the step is predicted -20.0 % off, blocks of steps repeat within 12.0 %, tolerance 10 %"
    )


class TestPicture:
    def bars(self, scale: float = 1.0) -> list[Bar]:
        parts = {k: s * scale for k, s in DOCUMENT["predicted"]["exposed_s"].items()}  # type: ignore[index]
        predicted = Bar(group="g", label="predicted", parts=parts, low_s=0.9e-3, high_s=1.1e-3)
        return [predicted, Bar(group="g", label="measured", parts=parts)]

    def test_it_is_a_png_of_some_size(self, tmp_path: Path) -> None:
        draw_breakdown(tmp_path / "a.png", self.bars(), title="t")
        raw = (tmp_path / "a.png").read_bytes()
        assert raw[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
        assert width > 1000 and height > 300

    def test_the_same_bars_give_the_same_bytes(self, tmp_path: Path) -> None:
        for name in "ab":
            draw_breakdown(tmp_path / name, self.bars(), title="t")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_unknown_kinds_and_zeros(self, tmp_path: Path) -> None:
        bars = [Bar(group="g", label="predicted", parts={"forward": 0.0, "sweep": 1.0})]
        draw_breakdown(tmp_path / "a.png", bars, title="")
        assert (tmp_path / "a.png").stat().st_size > 1000


class TestRunFolder:
    def test_a_fresh_one(self, tmp_path: Path) -> None:
        folder = RunFolder.create(tmp_path / "runs" / "x", command="train", settings={"seed": 1})
        about = json.loads((folder.path / MARKER).read_text())
        assert (about["schema"], about["command"], about["settings"]) == ("trainscape.run/1", "train", {"seed": 1})

    def test_the_latest_keeps_the_name_and_older_ones_are_numbered(self, tmp_path: Path) -> None:
        for k in range(3):
            RunFolder.create(tmp_path / "x", command="train").write_text("which", str(k))
        assert {p.name: (p / "which").read_text() for p in tmp_path.iterdir()} == {"x": "2", "x.1": "0", "x.2": "1"}

    def test_what_is_no_run_is_never_moved(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("x")
        with pytest.raises(RunFolderError, match=r"mine is not empty and holds no run"):
            RunFolder.create(tmp_path / "mine", command="train")
        assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"

    def test_an_empty_folder_is_taken(self, tmp_path: Path) -> None:
        assert RunFolder.create(tmp_path, command="train").path == tmp_path

    def test_files_and_links_are_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path)
        for name in ("file", "link", "file/below"):
            with pytest.raises(RunFolderError):
                RunFolder.create(tmp_path / name, command="train")

    def test_reopening(self, tmp_path: Path) -> None:
        RunFolder.create(tmp_path / "x", command="train")
        assert RunFolder.reopen(tmp_path / "x").path == tmp_path / "x"
        with pytest.raises(RunFolderError, match="there is no run in"):
            RunFolder.reopen(tmp_path)

    def test_a_second_run_at_the_same_time_is_refused_and_moves_nothing(self, tmp_path: Path) -> None:
        first = RunFolder.create(tmp_path / "x", command="train")
        for attempt in (lambda: RunFolder.create(tmp_path / "x", command="train"), lambda: RunFolder.reopen(tmp_path / "x")):
            with pytest.raises(RunFolderError, match=r"x is in use: another run is writing into it"):
                attempt()
        assert [p.name for p in tmp_path.iterdir()] == ["x"]
        code = "import sys; from trainscape.cli import main; sys.exit(main(sys.argv[1:]))"
        scenario = ROOT / "scenarios" / "lenet-dgx1.yaml"
        command = [sys.executable, "-c", code, "predict", str(scenario), "--out", str(tmp_path / "x")]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert found.returncode == 3 and "is in use" in found.stderr
        del first
        assert RunFolder.create(tmp_path / "x", command="train").path.is_dir() and (tmp_path / "x.1").is_dir()

    def test_a_file_appears_whole_or_not_at_all(self, tmp_path: Path) -> None:
        folder = RunFolder.create(tmp_path / "x", command="train")
        with pytest.raises(TypeError):
            folder.write_json("result.json", {"a": object()})
        assert [p.name for p in folder.path.iterdir()] == [MARKER]


def test_publish_writes_everything(tmp_path: Path, timeline: object) -> None:
    folder = RunFolder.create(tmp_path / "x", command="predict")
    run = Run(title="2 workers", document=DOCUMENT, timelines={"predicted": timeline, "measured": timeline})  # type: ignore[dict-item]
    publish(folder, "Title", DOCUMENT, [run])
    assert sorted(p.name for p in folder.path.iterdir()) == ["report.md", "result.json", MARKER, "step.png", "trace.json.gz"]
    assert json.loads((folder.path / "result.json").read_text()) == json.loads(dumps(DOCUMENT))
