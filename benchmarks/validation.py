"""Writes the section on data parallelism of docs/validation.md: predictions for this host beside what was measured, over a grid.

    python benchmarks/validation.py

Needs a calibration profile (`trainscape calibrate`) and a quiet computer; takes about two minutes. The profile has never timed
any of these nets: it holds kernels over a grid of shapes that shares none with them, and the shared-memory link.
"""

import platform
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from sections import write_section

from hw.profile import Profile
from trainscape import host_profile
from trainscape.build import Built
from trainscape.load import load
from trainscape.validate import TOLERANCE, Validation, validate

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ("digits-lenet-1worker", "digits-lenet-2workers")
WIDTHS, BATCHES = (0.5, 1.0, 2.0), (16, 64, 256)
TRIES = 3  # of a run that ended inconclusive

TITLE = "## Data parallelism on this host"
HEAD = """Made by `python benchmarks/validation.py`; do not edit.

- Host: {host}
- Calibrated {calibrated}, measured {measured}
- *Predicted* is computed before the run, from the calibration of kernels and of the shared-memory link alone. No net was
  ever timed for it.
- *Measured* is the median over 7 blocks of each block's median step, without timers on actions. The band is half the
  distance from the 10th to the 90th percentile of the blocks. The parts (forward ...) come from one more block with timers:
  seconds of work of a worker, waiting left out.
- *Probes*: the greatest change of the arithmetic and the copy probe since calibration, and the factor by which the way from
  core to core changed. Above 10 %, or 1.5, the run is `inconclusive`, whatever its error; after three tries it stands as it is.

![Predicted against measured](images/validation.png)

"""
TABLE = """| scenario | width | batch | predicted step | measured step | error | band | forward | backward | update | all-reduce \
| probes | verdict |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"""
MEMORY = """Memory and bytes: predicted, and measured by the process's and the transport's own counters.

| scenario | width | batch | peak predicted | peak measured | sent in a step, predicted | counted |
|---|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    """Run the grid, write the page and its picture."""
    rows = []
    for name, width, batch in product(SCENARIOS, WIDTHS, BATCHES):
        rows.append((name, width, batch, found := measured(name, width, batch)))
        error = found.errors()["step"]
        print(f"{name} width {width} batch {batch}: {found.step_s * 1e6:.1f} us, error {error:+.1%}, {found.verdict}", flush=True)
    picture = ROOT / "docs" / "images" / "validation.png"
    draw(picture, rows)
    page = ROOT / "docs" / "validation.md"
    write_section(page, TITLE, f"{TITLE}\n\n{text(rows, host_profile.require())}")
    print(f"{page.relative_to(ROOT)}, {picture.relative_to(ROOT)}")


def measured(name: str, width: float, batch: int) -> Validation:
    """One comparison; a few tries, where the machine was not the one that was calibrated."""
    scenario = load(str(ROOT / "scenarios" / f"{name}.yaml"), [f"model.width={width}", f"model.batch={batch}"]).scenario
    for _ in range(TRIES):
        found = validate(Built(scenario))
        if found.verdict != "inconclusive":
            break
    return found


Rows = list[tuple[str, float, int, Validation]]


def text(rows: Rows, profile: Profile) -> str:
    """The section, less its title."""
    errors = [(abs(v.errors()["step"] or 0.0), name) for name, _, _, v in rows if v.verdict != "inconclusive"]
    versions = ", ".join(f"{k} {v}" for k, v in profile.versions.items())
    host = f"{profile.cpu}, {profile.cores} cores, {platform.system()} {platform.machine()}; {versions}"
    today = datetime.now(UTC).isoformat(timespec="seconds")
    lines = HEAD.format(host=host, calibrated=profile.created, measured=today).splitlines()
    for name in SCENARIOS:
        mine = [e for e, n in errors if n == name]
        ranks = 1 if "1worker" in name else 2
        if mine:
            lines.append(
                f"**{name}**: {len(mine)} conclusive runs, mean absolute error of the step {sum(mine) / len(mine):.1%}, "
                f"greatest {max(mine):.1%} (tolerance {TOLERANCE[ranks]:.0%}); {covered(rows, name)}."
            )
            lines.append("")
    lines += [TABLE, *(row(*r) for r in rows), "", MEMORY, *(memory(*r) for r in rows)]
    return "\n".join(lines) + "\n"


def covered(rows: Rows, name: str) -> str:
    """How many measured steps lie in the predicted 80 % interval."""
    found = [v.prediction.interval[0] <= v.step_s <= v.prediction.interval[1] for n, _, _, v in rows if n == name]
    return f"the predicted 80 % interval holds the measured step in {sum(found)} of {len(found)}"


def row(name: str, width: float, batch: int, v: Validation) -> str:
    """One comparison, as a line of the table."""
    e = v.errors()
    parts = " | ".join("–" if e[k] is None else f"{e[k]:+.1%}" for k in ("forward", "backward", "update", "allreduce"))
    p = v.prediction.stats.step_s
    return (
        f"| {name} | {width:g} | {batch} | {p * 1e6:.1f} µs | {v.step_s * 1e6:.1f} µs | {e['step']:+.1%} | ± {v.repeat_band:.1%} "
        f"| {parts} | {v.probe_moved:.1%}, x {v.link_moved:.1f} | {v.verdict} |"
    )


def memory(name: str, width: float, batch: int, v: Validation) -> str:
    """Memory and bytes of one comparison."""
    numbers: dict[str, Any] = v.numbers()
    p, m = numbers["predicted"], numbers["measured"]
    peak_p, peak_m = (max(x["memory_peak_bytes"]) for x in (p, m))
    sent_p, sent_m = (x["bytes_sent_total"] for x in (p, m))
    return f"| {name} | {width:g} | {batch} | {peak_p:,} B | {peak_m:,} B | {sent_p:,} B | {sent_m:,} B |"


def draw(path: Path, rows: Rows) -> None:
    """Predicted against measured, with the tolerance."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for ax, name in zip(axes, SCENARIOS, strict=True):
        mine = [v for n, _, _, v in rows if n == name]
        x, y = [v.step_s * 1e6 for v in mine], [v.prediction.stats.step_s * 1e6 for v in mine]
        low, high = min(x + y) * 0.8, max(x + y) * 1.25
        t = TOLERANCE[1 if "1worker" in name else 2]
        ends = (low, high)
        ax.fill_between(ends, [e * (1 - t) for e in ends], [e * (1 + t) for e in ends], color="0.9", label=f"± {t:.0%}")
        ax.plot([low, high], [low, high], color="0.5", lw=1)
        for verdict, colour in (("ok", "tab:blue"), ("outside", "tab:red"), ("inconclusive", "0.6")):
            points = [(a, b) for a, b, v in zip(x, y, mine, strict=True) if v.verdict == verdict]
            if points:
                ax.scatter(*zip(*points, strict=True), color=colour, label=verdict, zorder=3)
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=name)
        ax.set(xlabel="measured step, µs", ylabel="predicted step, µs")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        ax.legend(loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
