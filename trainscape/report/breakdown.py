"""The picture of a step: one bar a run, predicted above measured, cut into what the time goes into."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.record import record
from trainscape.report.exposure import ORDER, WAITING
from trainscape.report.tables import seconds

# Colours of Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision, and in grey.
_COLOURS = {
    "forward": "#56B4E9",
    "backward": "#0072B2",
    "update": "#009E73",
    "allreduce": "#E69F00",
    **dict.fromkeys(("reduce", "push", "scatter"), "#D55E00"),
    **dict.fromkeys(("gather", "pull"), "#F0E442"),
    "input": "#CC79A7",
    WAITING: "#DDDDDD",
}
_TRANSFERS = ("allreduce", "reduce", "push", "scatter", "gather", "pull")
_LABELS = {k: f"{'all-reduce' if k == 'allreduce' else k} (not hidden)" for k in _TRANSFERS}
_OTHER = "#999999"
LEAST = 0.05  # of the longest bar: narrower parts carry no text


@record
class Bar:
    """One bar.

    Parameters
    ----------
    group : what was run, e.g. ``"2 workers"``; bars of one group stand together under its name.
    label : ``"predicted"``, ``"measured"`` or ``"emulated"``.
    parts : kind -> seconds; they add up to the bar.
    step_s : the step's time that is written beside the bar; None: the sum of the parts.
    low_s, high_s : the step's interval or repeat band, drawn as a whisker; None: none.
    """

    group: str
    label: str
    parts: Mapping[str, float]
    step_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def draw_breakdown(path: Path, bars: Sequence[Bar], *, title: str) -> None:
    """Draw the bars into a PNG; bars whose scales differ by more than tenfold get panels of their own.

    Parameters
    ----------
    path : of the picture.
    bars : from top to bottom.
    title : above them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(bars)
    heights = [len(p) + 0.6 * len({b.group for b in p}) for p in panels]
    figure = Figure(figsize=(9.5, 1.7 + 0.42 * sum(heights) + 0.45 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    kinds = [k for k in (*ORDER, *_others(bars), WAITING) if any(b.parts.get(k, 0.0) > 0 for b in bars)]
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, panel, kinds)
    handles, labels = _legend(kinds, {b.label for b in bars if b.low_s is not None})
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150, format="png", metadata={"Software": None})


def _others(bars: Sequence[Bar]) -> list[str]:
    return sorted({k for b in bars for k in b.parts} - set(ORDER) - {WAITING})


def _panels(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Groups of bars in order; a group much shorter or longer than those before it begins a new panel."""
    panels: list[list[Bar]] = []
    for group in dict.fromkeys(b.group for b in bars):
        mine = [b for b in bars if b.group == group]
        longest = max(b.total for b in mine)
        if panels and 0.1 < longest / max(b.total for b in panels[-1]) < 10:
            panels[-1] += mine
        else:
            panels.append(mine)
    return panels


def _legend(kinds: Sequence[str], whiskers: Collection[str]) -> tuple[list[Any], list[str]]:
    """Of kinds, and of whiskers on bars with these labels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=_COLOURS.get(k, _OTHER)) for k in kinds]
    labels = [_LABELS.get(k, k) for k in kinds]
    if whiskers:
        handles.append(Line2D([], [], color="black", lw=1.1, marker="|", ms=5))
        meant = {"predicted": "80 % interval (predicted)", "measured": "p10 to p90 (measured)"}
        labels.append(", ".join(words for label, words in meant.items() if label in whiskers))
    return handles, labels


def _panel(axis: Any, bars: Sequence[Bar], kinds: Sequence[str]) -> None:
    """One panel: bars from top to bottom, in the unit that suits the longest."""
    longest = max(max(b.total, b.high_s or 0.0) for b in bars) or 1.0
    unit, factor = next((u, f) for u, f in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)) if longest >= f or u == "ns")
    y, last = 0.0, ""
    ticks: list[float] = []
    for bar in bars:
        if bar.group != last:
            y += 0.6 if ticks else 0.0
            axis.text(0, y - 0.62, bar.group, fontsize=10, fontweight="bold", va="center")
            last = bar.group
        _bar(axis, bar, y, kinds, factor, longest)
        ticks.append(y)
        y += 1.0
    axis.set(yticks=ticks, yticklabels=[b.label for b in bars])
    axis.set(ylim=(y - 0.4, -1.0), xlim=(0, 1.17 * longest / factor), xlabel=f"{unit} a step")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _bar(axis: Any, bar: Bar, y: float, kinds: Sequence[str], factor: float, longest: float) -> None:
    left = 0.0
    for kind in kinds:
        width = bar.parts.get(kind, 0.0)
        if width <= 0:
            continue
        colour = _COLOURS.get(kind, _OTHER)
        axis.barh(y, width / factor, left=left / factor, height=0.72, color=colour, edgecolor="white", lw=0.6)
        if width >= LEAST * longest:
            colour = "white" if kind in ("backward", "update") else "black"
            middle = (left + width / 2) / factor
            axis.text(middle, y - 0.05, f"{width / factor:.3g}", ha="center", va="center", fontsize=8, color=colour)
        left += width
    end = max(left, bar.high_s or 0.0)
    if bar.low_s is not None and bar.high_s is not None:
        ends, at = [bar.low_s / factor, bar.high_s / factor], y + 0.27  # below the numbers
        axis.plot(ends, [at, at], color="black", lw=1.1, marker="|", ms=5)
    axis.text(end / factor + 0.012 * longest / factor, y, seconds(bar.step_s or bar.total), va="center", fontsize=9)
