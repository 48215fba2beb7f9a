"""What an exploration found, as a table of the points worth having, a sentence, a page and CSV; from the rows of its document."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from trainscape.report.nfu import joules, square_mm
from trainscape.report.nfu_published import published_cells
from trainscape.report.tables import decimal, markdown_table, plain_table, seconds

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
SHOWN = 20
"""Lines of the table on a terminal; the page has all."""
COLUMNS = (
    "on_front", "tn", "ti", "nbin_rows", "nbout_rows", "sb_rows", "dram_bytes_per_s", "word_bits", "word_fraction", "time_s",
    "energy_J", "chip_J", "dram_J", "area_m2", "total_cycles", "dram_bytes", "accuracy", "refused",
)  # fmt: skip


def design_text(r: Row) -> str:
    """A design in a few words."""
    return f"Tn {r['tn']}, {_rows(r)} rows, {decimal(r['dram_bytes_per_s'], 'B/s')}, {_word(r)}"


def _rows(r: Row) -> str:
    rows = (r["nbin_rows"], r["nbout_rows"], r["sb_rows"])
    return str(rows[0]) if len(set(rows)) == 1 else "/".join(map(str, rows))


def _word(r: Row) -> str:
    return f"Q{r['word_bits'] - r['word_fraction']}.{r['word_fraction']}"


def front_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines."""
    header = ["Tn = Ti", "rows", "memory", "word", "time", "energy", "of it chip", "area"]
    header += ["accuracy"] if _has_accuracy(rows) else []
    lines = [
        [
            str(r["tn"]) if r["tn"] == r["ti"] else f"{r['tn']} x {r['ti']}",
            _rows(r),
            decimal(r["dram_bytes_per_s"], "B/s"),
            _word(r),
            seconds(r["time_s"]),
            joules(r["energy_J"]),
            joules(r["chip_J"]),
            square_mm(r["area_m2"]),
            *([f"{100 * r['accuracy']:.1f} %"] if _has_accuracy(rows) else []),
        ]
        for r in rows
    ]
    return header, lines


def _has_accuracy(rows: Sequence[Row]) -> bool:
    return bool(rows) and all("accuracy" in r for r in rows)


def front_table(rows: Sequence[Row], title: str) -> "Table":
    """The front by time, thinned out evenly where it is long."""
    header, lines = front_cells(rows)
    n = len(lines)
    kept = lines if n <= SHOWN else [lines[round(i * (n - 1) / (SHOWN - 1))] for i in range(SHOWN)]
    more = "" if n <= SHOWN else f"; {SHOWN} of {n} shown"
    return plain_table(header, kept, title=f"{title}: no other point is as good in {_all(rows)}{more}")


def _all(rows: Sequence[Row]) -> str:
    """What is looked at."""
    return "time, energy, area and accuracy" if _has_accuracy(rows) else "time, energy and area"


def designs_cells(named: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The catalogue's designs, and how they do among the points."""
    header, lines = front_cells(named)
    return ["design", *header, "points better"], [
        [r["name"], *line, f"{r['beaten_by']:,}"] for r, line in zip(named, lines, strict=True)
    ]


def designs_table(named: Sequence[Row]) -> "Table":
    """For the terminal."""
    accurate = ", and as accurate" if _has_accuracy(named) else ""
    title = f"designs of the catalogue at the same work, and how many points are better in time, energy and area{accurate}"
    return plain_table(*designs_cells(named), title=title)


def sentence(document: Row) -> str:
    """What came out."""
    rows, front = document["points"], document["front"]
    if not rows:
        return f"None of {document['asked']:,} points can do {document['target']}."
    fastest, leanest, smallest = (min(rows, key=lambda r: (r[k], r["energy_J"])) for k in ("time_s", "energy_J", "area_m2"))
    accurate = ""
    if _has_accuracy(rows):
        most = max(r["accuracy"] for r in rows)
        cheapest = min((r for r in rows if r["accuracy"] == most), key=lambda r: r["energy_J"])
        accurate = (
            f" Most accurate: {100 * most:.1f} %, with the least energy {joules(cheapest['energy_J'])} ({design_text(cheapest)})."
        )
    refused = f" ({document['refused_count']:,} more cannot do it)" if document["refused_count"] else ""
    return (
        f"Of {len(rows):,} points for {document['target']}{refused} {len(front):,} are worth having. "
        f"Fastest: {seconds(fastest['time_s'])} ({design_text(fastest)}); least energy: {joules(leanest['energy_J'])} "
        f"({design_text(leanest)}); smallest: {square_mm(smallest['area_m2'])} ({design_text(smallest)}).{accurate}"
        f"{_base_words(document)}"
    )


def _base_words(document: Row) -> str:
    base = next((r for r in document["designs"] if r["name"] == document["device"]), None)
    if base is None:
        return ""
    beaten = base["beaten_by"]
    judged = f"{beaten:,} points are better in all three" if beaten else "no point is better in all three"
    return f" {base['name']}: {seconds(base['time_s'])}, {joules(base['energy_J'])}, {square_mm(base['area_m2'])}; {judged}."


def page(title: str, document: Row, picture: str) -> str:
    """The exploration as a page."""
    parts = [f"# {title}", sentence(document), f"![Time, energy and area of the points]({picture})", "## Points worth having"]
    parts += [
        f"No other point is as good in {_all(document['front'])}.",
        markdown_table(*front_cells(document["front"])).rstrip(),
    ]
    parts += ["## Designs of the catalogue", markdown_table(*designs_cells(document["designs"])).rstrip()]
    parts += [f"- {name} cannot do it: {why}" for name, why in document["designs_refused"].items()]
    parts += [
        "Their figures at full rate, whatever they compute, without main memory; and what has been published of the chips that "
        "they are after (`trainscape hw show NAME` says where, and what differs).",
        markdown_table(*published_cells([d["name"] for d in document["designs"]])).rstrip(),
    ]
    parts.append(
        "rows: of NBin, NBout and SB. Energy includes the main memory; area is the chip's alone. What the device's processor "
        "does beside it is in neither."
    )
    return "\n\n".join(parts) + "\n"


def points_csv(rows: Sequence[Row], front: Sequence[Row]) -> str:
    """All points as CSV: SI units, empty where nothing is known."""
    keys, out = {r["key"] for r in front}, StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        cells = {**r, "on_front": int(r["key"] in keys)}
        writer.writerow(["" if cells.get(c) is None else cells[c] for c in COLUMNS])
    return out.getvalue()
