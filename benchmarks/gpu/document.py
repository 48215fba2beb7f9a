"""The document of a run: one JSON file, and the same as Markdown."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import markdown
from benchmarks.gpu.sections import Section
from benchmarks.gpu.targets import TARGETS, judged
from hw.profile import write_whole

SCHEMA = "trainscape.gpu-benchmark/1"
SIMULATED = "simulated: no time means anything"
DONE, PARTIAL, FAILED, AHEAD = "done", "partial", "failed", "not reached"


def begun(*, seconds: float, simulated: bool, sections: Sequence[Section]) -> dict[str, Any]:
    """A document with nothing in it yet."""
    ahead = {"state": AHEAD, "took_s": 0.0, "items": {}, "left_out": [], "notes": []}
    return {
        "schema": SCHEMA,
        "label": SIMULATED if simulated else "",
        "simulated": simulated,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "took_s": 0.0,
        "sections": {s.name: {"title": s.title, **ahead} for s in sections},
        "targets": [],
    }


def section_of(section: Section, part: Mapping[str, Any], took: float) -> dict[str, Any]:
    """What a section has found so far, or in the end."""
    items = part["items"]
    left = [name for name in part["planned"] if name not in items]
    wrong = [name for name, r in items.items() if "error" in r]
    if not items and not part["planned"]:
        state = AHEAD
    elif len(wrong) == len(items):
        state = FAILED
    else:
        state = PARTIAL if left or wrong else DONE
    return {
        "title": section.title, "state": state, "took_s": took, "items": items, "left_out": left, "notes": part["notes"],
    }  # fmt: skip


def finished(document: dict[str, Any], took: float) -> None:
    """The run is over."""
    document["took_s"] = took


def write(document: dict[str, Any], out: Path) -> None:
    """Write both files; whoever reads them sees whole ones."""
    document["targets"] = [judged(t, document).plain for t in TARGETS]
    write_whole(out / "gpu.json", json.dumps(document, indent=1) + "\n")
    write_whole(out / "gpu.md", markdown(document))
