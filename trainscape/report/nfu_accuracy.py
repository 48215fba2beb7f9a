"""Tables, sentences and the page of `trainscape nfu accuracy`, from its document."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.fixed_point import Rounding
from hw.nfu.config import Cut, Overflow
from trainscape.report.tables import markdown_table, plain_table

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
Cells = tuple[list[str], list[list[str]]]
WHAT = {"accuracy": "Accuracy and error of the logits over fraction bits", "layers": "Error layer by layer"}
CUTS = {Cut.PRODUCT: "each product", Cut.TREE: "each tree", Cut.OUTPUT: "each neuron"}
NOTHING_LEFT = 0.999  # of relative error: as if the result were zero
MOST_COLUMNS = 8  # of fractions, on a terminal
GUPTA = (("float32", "", 0.77), ("14", "stochastic", 0.83), ("12", "stochastic", 0.90))
"""Test error in percent of a LeNet-like net on MNIST, trained in 16-bit fixed point with so many fraction bits: Gupta et al.,
Deep Learning with Limited Numerical Precision (ICML 2015), section 4; quoted from memory, not re-read."""


def title(document: Row) -> str:
    """Of page and picture."""
    n, has_labels = document["samples"], document["float32"]["accuracy"] is not None
    what = f"{n:,} digits set aside" if has_labels else f"{n:,} image{'s' if n > 1 else ''} of noise"
    return f"{document['model']} in {document['word']}-bit fixed point on {document['device']}, {what}"


def accuracy_cells(document: Row, fractions: Sequence[int]) -> Cells:
    """Percent told right, by arithmetic and fraction bits."""
    return _by_fraction(document, fractions, lambda r: f"{100 * r['accuracy']:.1f}")


def error_cells(document: Row, fractions: Sequence[int]) -> Cells:
    """Root mean square of the logits' errors."""
    return _by_fraction(document, fractions, lambda r: f"{r['error']['rms']:.3g}")


def _by_fraction(document: Row, fractions: Sequence[int], cell: Callable[[Row], str]) -> Cells:
    """A line an arithmetic, a column a fraction; of what overflow does the first."""
    ideal = {r["fraction"]: r for r in document["ideal"]}
    found = {(r["cut"], r["rounding"], r["fraction"]): r for r in _kept(document)}
    lines = [["ideal", "", *(cell(ideal[f]) for f in fractions)]]
    lines += [[CUTS[c], r, *(cell(found[c, r, f]) for f in fractions)] for c in Cut for r in Rounding]
    return ["cut", "rounding", *map(str, fractions)], lines


def _kept(document: Row) -> list[Row]:
    """Points with the first of what overflow does."""
    return [r for r in document["points"] if r["overflow"] == document["overflows"][0]]


def bias_cells(document: Row) -> Cells:
    """The mean error of each layer's sums, in steps of the format."""
    step = 2.0 ** -document["layers_at"]
    header = ["layer", "products N", "not zero", "-N/2", "by operands", *(f"measured, {r}" for r in Rounding)]
    lines = []
    for b in document["biases"]:
        measured = [_steps(b["measured"][r], step) for r in Rounding]
        counts = [f"{b['products']:,}", f"{b['nonzero_products']:,.1f}"]
        lines.append([b["layer"], *counts, _steps(b["predicted"], step), _steps(b["predicted_by_operands"], step), *measured])
    return header, lines


def _steps(value: float | None, step: float) -> str:
    return "" if value is None else f"{round(value / step, 2) + 0.0:+,.2f}"  # no -0.00


def layer_cells(document: Row) -> Cells:
    """The error of each layer's results, of all before it too, relative to the float32 net's root mean square there."""
    kinds = [(k["cut"], k["rounding"]) for k in document["layers"]]
    shown = [k for k in kinds if k[0] == Cut.PRODUCT or k == (Cut.OUTPUT, Rounding.NEAREST)]
    by = {(k["cut"], k["rounding"]): {r["layer"]: r for r in k["layers"]} for k in document["layers"]}
    names = list(next(iter(by.values())))
    lines = [[n, *(f"{100 * by[k][n]['relative']:.2f} %" for k in shown)] for n in names]
    return ["layer", *(f"{CUTS[c]}, {r}" for c, r in shown)], lines


def tables(document: Row) -> list[tuple[str, Cells]]:
    """Title and cells of each table for a terminal: all fractions where there is room, else every second one."""
    fractions = _fractions(document)
    return _tables(document, fractions if len(fractions) <= MOST_COLUMNS else fractions[::2])


def _fractions(document: Row) -> list[int]:
    return [r["fraction"] for r in document["ideal"]]


def _tables(document: Row, fractions: Sequence[int]) -> list[tuple[str, Cells]]:
    exact, sums, found = document["float32"]["accuracy"], f"sums {document['overflows'][0]}", list[tuple[str, Cells]]()
    if exact is not None:
        found.append((f"Accuracy by fraction bits, %; float32 {100 * exact:.1f}; {sums}", accuracy_cells(document, fractions)))
    found.append((f"Error of the logits by fraction bits, root mean square; {sums}", error_cells(document, fractions)))
    if "biases" in document:
        f = document["layers_at"]
        found.append((f"Mean error of sums whose products are cut one by one, in steps of 2^-{f}", bias_cells(document)))
        found.append((f"Error of what layers make with {f} fraction bits, relative to what float32 makes", layer_cells(document)))
    return found


def terminal_table(name: str, cells: Cells) -> "Table":
    """One of `tables`."""
    return plain_table(*cells, title=name)


def sentences(document: Row) -> list[str]:
    """What the figures say: range, bias, and how this compares with what is published."""
    said = (f(document) for f in (_range, _least, _bias, _silenced, _nearest_or_stochastic, _gupta))
    return [s for s in said if s]


def room(document: Row) -> int:
    """Fraction bits of a word that can hold every number of the float32 net; below 0 where none can."""
    return int(document["word"]) - 1 - int(document["float32"]["greatest"]).bit_length()


def _range(document: Row) -> str:
    exact, word, most = document["float32"], document["word"], room(document)
    greatest = f"The greatest number in float32 is {exact['greatest']:.3g} (in {exact['greatest_in']})"
    if most < 0:
        return f"{greatest}, which no words of {word} bits can hold."
    said = f"{greatest}, so {word} bits leave room for {most} fraction bits. With more, words saturate"
    wraps = [
        r for r in document["points"]
        if (r["cut"], r["rounding"], r["overflow"]) == (Cut.PRODUCT, Rounding.NEAREST, Overflow.WRAP) and r["fraction"] > most
    ]  # fmt: skip
    if not wraps or wraps[0]["accuracy"] is None:
        return said + "."
    told = ", ".join(f"{100 * r['accuracy']:.1f} % with {r['fraction']}" for r in wraps)
    return f"{said}; where sums wrap around instead, accuracy falls to {told}."


def _least(document: Row) -> str:
    """From how many fraction bits on the net is as good as in float32."""
    exact = document["float32"]["accuracy"]
    if exact is None:
        return ""
    one, parts = 1.0 / document["samples"], []
    for cut in Cut:
        found = []
        for rounding in Rounding:
            good = [
                r["fraction"] for r in _kept(document)
                if (r["cut"], r["rounding"]) == (cut, rounding) and r["accuracy"] >= exact - 1.5 * one
            ]  # fmt: skip
            found.append(f"{rounding} {min(good, default='none')}")
        parts.append(f"{CUTS[cut]}: {', '.join(found)}")
    least = f"Fewest fraction bits with at most one digit ({100 * one:.2f} %) less right than in float32"
    return f"{least}, cut at {'; at '.join(parts)}."


def _bias(document: Row) -> str:
    rows = [r for r in document.get("biases", ()) if r["measured"][Rounding.FLOOR] and r["predicted"]]
    if not rows:
        return ""
    shares, off = zip(
        *((m / r["predicted"], abs(m / r["predicted_by_operands"] - 1)) for r in rows for m in [r["measured"][Rounding.FLOOR]]),
        strict=True,
    )
    return (
        f"Products that are cut off downwards would lower a sum of N by N 2^-{document['layers_at'] + 1} if no operand ended in "
        f"zeros; measured are {min(shares):.2f} to {max(shares):.2f} of it. Adding up what each product can lose, with the "
        f"neurons that the layers are given, predicts it within {100 * max(off):.1f} %."
    )


def _gupta(document: Row) -> str:
    exact = document["float32"]["accuracy"]
    at = {(r["fraction"], r["rounding"]): r for r in _kept(document) if r["cut"] == Cut.OUTPUT}
    bits = [f for f in (14, 12, 10) if (f, Rounding.NEAREST) in at]
    if exact is None or document["word"] != 16 or not bits:
        return ""
    ours = []
    for r in (Rounding.STOCHASTIC, Rounding.NEAREST):
        ours.append(f"{r} " + ", ".join(f"{100 * (1 - at[f, r]['accuracy']):.1f} % ({f})" for f in bits))
    theirs = ", ".join(f"{e:.2f} % {f'({a}, {r})' if r else f'({a})'}" for a, r, e in GUPTA)
    return (
        f"Test error with exact sums, rounded once a neuron, by fraction bits: {'; '.join(ours)}; float32 "
        f"{100 * (1 - exact):.1f} %. Gupta et al. 2015 trained a LeNet-like net on MNIST in 16 bits: {theirs} (quoted from "
        f"memory, not re-read). The two differ in kind. Theirs learnt within the range of its words; ours learnt in float32, and "
        f"where its numbers do not fit no rounding helps. And stochastic rounding is of use in training, where nearest forgets "
        f"every update of less than half a step; inference adds up no updates."
    )


def _silenced(document: Row) -> str:
    """Where cutting products off downwards leaves nothing, if it does."""
    kinds = {(k["cut"], k["rounding"]): k["layers"] for k in document.get("layers", ())}
    rows = kinds.get((Cut.PRODUCT, Rounding.FLOOR), ())
    silent = [r["layer"] for r in rows if r["relative"] > NOTHING_LEFT]
    if not silent:
        return ""
    return (
        f"Where each product is cut off downwards, nothing is left of the signal from {silent[0]} on: sums lie so low that the "
        f"functions behind them give the same whatever the image."
    )


def _nearest_or_stochastic(document: Row) -> str:
    """Which has the smaller error where products are cut, for formats that hold the logits."""
    off = {(r["fraction"], r["rounding"]): r["error"]["rms"] for r in _kept(document) if r["cut"] == Cut.PRODUCT}
    fits = [f for f in _fractions(document) if f <= room(document)]
    better = [f for f in fits if off[f, Rounding.STOCHASTIC] < off[f, Rounding.NEAREST]]
    worse = [f for f in fits if f not in better]
    if not better or not worse:
        return ""
    return (
        f"Where products are cut one by one, stochastic rounding has the smaller error with {_listed(better)} fraction bits, "
        f"nearest with {_listed(worse)}: nearest makes every product of less than half a step zero, which matters where steps "
        f"are large."
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def page(document: Row, pictures: Sequence[str]) -> str:
    """``report.md``."""
    parts = [f"# {title(document)}", f"Weights: {document['origin']}."]
    parts += [f"![{WHAT[Path(p).stem]}]({p})" for p in pictures]
    parts += sentences(document)
    for name, cells in _tables(document, _fractions(document)):
        parts += [f"**{name}**", markdown_table(*cells).rstrip()]
    parts.append("`result.json` has every figure: mean, root mean square, bias and maximum of all errors.")
    return "\n\n".join(parts) + "\n"
