"""The picture of an exploration: energy over time, area over time; points worth having stand out, known designs are named."""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any

from graph.record import record
from trainscape.nfu.front import front_of

# Colours of Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision, and in grey.
FRONT, LINE, DESIGN = "#D55E00", "#0072B2", "#000000"
MAP = "viridis"
ABOVE, BELOW = 6, -13  # points from a design to its name
NAME = (90, 12)  # points that a name takes, at most

Row = Mapping[str, Any]


@record
class Quantity:
    """What an axis shows.

    Parameters
    ----------
    key : of a row.
    name : in words.
    units : the largest first, and what each is in SI.
    is_log : it spans orders of magnitude.
    """

    key: str
    name: str
    units: tuple[tuple[str, float], ...]
    is_log: bool = True


TIME = Quantity(key="time_s", name="time", units=(("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)))
ENERGY = Quantity(key="energy_J", name="energy", units=(("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)))
AREA = Quantity(key="area_m2", name="area", units=(("mm$^2$", 1e-6),))
ACCURACY = Quantity(key="accuracy", name="accuracy on the digits", units=(("%", 0.01),), is_log=False)


def draw_front(paths: Sequence[Path], document: Row, *, title: str) -> None:
    """Draw an exploration, into one file for each path; its ending says which format.

    Parameters
    ----------
    paths : ``.png`` and ``.svg``.
    document : ``points``, ``front`` and ``designs``; where points have an accuracy, that is drawn over energy.
    title : above.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = document["points"]
    panels = [(TIME, ENERGY), (TIME, AREA), *([(ENERGY, ACCURACY)] if "accuracy" in rows[0] else [])]
    figure = Figure(figsize=(1.0 + 5.2 * len(panels), 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels))
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    widths = sorted({r["tn"] for r in rows})
    scale, colours = _scale(len(widths)), [widths.index(r["tn"]) for r in rows]
    dots = None
    for axis, (across, up) in zip(axes, panels, strict=True):
        at = _At(across, up, rows)
        dots = axis.scatter(*at(rows), c=colours, **scale, s=16, alpha=0.6, lw=0, zorder=2, rasterized=len(rows) > 2000)
        _panel(axis, at, document)
    _legend(figure, axes)
    _width_bar(figure, dots, axes[-1], widths)
    with mpl.rc_context({"svg.hashsalt": "trainscape"}):  # same rows, same bytes
        for path in paths:
            is_svg = path.suffix == ".svg"
            metadata = {"Date": None, "Creator": None} if is_svg else {"Software": None}
            figure.savefig(path, dpi=150, format=path.suffix[1:], metadata=metadata)


class _At:
    """Where rows stand in a panel.

    Parameters
    ----------
    across, up : what its axes show.
    rows : from which units are chosen.
    """

    def __init__(self, across: Quantity, up: Quantity, rows: Sequence[Row]) -> None:
        self.across, self.up = across, up
        self.units = tuple(_unit([r[q.key] for r in rows], q.units) for q in (across, up))

    def __call__(self, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        x, y = ([r[q.key] / u[1] for r in rows] for q, u in zip((self.across, self.up), self.units, strict=True))
        return x, y


def _unit(values: Sequence[float], units: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The largest unit in which the middle value is at least 1."""
    middle = sorted(values)[len(values) // 2]
    return next(((u, f) for u, f in units if middle >= f), units[-1])


def _scale(count: int) -> dict[str, Any]:
    """A colour for each of `count` widths."""
    import matplotlib as mpl
    from matplotlib.colors import BoundaryNorm, ListedColormap

    steps = max(count, 2)
    colours = [mpl.colormaps[MAP](0.9 * i / (steps - 1)) for i in range(steps)]  # what comes after 0.9 is too pale on white
    return {"cmap": ListedColormap(colours), "norm": BoundaryNorm(range(steps + 1), steps)}


def _panel(axis: Any, at: _At, document: Row) -> None:
    """Everything but the dots themselves."""
    rows, keys = document["points"], (at.across.key, at.up.key)
    axis.scatter(*at(document["front"]), s=34, facecolors="none", edgecolors=FRONT, lw=1.0, zorder=3, label="worth having")
    best = sorted((rows[i] for i in front_of(rows, keys)), key=lambda r: float(r[at.across.key]))
    axis.step(*at(best), where="post", color=LINE, lw=1.5, zorder=4, label="best of the two that a panel shows")
    near = _mark_designs(axis, at, document["designs"], rows)
    for which, q, (unit, _) in zip("xy", (at.across, at.up), at.units, strict=True):
        axis.set(**{f"{which}label": f"{q.name} ({unit})", **({f"{which}scale": "log"} if q.is_log else {})})
        if q.is_log:
            _plain_ticks(getattr(axis, f"{which}axis"), getattr(axis, f"get_{which}lim")())
    if at.up.is_log:  # else many are as accurate as each other: their names would lie upon each other
        _name_designs(axis, at, near)
    axis.grid(which="major", color="#E6E6E6", lw=0.7, zorder=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _mark_designs(axis: Any, at: _At, designs: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Mark the designs that lie near the points, and return them; one that is far away would leave no room for the points."""
    near = [d for d in designs if all(_is_near(d[q.key], [r[q.key] for r in rows]) for q in (at.across, at.up) if q.is_log)]
    axis.plot(*at(near), marker="*", ms=13, color=DESIGN, mec="white", mew=0.8, ls="", zorder=6)
    return near


def _name_designs(axis: Any, at: _At, near: Sequence[Row]) -> None:
    """Write their names beside them: above to the right, below where another name is in the way."""
    taken: list[tuple[float, float]] = []
    for d, x, y in sorted(zip(near, *at(near), strict=True), key=lambda t: -t[2]):
        left, middle = axis.transData.transform((x, y)) * 72 / axis.figure.dpi
        is_free = all(abs(left - a) > NAME[0] or abs(middle + ABOVE - b) > NAME[1] for a, b in taken)
        offset = ABOVE if is_free else BELOW
        taken.append((left, middle + offset))
        axis.annotate(
            d["name"], (x, y), xytext=(7, offset), textcoords="offset points", fontsize=8.5, zorder=7,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _is_near(value: float, values: Sequence[float]) -> bool:
    return min(values) / 5 <= value <= 5 * max(values)


def _plain_ticks(axis: Any, limits: tuple[float, float]) -> None:
    """Numbers as people write them, also between powers of ten where there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = log10(limits[1] / limits[0])
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 100 else f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes[0].get_legend_handles_labels()
    star = Line2D([], [], marker="*", ms=12, color=DESIGN, mec="white", ls="")
    figure.legend(
        [*handles, star],
        [*labels, "designs of the catalogue that are not far off"],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )


def _width_bar(figure: Any, dots: Any, axis: Any, widths: Sequence[int]) -> None:
    """Which colour is which Tn; of many, every so many are written."""
    every = -(-len(widths) // 16)
    bar = figure.colorbar(dots, ax=axis, ticks=[i + 0.5 for i in range(len(widths))], pad=0.02)
    bar.set_ticklabels([str(w) if i % every == 0 else "" for i, w in enumerate(widths)])
    bar.set_label("Tn = Ti")
    bar.ax.tick_params(length=0)
