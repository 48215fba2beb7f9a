"""The run on a GPU from beginning to end, in Numba's simulator, with so little time that each section does hardly one thing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.document import SIMULATED
from benchmarks.gpu.sections import SECTIONS
from benchmarks.gpu.targets import NOT_HERE

SECONDS = 240


def ratios(value: Any) -> Iterator[object]:
    """Everything that a document calls a ratio, an error of a prediction or a part of the bandwidth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("ratio", "step_error", "memory_error", "of_copy"):
                yield inner
            yield from ratios(inner)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_all_of_it_runs_in_the_simulator(root: Path, tmp_path: Path) -> None:
    profiles = set((root / "hw" / "catalogue").rglob("*.yaml"))
    command = [
        sys.executable,
        str(root / "benchmarks" / "gpu" / "run.py"),
        "--simulate",
        "--seconds",
        "3",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["label"] == SIMULATED and list(document["sections"]) == [s.name for s in SECTIONS]
    for name, section in document["sections"].items():
        assert section["state"] in ("done", "partial") and section["items"], name
        assert {n: r["error"] for n, r in section["items"].items() if "error" in r} == {}, name
    assert {t["state"] for t in document["targets"]} == {NOT_HERE} and set(ratios(document)) == {None}
    assert document["sections"]["check"]["items"]["cuda.matmul"] == {"cases": 1, "wrong": [], "left": 0}
    predicted, validated = (document["sections"][n]["items"] for n in ("predict", "validate"))
    for name, r in validated.items():
        assert r["predicted_s"] == predicted[name]["step_s"]
    assert (tmp_path / "gpu.md").read_text().splitlines()[2] == f"**{SIMULATED}**"
    assert (tmp_path / "simulator.yaml").is_file() and set((root / "hw" / "catalogue").rglob("*.yaml")) == profiles
