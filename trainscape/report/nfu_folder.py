"""The folder of an exploration: ``points.jsonl`` grows point by point; the rest is written when all are there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trainscape
from trainscape.report.json_document import plain
from trainscape.report.nfu_front import page, points_csv
from trainscape.report.nfu_front_figure import draw_front
from trainscape.report.run_folder import MARKER, RunFolder

COMMAND = "nfu explore"
POINTS, ACCURACY = "points.jsonl", "accuracy.jsonl"
PICTURES = ("explore.svg", "explore.png")


def folder_for(path: Path, settings: Mapping[str, Any]) -> tuple[RunFolder, bool]:
    """The folder to write into, and whether it goes on with an exploration of the same work on the same base design.

    Anything else that an exploration has left there is moved aside. Raises `RunFolderError` when the folder is not to be used.
    """
    if _is_same(path / MARKER, settings):
        return RunFolder.reopen(path), True
    return RunFolder.create(path, command=COMMAND, settings=settings), False


def _is_same(marker: Path, settings: Mapping[str, Any]) -> bool:
    try:
        about = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    mine = {"command": COMMAND, "version": trainscape.__version__, "settings": plain(settings)}
    return isinstance(about, dict) and all(about.get(k) == v for k, v in mine.items())


def publish(folder: RunFolder, title: str, document: Mapping[str, Any]) -> None:
    """Write ``result.json``, ``points.csv``, ``explore.svg`` and ``.png``, and last ``report.md``."""
    folder.write_json("result.json", document)
    folder.write_text("points.csv", points_csv(document["points"], document["front"]))
    if document["points"]:
        draw_front([folder.temporary(name) for name in PICTURES], document, title=title)
        for name in PICTURES:
            folder.publish(name)
    folder.write_text("report.md", page(title, document, PICTURES[0]))
