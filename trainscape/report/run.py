"""One run as the report shows it: its part of the result document, and its timelines."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from graph.record import record
from graph.timeline import Timeline
from trainscape.report.breakdown import Bar
from trainscape.report.tables import SIDES


@record
class Run:
    """One run of a publication.

    Parameters
    ----------
    title : e.g. ``"2 workers on this computer"``.
    document : its part of the result: ``predicted``, and after a validation ``measured`` (or ``emulated``) and ``error``.
    timelines : ``"predicted"``, ``"measured"`` or ``"emulated"`` -> what happened when.
    """

    title: str
    document: Mapping[str, Any]
    timelines: Mapping[str, Timeline] = field(default_factory=dict)

    def bars(self) -> list[Bar]:
        """A bar for what was predicted, and one for what was measured or emulated."""
        found = []
        for side in ("predicted", *SIDES):
            numbers = self.document.get(side) or {}
            parts = numbers.get("exposed_s")
            if parts:
                low, high = numbers.get("step_interval_s") or (numbers.get("step_p10_s"), numbers.get("step_p90_s"))
                found.append(Bar(group=self.title, label=side, parts=parts, step_s=numbers.get("step_s"), low_s=low, high_s=high))
        return found
