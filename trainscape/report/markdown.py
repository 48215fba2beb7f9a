"""``report.md`` of a run folder: what was run, the comparison with its repeat band, the picture, and how to look further."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainscape.report.emulation import sentences, value_cells
from trainscape.report.run import Run
from trainscape.report.tables import comparison_cells, markdown_table, percent, prediction_rows, seconds, share, side_of

_VERDICTS = {
    "ok": "The prediction of the step is within its tolerance.",
    "outside": "The prediction of the step is **outside** its tolerance.",
    "inconclusive": "**Inconclusive**: the computer was not as fast as when it was calibrated, so the comparison says nothing.",
}

DISTURBED = 1.2  # mean over median, from which on it is worth a word


def report_markdown(
    title: str, runs: Sequence[Run], *, files: Sequence[str], notes: Sequence[str] = (), appendix: Sequence[str] = ()
) -> str:
    """The report.

    Parameters
    ----------
    title : of the page.
    runs : each becomes a section.
    files : names of the files beside it.
    notes : paragraphs under the title.
    appendix : paragraphs below the runs.
    """
    parts = [f"# {title}", *notes]
    if "step.png" in files:
        parts.append("![What the time of a step goes into](step.png)")
    for run in runs:
        parts += _section(run)
    parts += appendix
    if "trace.json.gz" in files:
        sides = [side_of(r.document) for r in runs if r.document.get(side_of(r.document))]
        above = f": predicted and {sides[0]} tracks lie one above the other" if sides else ""
        parts.append(f"`trace.json.gz` opens in <https://ui.perfetto.dev>{above}.")
    parts.append("All numbers, with SI units in their names, are in `result.json`.")
    return "\n\n".join(parts) + "\n"


def _section(run: Run) -> list[str]:
    d = run.document
    parts = [f"## {run.title}"]
    verdict, side = d.get("verdict"), side_of(d)
    if verdict and side == "emulated":
        parts += [f"{x[0].upper()}{x[1:]}." for x in sentences(d)]
        parts.append(markdown_table(*value_cells(d)).rstrip())
    elif verdict:
        tolerance = d.get("tolerance")
        within = f" (tolerance {100 * tolerance:g} %)" if tolerance else ""
        parts.append(_VERDICTS.get(verdict, verdict) + within)
    header, rows = comparison_cells(d)
    if rows:
        error = f" Error: predicted / {side} - 1." if d.get(side) else ""
        parts.append(markdown_table(header, rows).rstrip())
        parts.append(f"Seconds of a kind are its work on one rank, waiting not counted.{error}")
    if d.get("predicted"):
        parts.append(markdown_table(("predicted", ""), prediction_rows(d["predicted"])).rstrip())
    if d.get("accuracy") is not None:
        parts.append(f"Accuracy on samples set aside: **{share(d['accuracy'])}**.")
    return [*parts, *_actions(d), *_expectations(d)]


def _actions(document: Mapping[str, Any]) -> list[str]:
    side = side_of(document)
    rows = [
        (a["action"], str(a["count"]), seconds(a["predicted_s"]), seconds(a[f"{side}_s"]), percent(a["error"]))
        for a in document.get("actions") or ()
    ]
    if not rows:
        return []
    what = "Each action of a step: median seconds over steps, ranks and micro-batches; a collective with its waiting."
    return [what, markdown_table(("action", "count", "predicted", side, "error"), rows).rstrip()]


def _expectations(document: Mapping[str, Any]) -> list[str]:
    rows = [
        (o["key"], _number(o["low"]), _number(o["high"]), _number(o["got"]), "yes" if o["met"] else "NO", o["source"])
        for o in document.get("expectations") or ()
    ]
    return [markdown_table(("expected", "at least", "at most", "got", "met", "source"), rows).rstrip()] if rows else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def error_sentence(document: Mapping[str, Any]) -> str:
    """The verdict in one line for the terminal."""
    error, band = (document.get("error") or {}).get("step"), document.get("repeat_band")
    spread = f", blocks of steps repeat within {percent(band).lstrip('+')}" if band is not None else ""
    tolerance = document.get("tolerance")
    allowed = f", tolerance {100 * tolerance:g} %" if tolerance else ""
    return f"{document.get('verdict')}: the step is predicted {percent(error)} off{spread}{allowed}{_disturbed(document)}"


def _disturbed(document: Mapping[str, Any]) -> str:
    """What to say when other programs held the cores so often that the mean step is far from the typical one."""
    measured = document.get("measured") or {}
    step, mean = measured.get("step_s"), measured.get("step_mean_s")
    if not step or not mean or mean < DISTURBED * step:
        return ""
    return f"; other programs held the cores: the typical step took {seconds(step)}, the mean one {seconds(mean)}"
