"""The picture of a calibration: how far each fitted kernel is from what was measured, over the time that it takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hw.profile import Profile, Row

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")  # Okabe and Ito, 2008
_MARKERS = ("o", "s", "^", "D")
NAMED = 6  # kernels with a colour of their own; the others share one


def draw_residuals(path: Path, profile: "Profile") -> None:
    """Draw a profile's residuals into a PNG, one panel for each number of busy cores."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = sorted({r.busy for r in profile.rows}) or [1]
    figure = Figure(figsize=(9.5, 1.2 + 2.9 * len(levels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(levels), 1, squeeze=False, sharex=True)[:, 0]
    figure.suptitle(f"Kernels of {profile.cpu}: fitted against measured", fontsize=12, x=0.01, ha="left")
    named = _named(profile)
    for axis, busy in zip(axes, levels, strict=True):
        _panel(axis, [r for r in profile.rows if r.busy == busy], named, busy)
    axes[-1].set_xlabel("measured, seconds of a call")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})


def _named(profile: "Profile") -> tuple[str, ...]:
    """The kernels that took the most of the measured time: they matter, and get a colour."""
    total: dict[str, float] = {}
    for r in profile.rows:
        total[r.kernel] = total.get(r.kernel, 0.0) + r.measured_s
    return tuple(sorted(total, key=lambda k: -total[k])[:NAMED])


def _panel(axis: Any, rows: "list[Row]", named: tuple[str, ...], busy: int) -> None:
    groups = [(k, [r for r in rows if r.kernel == k]) for k in named]
    groups.append(("all others", [r for r in rows if r.kernel not in named]))
    axis.axhspan(-10, 10, color="#EEEEEE", zorder=0)
    axis.axhline(0, color="black", lw=0.8, zorder=1)
    for i, (name, points) in enumerate(groups):
        x, y = [r.measured_s for r in points], [100 * (r.fitted_s / r.measured_s - 1) for r in points]
        colour = _COLOURS[-1] if name == "all others" else _COLOURS[i % len(_COLOURS)]
        label = name.removeprefix("cpu.")
        axis.scatter(x, y, s=14, color=colour, marker=_MARKERS[i % len(_MARKERS)], alpha=0.8, label=label, lw=0)
    axis.set_xscale("log")
    axis.set_ylabel("fitted - measured, %")
    axis.set_title(f"{busy} core{'s' if busy > 1 else ''} busy; the grey band is 10 %", fontsize=10, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
