"""An explanation as text: section by section, equation by equation; sources as numbered notes below each section."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainscape.explanation import Section
from trainscape.report.tables import plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType


def explanation_text(sections: Sequence[Section]) -> "list[RenderableType]":
    """What to show, in order."""
    found: list[RenderableType] = []
    for section in sections:
        found.append(f"{section.title}\n{'-' * len(section.title)}")
        if section.rows:
            found.append(plain_table(section.header, section.rows))
        notes: list[str] = []
        lines = []
        for line in section.lines:
            mark = ""
            if line.source:
                if line.source not in notes:
                    notes.append(line.source)
                mark = f"   [{notes.index(line.source) + 1}]"
            lines.append(f"  {line.text()}{mark}")
        lines += [f"  {n}" for n in section.notes]
        lines += [f"    [{k}] {n}" for k, n in enumerate(notes, 1)]
        found.append("\n".join(lines) + "\n")
    return found
