"""The demo and `validate`, with real workers and a made-up profile: what they show, write and return. Times are not judged."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from trainscape.doctor import free_cores

pytestmark = [pytest.mark.slow]
SHORT = ("--set", "model.width=0.5", "--set", "run.steps=120", "--set", "run.held_out=300")


@pytest.mark.skipif(free_cores() < 2, reason="two workers need two cores")
def test_demo(cli: Any, profile: Any, tmp_path: Path) -> None:
    found = cli("demo", "--json", *SHORT)
    assert found.code == 0
    document = found.document
    one, two, there = document["runs"]
    titles = ["1 worker on this computer", "2 workers on this computer", "8 GPUs of dgx1-v100"]
    assert [r["title"] for r in (one, two, there)] == titles
    for run in (one, two):
        assert run["verdict"] in ("ok", "outside", "inconclusive")
        assert run["predicted"]["bytes_sent_total"] == run["measured"]["bytes_sent_total"]
        assert set(run["error"]) == {"step", "forward", "backward", "update", "allreduce"}
        assert run["accuracy"] > 0.5
        low, middle, high = (run["measured"][k]["forward"] for k in ("kinds_p10_s", "kinds_s", "kinds_p90_s"))
        assert 0 < low <= middle <= high
    assert document["accuracy"] == min(one["accuracy"], two["accuracy"])
    assert "measured" not in there
    folder = tmp_path / "runs" / "demo"
    assert {p.name for p in folder.iterdir()} == {
        "compare.png",
        "compare.svg",
        "report.md",
        "result.json",
        "run.json",
        "step.png",
        "trace.json.gz",
    }
    assert json.loads((folder / "result.json").read_text()) == document
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    assert any("2 workers on this computer: measured" in n for n in names)
    assert any(e["ph"] == "s" for e in events)  # arrows of messages
    assert "## 2 workers on this computer" in (folder / "report.md").read_text()


def test_validate(cli: Any, profile: Any, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: tiny\nmodel: {name: mlp, batch: 16, width: 0.5}\nrun: {steps: 100}\n")
    found = cli("validate", "s.yaml", "--json")
    document = found.document
    keys = {"step_s", "step_p10_s", "step_p90_s", "bytes_sent_total", "memory_peak_bytes", "accuracy"}
    assert set(document["measured"]) >= keys
    assert found.code == (0 if document["verdict"] == "ok" else 4)  # the profile is made up, so it is hardly ever ok
    assert document["accuracy"] == document["measured"]["accuracy"]
    assert (tmp_path / "runs" / "tiny" / "report.md").is_file()
