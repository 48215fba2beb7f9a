"""The picture of a comparison of systems: time and energy of a sample, a group of bars for each job, a colour for each system."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Colours of Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision, and in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
PANELS = (("s_per_sample", "time of a sample", "s"), ("energy_per_sample_j", "energy of a sample, modelled", "J"))
GROUP = 0.8  # of the width of a job: its bars
WIDTH = 0.28  # inches of a bar

Row = Mapping[str, Any]


def draw_hardware(paths: Sequence[Path], rows: Sequence[Row], *, title: str) -> None:
    """Draw the rows into one file for each path; its ending says which format. What cannot be has a cross instead of a bar.

    Parameters
    ----------
    paths : ``.png`` and ``.svg``.
    rows : of the comparison's document.
    title : above the bars.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    jobs, systems = _jobs(rows), tuple(dict.fromkeys(r["system"] for r in rows))
    width = max(7.0, 2.0 + WIDTH * len(jobs) * (len(systems) + 1))
    figure = Figure(figsize=(width, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for axis, panel in zip(figure.subplots(len(PANELS), 1, squeeze=False)[:, 0], PANELS, strict=True):
        _panel(axis, jobs, systems, *panel)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(systems), 4), frameon=False, fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "trainscape"}):  # same rows, same bytes
        for path in paths:
            is_svg = path.suffix == ".svg"
            metadata = {"Date": None, "Creator": None} if is_svg else {"Software": None}
            figure.savefig(path, dpi=150, format=path.suffix[1:], metadata=metadata)


def _jobs(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Name of a job, as short as it can be told from the others -> system -> row."""
    several = [k for k in ("scenario", "model", "strategy") if k == "model" or len({r[k] for r in rows}) > 1]
    families = {r["model"].partition("-")[0] for r in rows}
    prefix = f"{families.pop()}-" if len(families) == 1 else ""
    found: dict[str, dict[str, Row]] = {}
    for r in rows:
        name = "\n".join(r[k].removeprefix(prefix) if k == "model" else r[k] for k in several)
        found.setdefault(name, {})[r["system"]] = r
    return found


def _panel(axis: Any, jobs: Mapping[str, Mapping[str, Row]], systems: Sequence[str], key: str, title: str, unit: str) -> None:
    bar = GROUP / len(systems)
    for k, system in enumerate(systems):
        places = [j - GROUP / 2 + (k + 0.5) * bar for j in range(len(jobs))]
        values = [_value(job[system], key) if system in job else None for job in jobs.values()]
        there = [(x, v) for x, v in zip(places, values, strict=True) if v]
        colour = COLOURS[k % len(COLOURS)]
        axis.bar([x for x, _ in there], [v for _, v in there], width=0.92 * bar, color=colour, label=system)
        missing = [x for x, v in zip(places, values, strict=True) if not v]
        axis.plot(missing, [0.03] * len(missing), "x", color=colour, ms=6, transform=axis.get_xaxis_transform())
    axis.set(yscale="log", ylabel=unit, xticks=range(len(jobs)), xlim=(-0.6, len(jobs) - 0.4))
    axis.set_xticklabels(jobs, fontsize=8)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.grid(axis="y", lw=0.4, color="#BBBBBB")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="x", length=0)


def _value(row: Row, key: str) -> float | None:
    if key == "s_per_sample":
        return 1 / row["samples_per_s"] if row["samples_per_s"] else None
    value: float | None = row[key]
    return value
