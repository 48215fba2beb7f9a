"""`trainscape nfu explore`: points, fronts, results that outlive an interruption."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.fixed_point import Fixed
from hw.nfu.benchmark import LAYERS
from hw.nfu.config import Nfu
from trainscape.commands import nfu_explore
from trainscape.errors import RunFolderError
from trainscape.nfu.explore import Work, accuracy_key, explore, with_accuracy
from trainscape.nfu.figures import of_layer
from trainscape.nfu.front import LESS, beaten_by, front, front_of
from trainscape.nfu.space import DEFAULT, Point, Space, read_space
from trainscape.nfu.store import opened
from trainscape.nfu.workers import results

ROOT = Path(__file__).parents[2]
LISTS = ("--tn", "8,16", "--buffers", "32,64", "--bandwidth", "250", "--word", "8,16")
SPACE = read_space(tn="8,16", buffers="32,64", bandwidth="250", word="8,16")
PAIR = (LAYERS["CLASS3"], LAYERS["POOL3"])


class TestSpace:
    def test_lists(self) -> None:
        found = read_space(tn="4..6,5,8", buffers="16,64/32/128", bandwidth="62.5,1 TB/s", word="8,12,Q4.8,16")
        assert found.tn == (4, 5, 6, 8)
        assert found.buffers == ((16, 16, 16), (64, 32, 128))
        assert found.bandwidth == (62.5e9, 1e12)
        assert [str(w) for w in found.word] == ["Q3.5", "Q5.7", "Q4.8", "Q6.10"]
        assert len(found) == 4 * 2 * 2 * 4

    def test_all_combinations_once(self) -> None:
        found = SPACE.points(None, 0)
        assert len({p.key for p in found}) == len(found) == len(SPACE) == 8
        assert {(p.tn, p.rows[0], p.word.bits) for p in found} == {(t, b, w) for t in (8, 16) for b in (32, 64) for w in (8, 16)}

    def test_a_sample(self) -> None:
        space = read_space(tn="1..100", buffers="1..100", bandwidth="250", word="16")
        a, b, c = (space.points(50, seed) for seed in (1, 1, 2))
        assert a == b != c and len({p.key for p in a}) == 50
        assert len({p.tn for p in a}) > 25  # spread over the whole
        assert SPACE.points(100, 0) == SPACE.points(None, 0)

    def test_too_many(self) -> None:
        with pytest.raises(ValueError, match="take a sample with --points"):
            read_space(tn="1..1000", buffers="1..1001", bandwidth="1,2", word="16").points(None, 0)

    def test_a_point(self) -> None:
        p = SPACE.point(0)
        nfu = p.nfu(Nfu(clock_hz=1e9))
        assert (nfu.tn, nfu.ti, nfu.nbin_rows, nfu.sb_rows, nfu.clock_hz) == (8, 8, 32, 32, 1e9)
        assert nfu.neuron == nfu.synapse == Fixed(bits=8, fraction=5)
        assert Point.from_document(json.loads(json.dumps(p.document()))) == p

    def test_what_help_says_is_what_the_library_says(self) -> None:
        said = {
            "tn": nfu_explore.TN,
            "buffers": nfu_explore.BUFFERS,
            "bandwidth": nfu_explore.BANDWIDTH,
            "word": nfu_explore.WORD,
        }
        assert said == DEFAULT


def _brute(values: np.ndarray) -> list[int]:
    def beats(a: int, b: int) -> bool:
        as_good = bool((values[a] <= values[b]).all())
        return as_good and (bool((values[a] < values[b]).any()) or a < b)

    return [b for b in range(len(values)) if not any(beats(a, b) for a in range(len(values)) if a != b)]


class TestFront:
    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 3), st.data())
    def test_by_definition(self, quantities: int, data: st.DataObject) -> None:
        rows = data.draw(st.lists(st.tuples(*[st.integers(0, 4)] * quantities), min_size=1, max_size=25))
        values = np.array(rows, np.float64)
        assert sorted(front(values)) == _brute(values)

    def test_accuracy_counts_upwards(self) -> None:
        rows = [{"time_s": 1.0, "accuracy": 0.5}, {"time_s": 2.0, "accuracy": 0.9}, {"time_s": 3.0, "accuracy": 0.9}]
        assert sorted(front_of(rows, ("time_s", "accuracy"))) == [0, 1]
        assert front_of([]) == []

    def test_beaten(self) -> None:
        def row(*numbers: float, **rest: float) -> dict[str, float]:
            return dict(zip(LESS, numbers, strict=True)) | rest

        rows = [row(1, 1, 1, accuracy=0.8), row(1, 1, 2, accuracy=0.9), row(1, 1, 1, accuracy=0.9)]
        assert beaten_by(row(2, 2, 2), rows) == 2
        assert beaten_by(row(2, 2, 2, accuracy=0.9), rows) == 1


class TestStore:
    def test_lines_are_kept(self, tmp_path: Path) -> None:
        with opened(tmp_path / "x.jsonl") as s:
            s.add("a", {"n": 1})
            s.add("b", {"n": 2.5})
        with opened(tmp_path / "x.jsonl") as s:
            assert s.rows == {"a": {"key": "a", "n": 1}, "b": {"key": "b", "n": 2.5}}
            s.add("c", {})
        assert (tmp_path / "x.jsonl").read_text().count("\n") == 3

    def test_a_line_that_was_cut_off_is_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        path.write_text('{"key": "a", "n": 1}\n{"key": "b", "n"')
        with opened(path) as s:
            assert list(s.rows) == ["a"]
            s.add("b", {"n": 3})
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 3]

    @pytest.mark.parametrize("line", ["hello", "[1]", "{}"])
    def test_something_else_is_refused(self, line: str, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text(f'{{"key": "a"}}\n{line}\n')
        with pytest.raises(RunFolderError, match=r"x\.jsonl:2: no line of results"), opened(tmp_path / "x.jsonl"):
            pass


class TestExplore:
    def test_a_point_is_what_run_says_of_it(self, tmp_path: Path) -> None:
        points = SPACE.points(None, 0)
        with opened(tmp_path / "p.jsonl") as store:
            rows, refused = explore(PAIR, Nfu(), points, store)
        assert refused == []
        for point, row in zip(points, rows, strict=True):
            each = [of_layer(layer, point.nfu(Nfu())) for layer in PAIR]
            assert row["time_s"] == pytest.approx(sum(f["time_s"] for f in each))
            assert row["energy_J"] == pytest.approx(sum(f["energy_J"]["total"] for f in each))
            assert row["area_m2"] == pytest.approx(each[0]["area_m2"])
            assert row["dram_bytes"] == sum(f["scheduled"]["dram_bytes"] for f in each)

    def test_several_processes_find_the_same(self) -> None:
        points = SPACE.points(None, 0)
        alone = {p.key: row for p, row in results(PAIR, Nfu(), points, 1)}
        together = {p.key: row for p, row in results(PAIR, Nfu(), points, 2)}
        assert together == json.loads(json.dumps(alone)) and len(together) == 8

    def test_what_cannot_be_is_kept_with_its_reason(self, tmp_path: Path) -> None:
        narrow = Space(tn=(4,), buffers=((64, 64, 64),), bandwidth=(1e9,), word=(Fixed(), Fixed(bits=8, fraction=5)))
        from graph.fixed_point import Rounding
        from hw.nfu.config import Arithmetic, Cut

        base = Nfu(neuron=Fixed(bits=8, fraction=5), synapse=Fixed(bits=8, fraction=5), arithmetic=Arithmetic(
            cut=Cut.OUTPUT, rounding=Rounding.NEAREST, product_bits=16
        ))  # fmt: skip
        with opened(tmp_path / "p.jsonl") as store:
            rows, refused = explore(PAIR, base, narrow.points(None, 0), store)
        assert len(rows) == 1 and "product_bits is 16" in refused[0]["refused"]

    def test_accuracy_once_a_format(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        points, asked = SPACE.points(None, 0), []

        def accuracy(nfu: Nfu) -> float:
            asked.append(nfu)
            return nfu.neuron.bits / 16

        monkeypatch.setattr("trainscape.nfu.accuracy.digits_accuracy", accuracy)
        nfus = [p.nfu(Nfu()) for p in points]
        for _ in range(2):  # the second time they are there
            with opened(tmp_path / "a.jsonl") as store:
                rows = with_accuracy([{"key": p.key} for p in points], nfus, Nfu(), store, lambda key: None)
        assert [r["accuracy"] for r in rows] == [p.word.bits / 16 for p in points]
        assert len(asked) == 2 and {n.tn for n in asked} == {16} and accuracy_key(nfus[0]) != accuracy_key(nfus[1])


class TestCommand:
    def test_it_finds_draws_and_keeps(self, cli: Any, tmp_path: Path) -> None:
        found = cli("nfu", "explore", "CLASS3", *LISTS, "--out", "e", "--json")
        document = found.document
        assert found.code == 0 and document["asked"] == len(document["points"]) == 8
        keys = {r["key"] for r in document["front"]}
        assert keys == {document["points"][i]["key"] for i in front_of(document["points"])}
        assert {d["name"] for d in document["designs"]} >= {"diannao", "dadiannao-node"}
        files = {p.name for p in (tmp_path / "e").iterdir()}
        assert files == {"run.json", "points.jsonl", "points.csv", "explore.svg", "explore.png", "report.md", "result.json"}
        with (tmp_path / "e" / "points.csv").open() as f:
            rows = list(csv.DictReader(f))
        assert sum(int(r["on_front"]) for r in rows) == len(keys)
        svg = (tmp_path / "e" / "explore.svg").read_text()
        page = (tmp_path / "e" / "report.md").read_text()
        assert "svg" in svg[:200] and "Of 8 points for CLASS3" in page
        assert any(line.startswith("| diannao") and "485.33 Gop/s" in line for line in page.splitlines())

    def test_it_goes_on(self, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is there is not worked out again: neither the same points, nor those of a larger list."""
        first = cli("nfu", "explore", "CLASS3", *LISTS, "--out", "e", "--json").document
        lines = (tmp_path / "e" / "points.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "e" / "points.jsonl").write_text("".join(lines[:5]) + lines[5][:20])  # as a killed process leaves it
        seen: list[int] = []
        original = Work.figures
        monkeypatch.setattr(Work, "figures", lambda self, nfu: seen.append(nfu.tn) or original(self, nfu))
        again = cli("nfu", "explore", "CLASS3", *LISTS, "--out", "e", "--json")
        designs = len(first["designs"]) + 1  # those of the catalogue, and the one that is varied
        assert len(seen) == 3 + designs and again.document["points"] == first["points"]
        assert "e has 5 points, 5 of the 8 that are asked for" in again.err
        more = cli("nfu", "explore", "CLASS3", *LISTS, "--tn", "8,16,20", "--out", "e", "--json").document
        assert len(seen) == 3 + 2 * designs + 4 and len(more["points"]) == 12

    @pytest.mark.parametrize("change", [("CLASS1",), ("CLASS3", "--set", "nfu.clock_hz=1e9"), ("CLASS3", "--device", "nfu-4x4")])
    def test_other_work_is_moved_aside(self, change: tuple[str, ...], cli: Any, tmp_path: Path) -> None:
        cli("nfu", "explore", "CLASS3", *LISTS, "--out", "e")
        other = cli("nfu", "explore", *change, *LISTS, "--tn", "8", "--out", "e", "--json")
        assert len(other.document["points"]) == 4 and "e held other results, which have been moved aside" in other.err
        assert (tmp_path / "e.1" / "points.jsonl").read_text().count("\n") == 8
        assert (tmp_path / "e" / "points.jsonl").read_text().count("\n") == 4

    def test_a_folder_of_something_else_is_refused(self, cli: Any, tmp_path: Path) -> None:
        (tmp_path / "e").mkdir()
        (tmp_path / "e" / "thesis.tex").write_text("x")
        found = cli("nfu", "explore", "CLASS3", *LISTS, "--out", "e")
        assert found.code == 3 and "holds no run" in found.err

    def test_nothing_that_can_be(self, cli: Any) -> None:
        narrow = [f"nfu.{what}.{k}" for what in ("neuron", "synapse") for k in ("bits=8", "fraction=4")]
        narrow = [text for setting in (*narrow, "nfu.arithmetic.cut=tree") for text in ("--set", setting)]
        found = cli("nfu", "explore", "CLASS3", *narrow, "--word", "16", "--tn", "4")
        assert found.code == 5 and "None of 20 points can do CLASS3" in found.out and "product_bits is 16" in found.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--tn", "4,x"], "--tn: 'x' is no whole number from 1 to 1024"),
            (["--tn", "9..4"], "--tn: '9..4' is no whole number"),
            (["--buffers", "0"], "--buffers: '0' is no whole number"),
            (["--buffers", "4/5"], "neither rows of all three buffers nor NBin/NBout/SB"),
            (["--bandwidth", "3 GBs"], "--bandwidth: '3 GBs': unknown unit 'GBs'; did you mean 'GB/s'?"),
            (["--bandwidth", "0"], "--bandwidth: '0' is no rate above 0"),
            (["--word", "17"], "--word: '17' is no whole number from 1 to 16"),
            (["--word", "Q3.20"], "--word: 'Q3.20': a fixed-point word has 2 to 16 bits, got 23"),
            (["--word", "1"], "--word: '1': a fixed-point word has 2 to 16 bits, got 1"),
            (["--points", "0"], "0 is not in the range x>=1"),
        ],
    )
    def test_mistakes(self, arguments: list[str], message: str, cli: Any) -> None:
        found = cli("nfu", "explore", "CLASS1", *arguments)
        assert (found.code, found.out) == (2, "") and message in found.err


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """Of a process that is killed in the middle, every point that it had found is there, and no process is left."""
    command = [
        sys.executable,
        "-m",
        "trainscape",
        "nfu",
        "explore",
        "CONV1",
        "--tn",
        "4..64",
        "--buffers",
        "32..96",
        "--points",
        "2000",
    ]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "e")], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    path = tmp_path / "e" / "points.jsonl"
    try:
        end = time.monotonic() + 60
        while not (path.exists() and path.read_bytes().count(b"\n") >= 10) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()  # ends when those who were asked have ended too: they hold the same streams
    found = path.read_bytes().count(b"\n")
    with opened(path) as store:
        assert len(store.rows) == found >= 10
        assert all(row["time_s"] > 0 for row in store.rows.values())
    assert os.WIFSIGNALED(-process.returncode) or process.returncode < 0
