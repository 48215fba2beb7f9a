"""Writes the section on strategies of docs/validation.md: ring, tree, parameter server and hybrid, predicted and measured here.

    python benchmarks/strategies.py

Needs a calibration profile (`trainscape calibrate`) and a quiet computer; takes about two minutes. Two workers train three nets
under each strategy. Nets take turns, so that a slow moment of the computer meets all strategies alike.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from statistics import median

from sections import write_section

from trainscape.build import Built
from trainscape.compare import as_variant
from trainscape.load import load
from trainscape.report.tables import markdown_table
from trainscape.scenario import Scenario
from trainscape.strategies import VARIANTS
from trainscape.validate import Validation, validate

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "docs" / "validation.md", ROOT / "docs" / "images" / "validation-strategies.png"
BASE = ROOT / "scenarios" / "digits-lenet-2workers.yaml"
NETS: Mapping[str, tuple[str, ...]] = {
    "LeNet, 8x8 digits, batch 64": (),
    "LeNet-5, 28x28 images, batch 64": ("model.input=mnist", "run.data=synthetic"),
    "AlexNet of one tower, 1/16 wide, 32x32 images, batch 32": (
        "model.name=alexnet-owt", "model.input=cifar10", "model.width=0.0625", "model.depth=5", "model.batch=32",
        "run.data=synthetic",
    ),
}  # fmt: skip
"""Title -> settings on top of `BASE`."""
STRATEGIES = ("ring", "tree", "parameter_server", "hybrid")
ROUNDS = 3
TRIES = 3  # of a run that ended inconclusive
LIMIT = 0.20

TITLE = "## Strategies on this host"
HEAD = f"""{TITLE}

Made by `python benchmarks/strategies.py`; do not edit.

Two workers train each net under each strategy; every cell is the median of {ROUNDS} comparisons, which took turns. Predictions
were made before, from kernels and the link alone. *Bytes* are those of a step on every way from rank to rank, counted by the
transport: they equal the prediction exactly where it says so. *Inconclusive* counts comparisons in which a probe had moved.

![Strategies, predicted and measured](images/validation-strategies.png)

"""
HEADER = ("net", "strategy", "predicted step", "measured step", "error", "repeat band", "bytes", "inconclusive")


class Cell:
    """A net under a strategy: its comparisons."""

    def __init__(self) -> None:
        self.found: list[Validation] = []

    @property
    def predicted(self) -> float:
        """Seconds of a step."""
        return median(v.prediction.stats.step_s for v in self.found)

    @property
    def measured(self) -> float:
        """Seconds of a step."""
        return median(v.step_s for v in self.found)

    @property
    def error(self) -> float:
        """Signed, relative."""
        return self.predicted / self.measured - 1

    @property
    def band(self) -> float:
        """Within a comparison and between them, whichever is more."""
        between = [v.step_s for v in self.found]
        return max(median(v.repeat_band for v in self.found), (max(between) - min(between)) / 2 / self.measured)

    @property
    def is_exact(self) -> bool:
        """The bytes of every way."""
        return all(w.predicted == w.measured for v in self.found for w in v.wires)


Cells = dict[tuple[str, str], Cell]


def main() -> None:
    """Run the comparisons, write the section and its picture."""
    cells: Cells = {(net, s): Cell() for net in NETS for s in STRATEGIES}
    for _ in range(ROUNDS):
        for (net, strategy), cell in cells.items():
            found = measured(scenario_of(net, strategy))
            cell.found.append(found)
            error = found.errors()["step"]
            print(f"{net}, {strategy}: {found.step_s * 1e6:.1f} us, error {error:+.1%}, {found.verdict}", flush=True)
    draw(cells)
    write_section(PAGE, TITLE, HEAD + "\n".join(lines(cells)) + "\n")
    print(f"{PAGE.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")


def scenario_of(net: str, strategy: str) -> Scenario:
    """A net under a strategy."""
    return as_variant(load(str(BASE), list(NETS[net])).scenario, VARIANTS[strategy])


def measured(scenario: Scenario) -> Validation:
    """One comparison; a few tries, where the machine was not the one that was calibrated."""
    for _ in range(TRIES):
        found = validate(Built(scenario))
        if found.verdict != "inconclusive":
            break
    return found


def lines(cells: Cells) -> Iterator[str]:
    """Summary, table, and what went wrong."""
    errors = [abs(c.error) for c in cells.values()]
    within = sum(e <= LIMIT for e in errors)
    yield (
        f"Of {len(cells)} cells {within} are within {LIMIT:.0%}; mean absolute error {sum(errors) / len(errors):.1%}, "
        f"greatest {max(errors):.1%}. {ranking(cells)}"
    )
    yield ""
    rows = [
        (
            net, strategy, f"{c.predicted * 1e6:.1f} µs", f"{c.measured * 1e6:.1f} µs", f"{c.error:+.1%}", f"± {c.band:.1%}",
            "exact" if c.is_exact else "differ", f"{sum(v.verdict == 'inconclusive' for v in c.found)} of {len(c.found)}",
        )
        for (net, strategy), c in cells.items()
    ]  # fmt: skip
    yield markdown_table(HEADER, rows)


def ranking(cells: Cells) -> str:
    """Of the pairs of strategies that differ by more than the repeat band: how many are predicted in their order."""
    right, wrong = 0, []
    for net in NETS:
        for a, b in combinations(STRATEGIES, 2):
            x, y = cells[net, a], cells[net, b]
            if abs(x.measured / y.measured - 1) <= x.band + y.band:
                continue
            if (x.measured < y.measured) == (x.predicted < y.predicted):
                right += 1
            else:
                wrong.append(f"{a} and {b} of {net}")
    text = f"{right} of {right + len(wrong)} pairs of strategies that differ by more than their repeat bands are in their order"
    return f"{text}; not: {'; '.join(wrong)}." if wrong else f"{text}."


def draw(cells: Cells) -> None:
    """Bars: predicted and measured, strategy by strategy."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(NETS), figsize=(4.2 * len(NETS), 3.8), layout="constrained")
    for axis, net in zip(axes, NETS, strict=True):
        mine = [cells[net, s] for s in STRATEGIES]
        places = range(len(mine))
        axis.bar([p - 0.2 for p in places], [c.predicted * 1e6 for c in mine], 0.38, label="predicted", color="tab:blue")
        bands = [c.band * c.measured * 1e6 for c in mine]
        axis.bar([p + 0.2 for p in places], [c.measured * 1e6 for c in mine], 0.38, yerr=bands, label="measured", color="0.6")
        axis.set_xticks(list(places), [s.replace("_", "\n") for s in STRATEGIES])
        axis.set_title(net.replace(", ", "\n", 1), fontsize=9)
    axes[0].set_ylabel("step, µs")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
