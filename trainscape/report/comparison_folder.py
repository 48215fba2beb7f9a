"""What a comparison leaves in its run folder: ``result.json``, ``compare.csv``, ``compare.svg`` and ``.png``, ``report.md``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainscape.report.comparison import comparison_csv, comparison_markdown
from trainscape.report.comparison_figure import draw_comparison
from trainscape.report.run_folder import RunFolder

PICTURES = ("compare.svg", "compare.png")


def publish_comparison(path: Path, title: str, document: Mapping[str, Any]) -> None:
    """Write all files; a run that is there is moved aside, and the report comes last.

    Parameters
    ----------
    path : the run folder.
    title : of picture and report.
    document : of `trainscape compare`: ``rows``, ``winner``, ``settings``.
    """
    folder = RunFolder.create(path, command="compare", settings={"scenarios": document["settings"]})
    folder.write_json("result.json", document)
    folder.write_text("compare.csv", comparison_csv(document["rows"]))
    is_drawn = write_pictures(folder, document["rows"], title)
    page = comparison_markdown(title, document["rows"], document["winner"], picture="compare.svg" if is_drawn else "")
    folder.write_text("report.md", page)


def write_pictures(folder: RunFolder, rows: Any, title: str) -> bool:
    """Draw the comparison into a run folder; False when no row fits, so that there is nothing to draw."""
    if not any(r["fits"] for r in rows):
        return False
    draw_comparison([folder.temporary(name) for name in PICTURES], rows, title=title)
    for name in PICTURES:
        folder.publish(name)
    return True
