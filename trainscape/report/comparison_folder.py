"""What a comparison leaves in its run folder: ``result.json``, ``compare.csv``, ``compare.svg`` and ``.png``, ``report.md``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainscape.report.comparison import comparison_csv, comparison_markdown
from trainscape.report.comparison_figure import draw_comparison
from trainscape.report.hardware import hardware_csv, hardware_markdown
from trainscape.report.hardware_figure import draw_hardware
from trainscape.report.run_folder import RunFolder

PICTURES = ("compare.svg", "compare.png")


def publish_comparison(path: Path, title: str, document: Mapping[str, Any]) -> None:
    """Write all files of a comparison of strategies; a run that is there is moved aside, and the report comes last.

    Parameters
    ----------
    path : the run folder.
    title : of picture and report.
    document : of `trainscape compare`: ``rows``, ``winner``, ``settings``.
    """
    folder = _begun(path, document, comparison_csv(document["rows"]))
    is_drawn = write_pictures(folder, document["rows"], title)
    page = comparison_markdown(title, document["rows"], document["winner"], picture="compare.svg" if is_drawn else "")
    folder.write_text("report.md", page)


def publish_hardware(path: Path, title: str, document: Mapping[str, Any]) -> None:
    """The same of a comparison of systems; its document has ``said`` instead of ``winner``."""
    folder = _begun(path, document, hardware_csv(document["rows"]))
    is_drawn = write_pictures(folder, document["rows"], title, draw=draw_hardware)
    page = hardware_markdown(title, document["rows"], document["said"], picture="compare.svg" if is_drawn else "")
    folder.write_text("report.md", page)


def _begun(path: Path, document: Mapping[str, Any], table: str) -> RunFolder:
    """The folder with the numbers in it."""
    folder = RunFolder.create(path, command="compare", settings={"scenarios": document["settings"]})
    folder.write_json("result.json", document)
    folder.write_text("compare.csv", table)
    return folder


def write_pictures(folder: RunFolder, rows: Sequence[Any], title: str, *, draw: Callable[..., None] = draw_comparison) -> bool:
    """Draw the comparison into a run folder; False when no row fits, so that there is nothing to draw."""
    if not any(r["fits"] for r in rows):
        return False
    draw([folder.temporary(name) for name in PICTURES], rows, title=title)
    for name in PICTURES:
        folder.publish(name)
    return True
