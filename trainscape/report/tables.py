"""Tables: predicted | measured | error with the repeat band, for the terminal and as Markdown, from the same rows.

What was emulated stands where else what was measured stands, under its own name.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graph.record import record
from hw.units import Quantity, format

if TYPE_CHECKING:
    from rich.table import Table

_LABELS = {"step": "step", "forward": "forward", "backward": "backward", "update": "update", "allreduce": "all-reduce"}
SIDES = ("measured", "emulated")
"""What a prediction is held against: keys of a result document."""

_OF_AN_EPOCH = (("kwh_per_epoch", "kWh"), ("usd_per_epoch", "USD"))
COST_MODELS = {
    "roofline": "a roofline of data sheets and kernel benchmarks; docs/validation.md holds it against published tables",
    "calibrated": "this computer's calibration of kernels and links",
}


@record
class Row:
    """One line of a comparison.

    Parameters
    ----------
    what : the step, or a kind of action.
    predicted_s, measured_s : seconds, measured or emulated; None: not known.
    low_s, high_s : 10th and 90th percentile of single steps; None: not known.
    error : predicted / measured - 1, signed; None: not known.
    """

    what: str
    predicted_s: float | None = None
    measured_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    error: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        return self.what, seconds(self.predicted_s), seconds(self.measured_s), self.band(), percent(self.error)

    def band(self) -> str:
        """How far single steps lie apart, around what was measured."""
        if self.low_s is None or self.high_s is None or not self.measured_s:
            return ""
        low, high = (percent(x / self.measured_s - 1) for x in (self.low_s, self.high_s))
        return f"{low} to {high}"


def seconds(value: float | None) -> str:
    """A time with three digits and a unit; empty for none."""
    return "" if value is None else _three(value)


def _three(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if abs(value) >= 0.9995 * factor or unit == "ns":
            scaled = value / factor
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:.{digits}f} {unit}" if value else "0 s"
    return "0 s"


def percent(value: float | None) -> str:
    """A signed fraction in percent; empty for none."""
    return "" if value is None else f"{100 * value:+z.1f} %"


def share(value: float | None) -> str:
    """A fraction of a whole in percent, without a sign."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def nbytes(value: float | None) -> str:
    """Bytes with three digits and a unit; empty for none."""
    return "" if value is None else format(int(value), Quantity.BYTES, 3) if value < 1000 else decimal(value, "B")


def rate(value: float | None) -> str:
    """Things per second: whole where they are many, else three digits; empty for none."""
    return "" if not value else f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def decimal(value: float, unit: str) -> str:
    """A quantity with three digits and a decimal prefix."""
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}" if value / factor < 1000 else f"{value / factor:.0f} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def side_of(document: Mapping[str, Any]) -> str:
    """What the prediction of a document is held against: one of `SIDES`; ``"measured"`` also where there is nothing."""
    return next((side for side in SIDES if document.get(side)), SIDES[0])


def comparison(document: Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of a document that has ``predicted`` and, after a validation, ``error`` and one of `SIDES`."""
    predicted, measured, error = (document.get(k) or {} for k in ("predicted", side_of(document), "error"))
    rows = []
    for key, label in _LABELS.items():
        if key == "step":
            p, m = predicted.get("step_s"), measured.get("step_s")
            low, high = measured.get("step_p10_s"), measured.get("step_p90_s")
        else:
            p, m = ((side.get("kinds_s") or {}).get(key) for side in (predicted, measured))
            low, high = ((measured.get(f"kinds_{q}_s") or {}).get(key) for q in ("p10", "p90"))
        if p is None and m is None:
            continue
        rows.append(Row(what=label, predicted_s=p, measured_s=m, low_s=low, high_s=high, error=error.get(key)))
    return tuple(rows)


def comparison_cells(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the comparison, less the columns that are empty."""
    header = ("", "predicted", side_of(document), "single steps (p10 to p90)", "error")
    rows = [r.cells() for r in comparison(document)]
    used = [i for i in range(len(header)) if i == 0 or any(r[i] for r in rows)]
    return [header[i] for i in used], [[r[i] for i in used] for r in rows]


def comparison_table(document: Mapping[str, Any], title: str) -> "Table":
    """Predicted | measured | error for the terminal."""
    return plain_table(*comparison_cells(document), title=title)


def plain_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", is_headed: bool = True, is_dense: bool = False
) -> "Table":
    """A table without frills: text to the left, numbers to the right; a dense one for many columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # a title that is longer than the table goes on beyond it
    shown = Text(title, style="table.title", no_wrap=True, overflow="ignore") if title else None
    table = Table(
        title=shown, title_justify="left", show_header=is_headed, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=is_dense
    )
    for i, name in enumerate(header):
        column = [r[i] for r in rows if r[i]]
        is_number = bool(column) and i > 0 and all(c[0].isdigit() or c[0] in "+-" for c in column)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(c) for c in row))
    return table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown, columns aligned so that it reads well as text too."""
    cells = [[str(c).replace("|", "\\|") for c in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    is_number = [all(r[i][:1] in "+-" or r[i][:1].isdigit() for r in cells[1:] if r[i]) and i > 0 for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, is_number, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, is_number, strict=True)) + "|"
    return "\n".join([line(cells[0]), rule, *(line(r) for r in cells[1:])]) + "\n"


def prediction_rows(predicted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a prediction says, as (quantity, text) lines."""
    interval = predicted.get("step_interval_s") or [None, None]
    rows = [("step", f"{seconds(predicted.get('step_s'))} (80 %: {seconds(interval[0])} to {seconds(interval[1])})")]
    rows += [("samples per second", rate(predicted.get("samples_per_s")))]
    names = (("compute", "compute_s"), ("communication", "comm_s"), ("of that not hidden", "exposed_comm_s"))
    rows += [(label, seconds(predicted.get(key))) for label, key in names]
    peaks = predicted.get("memory_peak_bytes") or []
    rows += [("memory of a rank", nbytes(max(peaks)) if peaks else "")]
    rows += [("sent in a step, by all", nbytes(predicted.get("bytes_sent_total")))]
    flop = predicted.get("flop_total")
    rows += [("arithmetic of a step, in all", decimal(flop, "flop") if flop else "")]
    mfu, joules = predicted.get("mfu"), predicted.get("energy_j")
    rows += [("of what the devices could do (MFU)", share(mfu))] if mfu is not None else []
    rows += [("energy of a step, modelled", decimal(joules, "J"))] if joules is not None else []
    epoch = [f"{seconds(predicted['epoch_s'])}"] if predicted.get("epoch_s") is not None else []
    epoch += [f"{predicted[k]:.3g} {unit}" for k, unit in _OF_AN_EPOCH if predicted.get(k) is not None]
    rows += [("an epoch", ", ".join(epoch))] if epoch else []
    chosen = predicted.get("algorithms") or {}
    rows += [("algorithms", ", ".join(f"{op} {name}" for op, name in chosen.items()))] if chosen else []
    model = predicted.get("cost_model")
    return [*rows, ("priced by", COST_MODELS.get(model, model))] if model else rows
