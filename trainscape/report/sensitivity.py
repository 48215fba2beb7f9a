"""What changing each number of a scenario does, as tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainscape.report.tables import percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = {
    "step_s": "step",
    "memory_peak_bytes": "memory",
    "bytes_sent_total": "bytes sent",
    "energy_j": "energy",
    "usd_per_epoch": "USD",
}


def effects_table(effects: Sequence[Mapping[str, Any]], title: str) -> "Table":
    """The numbers that matter, the most telling first."""
    used = [k for k in _COLUMNS if any(k in e["change"] for e in effects)]
    rows = [
        (e["key"], _number(e["before"]), _number(e["after"]), *(_change(e["change"].get(k)) for k in used))
        for e in effects
        if e["has_effect"]
    ]
    return plain_table(("number", "is", "changed to", *(_COLUMNS[k] for k in used)), rows, title=title)


def reasons_table(effects: Sequence[Mapping[str, Any]], title: str) -> "Table":
    """The numbers that do not matter."""
    rows = [(e["key"], _number(e["before"]), _number(e["after"]), e["reason"] or "") for e in effects if not e["has_effect"]]
    return plain_table(("number", "is", "changed to", "why nothing comes of it"), rows, title=title)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _change(value: float | None) -> str:
    return (
        "" if value is None else "0" if abs(value) < 5e-7 else percent(value) if abs(value) >= 5e-4 else f"{100 * value:+.4f} %"
    )
