"""A comparison of systems as a table: for the terminal, as Markdown, as CSV; from the rows of its JSON document."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from trainscape.report.comparison import COLUMNS as OF_A_ROW
from trainscape.report.tables import markdown_table, nbytes, plain_table, rate, seconds

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

COLUMNS = (*OF_A_ROW, "numerics", "energy_per_sample_j", "speed_ratio", "energy_ratio")
"""Columns of the CSV, named as in the JSON document."""
PLAIN = ("scenario", "batch", "strategy")
"""Columns that are there where they tell rows apart."""
PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9))


def joules(value: float | None) -> str:
    """An energy with three digits and a unit; empty for none."""
    if value is None:
        return ""
    if value == 0:
        return "0 J"
    prefix, factor = next(((p, f) for p, f in PREFIXES if abs(value) >= 0.9995 * f), PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}J"


def times(ratio: float | None) -> str:
    """A factor with three digits; empty for none."""
    if ratio is None:
        return ""
    return f"{ratio:,.0f}" if ratio >= 99.95 else f"{ratio:.3g}"


def hardware_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table; columns in which nothing stands, or everywhere the same, are left out."""
    header = ["", "scenario", "model", "batch", "strategy", "system", "step", "samples/s", "J/sample"]
    header += ["times as fast", "times less energy", "memory", "fits"]
    lines = [
        [
            str(k),
            r["scenario"],
            r["model"],
            str(r["batch"]),
            r["strategy"],
            r["system"],
            seconds(r["step_s"]),
            rate(r["samples_per_s"]),
            joules(r["energy_per_sample_j"]),
            times(r["speed_ratio"]),
            times(r["energy_ratio"]),
            nbytes(r["memory_peak_bytes"]),
            "yes" if r["fits"] else "no" if r["memory_peak_bytes"] else "cannot be",
        ]
        for k, r in enumerate(rows, 1)
    ]
    used = [i for i, name in enumerate(header) if len({line[i] for line in lines}) > 1 or (name not in PLAIN and lines[0][i])]
    return [header[i] for i in used], [[line[i] for i in used] for line in lines]


def hardware_table(rows: Sequence[Row], title: str) -> "Table":
    """The table for the terminal."""
    return plain_table(*hardware_cells(rows), title=title)


def reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are not possible, a line each."""
    return [f"{r['model']} on {r['system']}: {r['reason']}" for r in rows if r["reason"]]


def bases(rows: Sequence[Row]) -> list[str]:
    """What times and energies rest on, a line for each system, in the order of the rows."""
    found: dict[str, str] = {}
    for r in rows:
        if not r["fits"]:
            continue
        numerics = r["numerics"]
        numbers = f"{numerics['word']}-bit words with {numerics['fraction']} behind the point" if numerics else "floats (f32)"
        energy = "energy" if r["energy_j"] is not None else "energy not known,"
        found[f"{r['system']}: time by cost model {r['cost_model']}, in {numbers}; {energy} {r['energy_basis']}"] = ""
    return list(found)


def sentences(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """How each system does against the first, a sentence each."""
    return [_sentence(s) for s in summaries]


def _sentence(s: Mapping[str, Any]) -> str:
    of = f"{s['both']} of {s['jobs']} jobs" if s["both"] < s["jobs"] else f"{s['jobs']} job{'s' if s['jobs'] > 1 else ''}"
    if s["speed"] is None:
        return f"{s['system']} against {s['against']}: there is no job that both can do."
    said = f"{s['system']} against {s['against']}, {of}: {_span(s['speed'])} times as fast"
    if s["energy"] is not None:
        said += f", {_span(s['energy'])} times less energy"
    return f"{said}{', geometric means' if s['both'] > 1 else ''}."


def _span(span: Mapping[str, float]) -> str:
    mean, least, most = (times(span[k]) for k in ("mean", "least", "most"))
    return mean if least == most else f"{mean} ({least} to {most})"


def hardware_markdown(title: str, rows: Sequence[Row], said: Sequence[str], *, picture: str = "") -> str:
    """The comparison as a page.

    Parameters
    ----------
    title : of the page.
    rows : documents of the rows.
    said : `sentences`.
    picture : file of the picture, or ``""``.
    """
    parts = [f"# {title}", *said]
    if picture:
        parts.append(f"![Time and energy of a sample, by job and system]({picture})")
    parts.append(markdown_table(*hardware_cells(rows)).rstrip())
    parts += ["\n".join(f"- {line}" for line in lines) for lines in (reasons(rows), bases(rows)) if lines]
    return "\n\n".join(parts) + "\n"


def hardware_csv(rows: Sequence[Row]) -> str:
    """The comparison as CSV: SI units, empty where nothing is known."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        words = r["numerics"] and f"{r['numerics']['word']}:{r['numerics']['fraction']}"
        cells = {**r, "change": r["change"]["words"] if r["change"] else None, "numerics": words}
        writer.writerow(["" if cells[c] is None else cells[c] for c in COLUMNS])
    return out.getvalue()
