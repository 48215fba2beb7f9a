"""What becomes of CUDA kernels: compiled and assembled for an architecture, without a device, by as many processes as pay.

    for found in compiled((9, 0), ops=["matmul"]):
        print(found.kernel, found.figures.registers, found.figures.spill_bytes, found.occupancy.blocks)

What a program of its own needs for one kernel alone is `runtime.kernels.cuda.compile.assembled`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.record import record
from hw.kernels import Platform, records_of
from hw.occupancy import Occupancy, occupancy
from hw.profile import write_whole
from runtime.cuda.driver import require_compiler
from runtime.errors import MissingCapability, RunError
from trainscape.errors import TrainscapeError
from trainscape.processes import MOST, answers, serve

if TYPE_CHECKING:
    from runtime.kernels.cuda.compile import Assembled
    from runtime.kernels.cuda.kernel import DeviceKernel

Architecture = tuple[int, int]
WORTH = 20
"""Kernels from which on a second process saves more than its start costs, about three seconds."""


@record
class Compiled:
    """A device kernel on an architecture.

    Parameters
    ----------
    kernel, architecture : which, e.g. ``"relu_4"`` on ``"sm_90"``.
    launched_by : records of the kernels that launch it.
    threads : of a block.
    is_hot : speed depends on it.
    least : the first architecture that has its instructions.
    older : what is launched in its place on architectures before that; None: nothing.
    in_place_of : kernels in whose place it is launched before architectures that have them.
    left_out : why it is not launched there, and so not compiled; ``""``: it is.
    figures : what the assembler says; None: left out.
    occupancy : of a multiprocessor; None: left out.
    """

    kernel: str
    architecture: str
    launched_by: tuple[str, ...]
    threads: int
    is_hot: bool
    least: str
    older: str | None
    in_place_of: tuple[str, ...]
    left_out: str = ""
    figures: "Assembled | None" = None
    occupancy: Occupancy | None = None

    @property
    def complaints(self) -> list[str]:
        """What should be otherwise: instructions that are missing, registers that spill where speed counts."""
        if self.figures is None:
            return []
        f = self.figures
        missing = [name for name, n in f.instructions.items() if not n]
        return [f"no {', '.join(missing)}"] * bool(missing) + [f"{f.spill_bytes} bytes spill"] * (
            self.is_hot and f.spill_bytes > 0
        )

    def document(self) -> dict[str, Any]:
        """As plain data; what is not known is null."""
        f, o = self.figures, self.occupancy
        return {
            "kernel": self.kernel,
            "architecture": self.architecture,
            "launched_by": self.launched_by,
            "threads": self.threads,
            "hot": self.is_hot,
            "least_architecture": self.least,
            "older": self.older,
            "in_place_of": self.in_place_of,
            "left_out": self.left_out or None,
            "registers": f and f.registers,
            "spill_bytes": f and f.spill_bytes,
            "shared_bytes": f and f.shared_bytes,
            "stack_bytes": f and f.stack_bytes,
            "instructions": f and f.instructions,
            "blocks_per_multiprocessor": o and o.blocks,
            "occupancy": o and o.fraction,
            "limited_by": o and o.limited_by,
            "complaints": self.complaints,
        }


def compiled(
    architecture: Architecture,
    ops: Iterable[str] | None = None,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compiled]:
    """Every device kernel that kernels of operators launch, once each, in the order in which they are registered.

    Parameters
    ----------
    architecture : of `runtime.kernels.cuda.compile.ARCHITECTURES`.
    ops : operators; None: all.
    folder : where the PTX is written, ``<kernel>.<architecture>.ptx``, each file whole or not at all; None: nowhere.
    workers : processes; None: one for each core where there is enough to do.
    on_done : told (kernels that are done, of how many).

    Raises
    ------
    MissingCapability : the CUDA toolkit is not there (`ToolkitMissing`), or what compiles Python for it; with the way out.
    TrainscapeError : a kernel cannot be compiled; with the compiler's words.
    """
    require_compiler()
    newer = _newer(k for k, _ in launched())
    rows = [_described(k, by, newer.get(k.name, ()), architecture) for k, by in launched(ops)]
    names = [r.kernel for r in rows if not r.left_out]
    figures: dict[str, Assembled] = {}
    on_done(0, len(names))
    for made in _figures(names, architecture, folder, workers):
        figures[made.kernel] = made
        on_done(len(figures), len(names))
    return [_with_figures(r, figures[r.kernel], architecture) if r.kernel in figures else r for r in rows]


def launched(ops: Iterable[str] | None = None) -> "list[tuple[DeviceKernel, tuple[str, ...]]]":
    """Device kernels with the records of the kernels that launch them, older ones in their place included; imports Numba."""
    from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families

    load_families()
    wanted = None if ops is None else {r.name for op in ops for r in records_of(op, Platform.CUDA)}
    by: dict[DeviceKernel, list[str]] = {}
    for name, kernel in CUDA_KERNELS.items():
        if wanted is None or name in wanted:
            older = [k.older for k in kernel.kernels if k.older is not None]
            for k in dict.fromkeys((*kernel.kernels, *older)):
                by.setdefault(k, []).append(name)
    return [(k, tuple(names)) for k, names in by.items()]


def _newer(kernels: "Iterable[DeviceKernel]") -> "Mapping[str, Sequence[DeviceKernel]]":
    """Kernel -> those in whose place it is launched."""
    found: dict[str, list[DeviceKernel]] = {}
    for k in kernels:
        if k.older is not None:
            found.setdefault(k.older.name, []).append(k)
    return found


def _described(k: "DeviceKernel", by: tuple[str, ...], newer: "Sequence[DeviceKernel]", architecture: Architecture) -> Compiled:
    from runtime.kernels.cuda.compile import name_of

    since = max((n.least for n in newer), default=None)
    why = f"needs {name_of(k.least)}" if architecture < k.least else ""
    if since is not None and architecture >= since:
        why = f"only before {name_of(since)}"
    return Compiled(
        kernel=k.name,
        architecture=name_of(architecture),
        launched_by=by,
        threads=k.threads,
        is_hot=k.is_hot,
        least=name_of(k.least),
        older=k.older.name if k.older else None,
        in_place_of=tuple(n.name for n in newer),
        left_out=why,
    )


def _with_figures(row: Compiled, figures: "Assembled", architecture: Architecture) -> Compiled:
    shared = figures.shared_bytes
    held = occupancy(architecture, threads=row.threads, registers=figures.registers, shared_nbytes=shared)
    return replace(row, figures=figures, occupancy=held)


def _figures(names: Sequence[str], architecture: Architecture, folder: Path | None, workers: int | None) -> "Iterator[Assembled]":
    """What the assembler says of kernels, in whatever order they are done."""
    from runtime.kernels.cuda.compile import Assembled, ToolkitMissing, assembler

    assembler()
    count = workers or (1 if len(names) < WORTH else min(len(os.sched_getaffinity(0)), MOST))
    jobs = [{"architecture": architecture, "kernels": names[i::count], "folder": folder} for i in range(count)]
    if count == 1:
        rows: Iterable[tuple[int, Any]] = enumerate(_answer(jobs[0]))
    else:
        rows = answers("trainscape.device_kernels", jobs, [len(names[i::count]) for i in range(count)])
    for _, row in rows:
        if "missing" in row:
            raise ToolkitMissing(row["missing"])
        if "refused" in row:
            raise TrainscapeError(row["refused"])
        yield Assembled(**row)


def main() -> None:
    """A process that compiles."""
    serve(_answer)


def _answer(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from runtime.kernels.cuda.compile import assemble, name_of, ptx

    architecture = (job["architecture"][0], job["architecture"][1])
    kernels = {k.name: k for k, _ in launched()}
    for name in job["kernels"]:
        try:
            text = ptx(kernels[name], architecture)
            if job["folder"] is not None:
                write_whole(Path(job["folder"]) / f"{name}.{name_of(architecture)}.ptx", text)
            yield asdict(assemble(kernels[name], architecture, text))
        except MissingCapability as e:
            yield {"missing": str(e)}
        except RunError as e:
            yield {"refused": str(e)}
