"""The picture of a comparison: one bar a row, best first, cut into computing, transfers that nothing hides, and waiting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainscape.report.tables import rate, seconds

# Colours of Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision, and in grey.
PARTS = (
    ("compute_s", "computing", "#0072B2"),
    ("exposed_comm_s", "transfers that nothing hides", "#E69F00"),
    ("waiting_s", "waiting for other things", "#DDDDDD"),
)
HEIGHT = 0.42  # inches of a bar


def draw_comparison(paths: Sequence[Path], rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Draw the rows that fit, into one file for each path; its ending says which format.

    Parameters
    ----------
    paths : ``.png`` and ``.svg``.
    rows : of the comparison's document.
    title : above the bars.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    able = [r for r in rows if r["fits"]]
    if not able:
        return
    groups = {r["file"]: r["scenario"] for r in able}
    figure = Figure(figsize=(9.5, 1.5 + HEIGHT * len(able) + 0.6 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(groups), 1, squeeze=False, height_ratios=[sum(r["file"] == g for r in able) + 0.8 for g in groups]
    )[:, 0]
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for axis, (file, name) in zip(axes, groups.items(), strict=True):
        _panel(axis, [r for r in able if r["file"] == file], name if len(groups) > 1 else "")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "trainscape"}):  # same rows, same bytes
        for path in paths:
            is_svg = path.suffix == ".svg"
            metadata = {"Date": None, "Creator": None} if is_svg else {"Software": None}
            figure.savefig(path, dpi=150, format=path.suffix[1:], metadata=metadata)


def _panel(axis: Any, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    longest = max(r["step_s"] for r in rows)
    unit, factor = next((u, f) for u, f in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)) if longest >= f or u == "ns")
    left = [0.0] * len(rows)
    for key, label, colour in PARTS:
        widths = [r[key] / factor for r in rows]
        axis.barh(range(len(rows)), widths, left=left, height=0.72, color=colour, edgecolor="white", lw=0.6, label=label)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for k, r in enumerate(rows):
        text = f"{seconds(r['step_s'])}, {rate(r['samples_per_s'])} samples/s"
        axis.text(1.01 * r["step_s"] / factor, k, text, va="center", fontsize=9)
    axis.set(yticks=range(len(rows)), yticklabels=[r["strategy"] for r in rows], xlabel=f"{unit} a step, a rank")
    axis.set(ylim=(len(rows) - 0.5, -0.6), xlim=(0, 1.35 * longest / factor))
    if title:
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)
