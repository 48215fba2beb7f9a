"""Makes docs/benchmarks.md: whole training steps and single kernels against NumPy and PyTorch.

    python benchmarks/page.py

Needs PyTorch (`pip install torch`, the CPU file where there is one); takes about a minute. The section on the NFU stays as it
is: `nfu.py` makes it.
"""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import geometric_mean

import kernels
import nfu
import step
from sections import section_of

from graph.op import Size
from graph.tensor_type import f32
from hw.kernels import KERNELS as RECORDS
from hw.profile import cpu_name
from runtime.kernels.build import compile_all

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("trainscape", "numpy", "numba", "llvmlite", "torch")
STEP_ROUNDS, KERNEL_ROUNDS = 20, 12
SIDE = 1000

HEAD = """# Benchmarks: training steps and kernels beside other libraries

Made by `python benchmarks/page.py`; do not edit.

- Host: {cpu}, {cores} cores, {system}; Python {python}, {versions}
- PyTorch: vector extension {capability}, {blas}
- Measured {date}; one thread each, float32
- **The cores were shared with other programs while this was measured** (load {load:.1f} on {cores} cores at the end). So the
  numbers are shortest CPU times, not wall clock; rivals take turns in one process, so that a slow moment meets all of them. Read
  the ratios, not the microseconds, and take differences below 10 % for ties.
- A ratio is their time / our time: above 1, ours is faster.

## Training steps

Forward, backward, SGD with momentum; the same parameters and the same batch for both. *Ours* is what a worker process runs: a
block of steps in one native call, copying each batch from the input ring. PyTorch runs in eager mode, NCHW as it is mostly
written, and with channels last; its optimizer is the fused one. Before anything was timed, loss and gradients of a step were
compared: *gradients* is the greatest difference, relative to the largest entry of the gradient it occurs in.

A small net at a small batch is mostly dispatch in eager mode, which our executor does not have. So the ratio at batch 1 says
little about kernels; the one at batch 256 says more.

| net | batch | ours | PyTorch | ratio | PyTorch, channels last | ratio | gradients |
|---|--:|--:|--:|--:|--:|--:|--:|
"""
KERNELS = """
## Kernels

Each kernel over its calibration grid, sizes chosen to be small and awkward (none occurs in a model of the zoo), with operands in
the nearest caches. A cell holds the geometric mean of the ratios, and in brackets the least and the greatest. NumPy's and
PyTorch's times include what a call costs from Python, which is most of it below some microseconds; ours is called through the
executor's table. NumPy has no convolution: the rival is im2col and a matrix product.

Before reading the ratios of matrix products: {blas}. A product of two matrices of {side} rows and columns runs at
{speeds}.
Where the others reach about half of ours there, their libraries have most likely chosen code with shorter vectors than this
processor has (`Haswell` stands for 256 bits), and most of the ratio of large products, also in the steps above, is that choice.

| kernel | sizes | NumPy / ours | PyTorch / ours | weakest |
|---|--:|--:|--:|---|
"""


def head() -> str:
    """The facts of the measurement."""
    import torch

    shown = torch.__config__.show()
    libraries = [line.strip(" -") for line in shown.splitlines() if "Math Kernel" in line or "MKL-DNN" in line]
    return HEAD.format(
        cpu=cpu_name(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions=", ".join(f"{p} {version(p)}" for p in PACKAGES),
        capability=torch.backends.cpu.get_cpu_capability(),
        blas="; ".join(libraries),
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        load=os.getloadavg()[0],
    )


def large_product() -> str:
    """Speeds of one product that is bound by arithmetic alone."""
    matrix = f32(SIDE, SIDE)
    size = Size(types=(matrix, matrix), attrs={"ta": False, "tb": False, "epilogue": ""})
    best = kernels.measured(RECORDS["cpu.matmul"], size, 8).seconds
    return ", ".join(f"{k} {2 * SIDE**3 / v / 1e9:.0f} Gflop/s" for k, v in best.items())


def step_line(row: step.Row) -> str:
    last = "torch channels last"
    other = f"{row.seconds[last] * 1e6:,.0f} µs | {row.ratio(last):.1f}" if last in row.seconds else "– | –"
    return (
        f"| {row.net} | {row.batch} | {row.seconds['ours'] * 1e6:,.1f} µs | {row.seconds['torch'] * 1e6:,.0f} µs "
        f"| {row.ratio('torch'):.1f} | {other} | {row.difference:.0e} |"
    )


def kernel_line(rows: Sequence[kernels.Row]) -> str:
    """One kernel: the mean and the range against each rival, and where a rival comes closest or wins."""
    cells, weakest = [], []
    for rival in ("numpy", "torch"):
        ratios = [(r.ratio(rival), r.size) for r in rows if rival in r.seconds]
        if ratios:
            low, high = min(ratios), max(ratios)
            cells.append(f"{geometric_mean(x for x, _ in ratios):.2f} ({low[0]:.2f}–{high[0]:.1f})")
            weakest.append(low)
        else:
            cells.append("–")
    size = min(weakest)[1].split(" learning_rate")[0]
    return f"| `{rows[0].kernel}` | {len(rows)} | {cells[0]} | {cells[1]} | {size.strip()} |"


def main() -> None:
    compile_all()
    core = kernels.one_blas_thread()
    blas = f"NumPy's OpenBLAS uses one thread and its code for `{core}`" if core else "NumPy's BLAS may use several threads"
    steps = [step_line(r) for r in step.rows(list(step.NETS), STEP_ROUNDS)]
    single = []
    for kernel in kernels.chosen([]):
        found = list(kernels.rows(kernel, KERNEL_ROUNDS))
        if any(len(r.seconds) > 1 for r in found):
            single.append(kernel_line(found))
    found = [head() + "\n".join(steps), KERNELS.format(blas=blas, side=SIDE, speeds=large_product()) + "\n".join(single), ""]
    other = section_of(PAGE.read_text(encoding="utf-8"), nfu.TITLE) if PAGE.exists() else ""
    PAGE.write_text("\n".join([*found, *([other] if other else [])]), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parents[1]))


if __name__ == "__main__":
    main()
