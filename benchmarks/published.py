"""Writes the section on published tables of docs/validation.md, with its pictures; fits the constants of software stacks.

python benchmarks/published.py          # the section and the pictures; takes about a minute
python benchmarks/published.py --fit    # prints what hw/stacks should hold; writes nothing
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from sections import write_section

from hw.stacks import entry
from trainscape.published import TABLES, Score, scores, tables
from trainscape.published.evaluate import Predictions
from trainscape.published.score import Guess
from trainscape.published.table import KERNELS, What
from trainscape.report.published import FAR, HEADER, cells, constant_lines, error, figure, missed
from trainscape.report.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "validation.md"
IMAGES = ROOT / "docs" / "images"
TITLE = "## Published tables"

HEAD = f"""{TITLE}

Made by `python benchmarks/published.py`; do not edit. The same numbers as `trainscape validate --published` prints; figures and
sources lie in `trainscape/published/*.yaml`.

Every row is a scenario: model graph, plan, lowering, simulator. Two predictors:

- **kernels**, the default: devices, links and kernels of the catalogue alone. Rates of kernels were found on benchmarks of single
  matrix products and convolutions (`benchmarks/convolutions.py`), never on a whole model.
- **with a software stack** (`hw/stacks`), labelled with its name: what a framework adds. Its constants that were fitted on rows
  of whole models are listed, with those rows, which then are not scored.

A bar belongs to the labelled predictor where there is one, else to the default one; the other's verdict stands in brackets.
Errors of throughput and hours are relative, those of scaling points of efficiency (speed-up / devices).
"""
GRIDS = {
    ("mxnet-2016", "host.array"): ("array_seconds", [k * 10e-6 for k in range(8, 19)]),
    ("mxnet-2016", "host.copies"): ("copy_bytes_per_second", [k * 1e9 for k in range(3, 9)]),
    ("mxnet-2016-mkl", "memory.reserved"): ("reserved", [k * 0.05 for k in range(1, 7)]),
    ("tensorflow-2017-nccl", "host.decode"): ("decode_seconds", [k * 1e-4 for k in range(50, 62)]),
    ("tensorflow-2017-nccl", "devices.contention"): ("contention", [k * 0.1 for k in range(18, 27)]),
}
"""(stack, quantity) -> (field, values that are tried)"""


def section(found: Sequence[Score]) -> Iterator[str]:
    """The lines of the section."""
    yield HEAD
    yield markdown_table(HEADER, [cells(s) for s in found])
    yield "\nConstants fitted on whole models:\n"
    yield from (f"- `{line}`" for line in constant_lines(found))
    for name in TABLES:
        mine = [s for s in found if s.table.name == name]
        yield f"\n### {name}\n\n{mine[0].table.title}. {mine[0].table.source}.\n"
        yield f"![{name}: predicted against published](images/published-{name}.png)\n"
        yield from (f"- {note}" for note in mine[0].table.notes)
        for s in mine:
            yield from misses(s) if s.is_held else defaults(s)


def misses(s: Score) -> Iterator[str]:
    """The rows that are far off, by name."""
    far, what = missed(s), s.table.what
    limit = "wrong" if what is What.FITS else f"off by more than {error(FAR[what], what)}" + (" points" * (what is What.SCALING))
    yield f"\nMisses of *{what}* by {s.predictor} ({limit}): {len(far)} of {len(s.scored)}" + (":" if far else ".")
    if far:
        rows = [(g.row.name, figure(g.row.published, what), figure(g.predicted, what), error_of(g, what)) for g in far]
        yield ""
        yield markdown_table(("row", "published", "predicted", "error"), rows)


def defaults(s: Score) -> Iterator[str]:
    """Where the default predictor, beside a labelled one, misses the bar."""
    what, far = s.table.what, missed(s)
    if not s.is_ok:
        rows = "; ".join(f"{g.row.name}: {figure(g.predicted, what)} for {figure(g.row.published, what)}" for g in far[:3])
        yield f"\nThe default predictor misses this bar: {len(far)} of {len(s.scored)} rows are so far off, most of all {rows}."


def error_of(g: Guess, what: What) -> str:
    return "" if what is What.FITS else error(g.error(what), what, is_signed=True)


def draw(name: str, found: Sequence[Score]) -> None:
    """Predicted against published: the predictor that the bar is for filled, the other one hollow."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    whats = [w for w in dict.fromkeys(s.table.what for s in found) if w is not What.FITS]
    figure_, axes = plt.subplots(1, len(whats), figsize=(6.2 * len(whats), 5.4), layout="constrained", squeeze=False)
    for ax, what in zip(axes[0], whats, strict=True):
        ends: list[float] = []
        mine = [s for s in found if s.table.what is what]
        colours = {series: f"C{k % 10}" for k, series in enumerate(dict.fromkeys(g.row.series for s in mine for g in s.guesses))}
        for s in mine:
            for series, colour in colours.items():
                x, y = [g.row.published for g in s.scored if g.row.series == series], []
                y = [g.predicted for g in s.scored if g.row.series == series]
                face = colour if s.is_held else "none"
                ax.scatter(x, y, s=22, facecolors=face, edgecolors=colour, label=series if s.is_held else None, zorder=3)
                ends += x + y
        low, high = (min(ends) - 0.05, max(ends) + 0.05) if what is What.SCALING else (min(ends) * 0.85, max(ends) * 1.15)
        t, add = (0.12, True) if what is What.SCALING else (0.2, False)
        edge = [low, high]
        ax.fill_between(
            edge, [e - t if add else e * (1 - t) for e in edge], [e + t if add else e * (1 + t) for e in edge], color="0.92"
        )
        ax.plot(edge, edge, color="0.5", lw=1)
        unit = {What.SCALING: "efficiency", What.HOURS: "hours", What.THROUGHPUT: "images/s"}[what]
        ax.set(xlim=edge, ylim=edge, xlabel=f"published {unit}", ylabel=f"predicted {unit}", title=f"{name}: {what}")
        if what is not What.SCALING:
            ax.set(xscale="log", yscale="log")
        ax.legend(loc="upper left", frameon=False, fontsize=8)
    note = "hollow: the default predictor" if any(s.predictor == KERNELS and not s.is_held for s in found) else ""
    band = "grey: the bar" if What.SCALING not in whats else "grey: 12 points, or 20 %"
    figure_.supxlabel("; ".join(x for x in (band, note) if x), fontsize=8)
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure_.savefig(IMAGES / f"published-{name}.png", dpi=110)


def fit() -> None:
    """The value of each grid with which the rows that a constant is fitted on agree best, the others as they are."""
    predictions = Predictions()
    for (name, quantity), (field, values) in GRIDS.items():
        known, memory = entry(name), quantity.startswith("memory.")
        compared = [t for t in tables() if (t.what is What.FITS) == memory]
        rows = {f"{t.name}/{r.name}": (t, r) for t in compared for r in t.rows()}  # where both, scaling rather than throughput
        best: tuple[float, float] | None = None
        for value in values:
            stack, off = replace(known.stack, **{field: value}), []
            for row in known.fitted[quantity]:
                t, r = rows[row]
                off.append(abs(Guess(row=r, predicted=predictions.value(r, t.what, stack)).error(t.what)))
            if best is None or fmean(off) < best[0] - 1e-9:
                best = fmean(off), value
        text = next(r.text for r in known.rows if r.quantity == quantity)
        print(
            f"{name}: {quantity}: best {best[1]:g} (mean error {best[0]:.3f}), in the file {text}" if best else name, flush=True
        )


def main() -> None:
    """Score, draw, write."""
    if "--fit" in sys.argv[1:]:
        fit()
        return
    found = []
    for s in scores():
        found.append(s)
        print(*cells(s), flush=True)
    for name in TABLES:
        draw(name, [s for s in found if s.table.name == name])
    write_section(PAGE, TITLE, "\n".join(section(found)) + "\n")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
