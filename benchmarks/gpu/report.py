"""The document of a run as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
Column = tuple[str, Callable[[Result], str]]
UNDER_WAY, INTERRUPTED = "under way", "interrupted"
LEFT = {UNDER_WAY: "to come", INTERRUPTED: "left out, as the run was interrupted"}
"""State of a section -> why items of it are missing; else because of the time."""


def seconds(value: float) -> str:
    """A time as text."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def _nbytes(value: float) -> str:
    return f"{value / 1e6:,.2f} MB"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f} %"


def _time(times: Result) -> str:
    return f"{seconds(times['median'])} ({seconds(times['least'])})"


def _rivals(r: Result) -> str:
    return "; ".join(f"{name}: {_time(t)}" for name, t in r["seconds"].items() if name != "ours") or "–"


def _number(key: str, form: str = "{:.2f}") -> Callable[[Result], str]:
    return lambda r: "–" if r.get(key) is None else form.format(r[key])


def _text(key: str) -> Callable[[Result], str]:
    return lambda r: str(r.get(key, "") or "–")


COMPARED: tuple[Column, ...] = (
    ("ours: median (least)", lambda r: _time(r["seconds"]["ours"])),
    ("others", _rivals),
    ("ratio to the fastest", _number("ratio")),
    ("results differ by", _number("difference", "{:.1e}")),
    ("ours computes in", _text("ours")),
    ("others in", _text("theirs")),
)
COLUMNS: Mapping[str, Sequence[Column]] = {
    "check": (
        ("cases", _text("cases")),
        ("wrong", lambda r: str(len(r["wrong"]))),
        ("left out", _text("left")),
        ("how", lambda r: "; ".join(r["wrong"][:3]) or r.get("absent") or "–"),
    ),
    "gemm": (*COMPARED, ("ours, Tflop/s", _number("tflops"))),
    "convolution": (*COMPARED, ("ours, Tflop/s", _number("tflops"))),
    "memory": (*COMPARED, ("GB/s", _number("gbytes_per_s", "{:,.0f}")), ("of a copy", _number("of_copy"))),
    "steps": (*COMPARED, ("samples/s", _number("samples_per_s", "{:,.0f}")), ("put on the device", _text("captured"))),
    "predict": (
        ("step", lambda r: seconds(r["step_s"])),
        ("80 % interval", lambda r: " to ".join(map(seconds, r["interval_s"]))),
        ("memory", lambda r: _nbytes(r["memory_bytes"])),
        ("written", _text("created")),
    ),
    "validate": (
        ("predicted", lambda r: seconds(r["predicted_s"])),
        ("measured: median (least)", lambda r: _time(r["seconds"])),
        ("error", lambda r: _percent(r["step_error"])),
        ("memory predicted", lambda r: _nbytes(r["predicted_bytes"])),
        ("by the driver's counter", lambda r: "–" if r["measured_bytes"] is None else _nbytes(r["measured_bytes"])),
        ("error of it", lambda r: _percent(r["memory_error"])),
    ),
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines]


def _plain(r: Result) -> str:
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in r.items() if not isinstance(v, Mapping | list)}
    return "; ".join(f"{k} {v}" for k, v in shown.items()) or "–"


def state_of(section: Mapping[str, Any]) -> str:
    """How far a section is: its state, items with a result and all, and its time."""
    items, left = section["items"], section["left_out"]
    good, asked = sum("error" not in r for r in items.values()), len(items) + len(left)
    return ", ".join([section["state"], *([f"{good} of {asked}"] if asked else []), f"{section['took_s']:.1f} s"])


def _section(name: str, section: Mapping[str, Any]) -> list[str]:
    lines = [f"## {section['title']}", "", state_of(section), ""]
    good = {n: r for n, r in section["items"].items() if "error" not in r}
    columns = COLUMNS.get(name, (("what it is", _plain),))
    if good:
        rows = [[n, *(show(r) for _, show in columns)] for n, r in good.items()]
        lines += [*table(["", *(title for title, _ in columns)], rows), ""]
    for n, r in section["items"].items():
        if "error" in r:
            lines += [f"- **{n} failed**: {' '.join(str(r['error']).split())}"]
    if section["left_out"]:
        why = LEFT.get(section["state"], "left out, as the time was over")
        lines += [f"- {why}: {', '.join(section['left_out'])}"]
    lines += [f"- {note}" for note in section["notes"]]
    return [*lines, ""] if lines[-1] else lines


def markdown(document: Mapping[str, Any]) -> str:
    """All of it; in the simulator labelled as such, without a ratio."""
    label = [f"**{document['label']}**", ""] if document["label"] else []
    lines = ["# A run on a GPU", "", *label]
    took = f"{document['took_s']:.0f} of {document['seconds']:.0f} s"
    lines += [f"Begun {document['created']}; {took}{', interrupted' if document['is_interrupted'] else ''}.", ""]
    lines += ["Times are medians, the least in brackets. A ratio is their time / our time: above 1, ours is faster.", ""]
    lines += ["## Numbers to reach", ""]
    count = "{measured} of {asked}"
    points = [count.format(**t) if t["asked"] else "–" for t in document["targets"]]
    rows = [[t["what"], t["wanted"], t["shown"] or "–", n, t["state"]] for t, n in zip(document["targets"], points, strict=True)]
    lines += [*table(["what", "to reach", "measured", "points", "state"], rows), ""]
    for name, section in document["sections"].items():
        lines += [line for part in ([""] if lines[-1] else [], _section(name, section)) for line in part]
    return "\n".join(lines).rstrip() + "\n"
