"""A comparison of strategies as a table: for the terminal, as Markdown, as CSV; from the rows of its JSON document."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from trainscape.report.tables import markdown_table, nbytes, plain_table, rate, seconds, share

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

ABOVE_PEAK = (
    "MFU counts the multiply-adds of a convolution's definition. Libraries have algorithms with fewer (Winograd, FFT), so it can "
    "be above 100 %."
)

CLOSED_FORM = "a collective takes what its closed form says on an idle network; --detail flow plays every transfer."

COLUMNS = (
    "file", "scenario", "strategy", "model", "batch", "system", "fits", "step_s", "samples_per_s", "mfu", "compute_s", "comm_s",
    "exposed_comm_s", "waiting_s", "bytes_sent_total", "flop_total", "memory_peak_bytes", "memory_device_bytes", "energy_j",
    "kwh_per_epoch", "usd_per_epoch", "epoch_s", "reason", "change", "differs", "detail",
)  # fmt: skip
"""Columns of the CSV, named as in the JSON document."""


def comparison_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the ranked table; columns in which nothing stands are left out."""
    several = len({r["file"] for r in rows}) > 1
    header = ["", "scenario", "strategy", "step", "samples/s", "MFU", "exposed", "sent", "memory", "fits", "J/step"]
    header += ["kWh/epoch", "USD/epoch", "detail", "smallest change that fits"]
    lines = [
        [
            str(k) if r["fits"] else "–",
            r["scenario"] if several else "",
            r["strategy"],
            seconds(r["step_s"]),
            rate(r["samples_per_s"]),
            share(r["mfu"]) if r["mfu"] is not None else "",
            seconds(r["exposed_comm_s"]),
            nbytes(r["bytes_sent_total"]),
            nbytes(r["memory_peak_bytes"]),
            "yes" if r["fits"] else "no" if r["memory_peak_bytes"] else "cannot be",
            _three(r["energy_j"]),
            _three(r["kwh_per_epoch"]),
            _three(r["usd_per_epoch"]),
            r["detail"] if r["detail"] not in (None, "flow") else "",
            r["change"]["words"] if r["change"] else "",
        ]
        for k, r in enumerate(rows, 1)
    ]
    used = [i for i in range(len(header)) if i < 1 or any(line[i] for line in lines)]
    return [header[i] for i in used], [[line[i] for i in used] for line in lines]


def _three(value: float | None) -> str:
    """Three digits, without an exponent where that can be read."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def comparison_rows_table(rows: Sequence[Row], title: str) -> "Table":
    """The ranked table for the terminal."""
    return plain_table(*comparison_cells(rows), title=title)


def reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are not possible, a line each."""
    return [f"{r['strategy']} ({r['scenario']}): {r['reason']}" for r in rows if r["reason"]]


def comparison_markdown(title: str, rows: Sequence[Row], sentence: str, *, picture: str = "") -> str:
    """The comparison as a page."""
    parts = [f"# {title}", sentence]
    if picture:
        parts.append(f"![What the time of a step goes into, by strategy]({picture})")
    parts.append(markdown_table(*comparison_cells(rows)).rstrip())
    parts += [f"- {line}" for line in reasons(rows)]
    basis = sorted({r["energy_basis"] for r in rows if r["energy_basis"]})
    parts += [f"Energy is {b}." for b in basis]
    parts.append("MFU: arithmetic that the model asks for / (step × peak of the devices). Memory: of the fullest device.")
    parts += notes(rows)
    return "\n\n".join(parts) + "\n"


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of these rows may stumble over."""
    found = [ABOVE_PEAK] if any((r["mfu"] or 0.0) > 1 for r in rows) else []
    priced = _by(rows, "detail").get("closed-form")
    found += [f"{priced}: {CLOSED_FORM}"] if priced else []
    return found + [f"{who}: {differs(why)}" for why, who in _by(rows, "differs").items()]


def omissions(left_out: Sequence[Row]) -> list[str]:
    """Which strategies make no sense, by what rule."""
    return [f"left out: {who}: {why}" for why, who in _by(left_out, "reason").items()]


def differs(why: str) -> str:
    """That training is not equal to one worker's."""
    return f"training is not equal to that of one worker: {why}"


def _by(rows: Sequence[Row], key: str) -> dict[str, str]:
    """What stands under a key -> the strategies of the rows where it stands."""
    several, found = len({r["file"] for r in rows}) > 1, dict[str, list[str]]()
    for r in rows:
        if r[key]:
            found.setdefault(r[key], []).append(f"{r['strategy']} ({r['scenario']})" if several else r["strategy"])
    return {text: ", ".join(who) for text, who in found.items()}


def comparison_csv(rows: Sequence[Row]) -> str:
    """The comparison as CSV: SI units, empty where nothing is known."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        cells = {**r, "change": r["change"]["words"] if r["change"] else None}
        writer.writerow(["" if cells[c] is None else cells[c] for c in COLUMNS])
    return out.getvalue()
