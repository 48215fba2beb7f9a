"""The document of a run: one JSON file, and the same as Markdown."""

import glob
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from benchmarks.gpu.report import markdown
from benchmarks.gpu.sections import Section
from benchmarks.gpu.targets import TARGETS, judged
from hw.profile import write_whole

DOCUMENTS = {"gpu.json", "gpu.md"}
SCHEMA = "trainscape.gpu-benchmark/1"
SIMULATED = "simulated: no time means anything"
DONE, PARTIAL, FAILED, AHEAD = "done", "partial", "failed", "not reached"
OWN = {".yaml", ".log", ".txt", ".tmp"}
"""Endings of what may lie in the folder of a run beside its documents."""


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
        "is_interrupted": False,
        "sections": {s.name: {"title": s.title, **ahead} for s in sections},
        "targets": [],
    }


def section_of(section: Section, part: Mapping[str, Any], took: float, state: str = "") -> dict[str, Any]:
    """What a section has found in the end or, where its state is given, so far."""
    items = part["items"]
    left = [name for name in part["planned"] if name not in items]
    return {
        "title": section.title, "state": state or _state(items, left), "took_s": took, "items": items, "left_out": left,
        "notes": part["notes"],
    }  # fmt: skip


def _state(items: Mapping[str, Any], left: Sequence[str]) -> str:
    if not items and not left:
        return AHEAD
    wrong = [name for name, r in items.items() if "error" in r]
    if len(wrong) == len(items):
        return FAILED
    return PARTIAL if left or wrong else DONE


def make_way(out: Path) -> Path | None:
    """Make the folder of a run; one that is there is moved aside, to the next free number behind its name, which is returned.

    Raises
    ------
    OSError : it cannot be made, or a document would be written over among files that are no run's.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    there = sorted(out.iterdir())
    aside = None
    if {p.name for p in there} & DOCUMENTS:
        if others := [p.name for p in there if p.name not in DOCUMENTS and (p.is_dir() or p.suffix not in OWN)]:
            raise FileExistsError(f"it holds a gpu.json or gpu.md among other things ({others[0]}), which stay where they are")
        taken = [p.name.removeprefix(f"{out.name}.") for p in out.parent.glob(f"{glob.escape(out.name)}.*")]
        aside = out.with_name(f"{out.name}.{max((int(n) for n in taken if n.isdigit()), default=0) + 1}")
        out.rename(aside)
        out.mkdir()
    with TemporaryFile(dir=out):  # that it can be written to is found now, not after the first section
        pass
    return aside


def write(document: dict[str, Any], out: Path) -> None:
    """Write both files; whoever reads them sees whole ones."""
    document["targets"] = [judged(t, document).plain for t in TARGETS]
    write_whole(out / "gpu.json", json.dumps(document, indent=1) + "\n")
    write_whole(out / "gpu.md", markdown(document))
