"""Pictures of inference in fixed point: accuracy and error over fraction bits, and from layer to layer, by place of the cut."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.fixed_point import Rounding
from hw.nfu.config import Cut, Overflow
from trainscape.report.nfu_accuracy import room

# Colours of Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision, and in grey.
COLOURS = {
    Rounding.FLOOR: "#D55E00", Rounding.ZERO: "#E69F00", Rounding.NEAREST: "#0072B2", Rounding.STOCHASTIC: "#009E73",
}  # fmt: skip
MARKS = {Rounding.FLOOR: "v", Rounding.ZERO: "s", Rounding.NEAREST: "o", Rounding.STOCHASTIC: "D"}
LINES = {Overflow.SATURATE: "-", Overflow.WRAP: ":"}
IDEAL = "#BBBBBB"
PLACES = {
    Cut.PRODUCT: "cut in the multipliers:\neach product",
    Cut.TREE: "cut behind the adder trees:\nonce a cycle",
    Cut.OUTPUT: "exact sums, cut before the function:\nonce a neuron",
}
Row = Mapping[str, Any]


def draw_accuracy(paths: Sequence[Path], document: Row, *, title: str) -> None:
    """Draw a sweep, into one file for each path; its ending says which format.

    Parameters
    ----------
    paths : ``.png`` and ``.svg``.
    document : of `trainscape.nfu.accuracy.sweep`, and ``word``.
    title : above.
    """
    _save(accuracy_figure(document, title=title), paths)


def draw_layers(paths: Sequence[Path], document: Row, *, title: str) -> None:
    """Draw what becomes of the error from layer to layer; parameters as of `draw_accuracy`."""
    _save(layers_figure(document, title=title), paths)


def _save(figure: Any, paths: Sequence[Path]) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with mpl.rc_context({"svg.hashsalt": "trainscape"}):  # same rows, same bytes
        for path in paths:
            is_svg = path.suffix == ".svg"
            metadata = {"Date": None, "Creator": None} if is_svg else {"Software": None}
            figure.savefig(path, dpi=150, format=path.suffix[1:], metadata=metadata)


def accuracy_figure(document: Row, *, title: str = "") -> Any:
    """Accuracy, where there are labels, and error of the logits over fraction bits, by itself."""
    from matplotlib.figure import Figure

    exact = document["float32"]["accuracy"]
    figure = Figure(figsize=(11.5, 3.8 if exact is None else 6.6), layout="constrained")
    axes = figure.subplots(1 if exact is None else 2, len(PLACES), sharex=True, sharey="row", squeeze=False)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for column, (cut, place) in enumerate(PLACES.items()):
        upper, lower = axes[0, column], axes[-1, column]
        upper.set_title(place, fontsize=10)
        if exact is not None:
            upper.axhline(100 * exact, color="black", ls="--", lw=1.0, label=f"float32, {100 * exact:.1f} %", zorder=1)
            _curves(upper, document, cut, lambda r: 100 * r["accuracy"])
            _outside(upper, document, is_named=False)
        _curves(lower, document, cut, lambda r: r["error"]["rms"])
        _outside(lower, document, is_named=True)
        lower.set(yscale="log", xlabel=f"fraction bits of {document['word']}")
        lower.set_xticks([r["fraction"] for r in document["ideal"]])
    if exact is not None:
        axes[0, 0].set_ylabel("accuracy, %")
    axes[-1, 0].set_ylabel("error of the logits, rms")
    _finish(figure, axes)
    return figure


def layers_figure(document: Row, *, title: str = "") -> Any:
    """Error of what layers make, relative to what float32 makes, by itself."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    axes = figure.subplots(1, len(PLACES), sharex=True, sharey=True, squeeze=False)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for axis, (cut, place) in zip(axes[0], PLACES.items(), strict=True):
        axis.set_title(place, fontsize=10)
        for kind in document["layers"]:
            if kind["cut"] == cut:
                names, off = zip(*((r["layer"], 100 * r["relative"]) for r in kind["layers"]), strict=True)
                r = kind["rounding"]
                axis.plot(names, off, color=COLOURS[r], marker=MARKS[r], ms=4.5, lw=1.4, label=r, zorder=3)
        axis.set_yscale("log")
        axis.tick_params(axis="x", rotation=90, labelsize=8)
    axes[0, 0].set_ylabel(f"error of a layer's results, %,\n{document['layers_at']} fraction bits of {document['word']}")
    _finish(figure, axes)
    return figure


def _finish(figure: Any, axes: Any) -> None:
    """Grid, frame, and one legend for all."""
    for axis in axes.flat:
        axis.grid(color="#E6E6E6", lw=0.7, zorder=0)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    handles = {label: h for h, label in zip(*axes[0, 0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)


def _curves(axis: Any, document: Row, cut: Cut, value: Any) -> None:
    ideal = document["ideal"]
    label = "ideal: only operands and results are rounded"
    axis.plot([r["fraction"] for r in ideal], [value(r) for r in ideal], color=IDEAL, lw=5, label=label, zorder=2)
    for rounding in Rounding:
        for overflow in Overflow:
            mine = (cut, rounding, overflow)
            rows = [r for r in document["points"] if (r["cut"], r["rounding"], r["overflow"]) == mine]
            if rows:
                axis.plot(
                    [r["fraction"] for r in rows], [value(r) for r in rows], color=COLOURS[rounding], ls=LINES[overflow], lw=1.4,
                    marker=MARKS[rounding], ms=4.5, mfc="white" if overflow is Overflow.WRAP else COLOURS[rounding],
                    label=f"{rounding}, sums {overflow}", zorder=3 if overflow is Overflow.WRAP else 4,
                )  # fmt: skip


def _outside(axis: Any, document: Row, *, is_named: bool) -> None:
    """Shade the formats that cannot hold every number of the float32 net."""
    last, fits = document["ideal"][-1]["fraction"], room(document)
    if fits < last:
        start = max(fits, document["ideal"][0]["fraction"] - 1) + 0.5
        axis.axvspan(start, last + 0.4, color="#F2F2F2", zorder=0, lw=0)
        if is_named:
            said, across = f"numbers up to {document['float32']['greatest']:.3g}\ndo not fit", axis.get_xaxis_transform()
            axis.text(
                last + 0.25, 0.03, said, transform=across, rotation=90, ha="right", va="bottom", fontsize=8, color="#666666"
            )  # fmt: skip
