"""Every CUDA kernel against its operator's reference, case by case (`runtime.kernels.cuda.check`); a failure stops nothing."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.gpu.bound import compile_all
from benchmarks.gpu.context import Context
from benchmarks.gpu.worker import told
from graph.op import OPS
from hw.kernels.record import KernelRecord
from runtime.kernels.cuda.check import Case, cases, check, library_records, records, threads
from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families

FEW_THREADS, FEW_FLOP = 600, 4_000
"""Of a case that is simulated, the only one of its kernel."""
NONE: Mapping[str, Any] = {"cases": 0, "wrong": [], "left": 0}


def prepare(c: Context) -> None:
    """Compile all kernels."""
    if not c.simulated:
        compile_all()


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    load_families()
    for record in (*records(), *library_records()):
        yield record.name, partial(checked, c, record)


def _chosen(c: Context, record: KernelRecord) -> list[Case]:
    found = list(cases(record))
    if not c.simulated:
        return found
    small = [x for x in found if record.terms(x.call.types, x.attrs)["flop"] <= FEW_FLOP and threads(x) <= FEW_THREADS]
    return sorted(small, key=threads)[:1]


def checked(c: Context, record: KernelRecord) -> Mapping[str, Any]:
    """All cases of a kernel; the first always, the others while there is time."""
    if record.op not in OPS:
        return {**NONE, "absent": "no operator: checked by its own test"}
    if record.name not in CUDA_KERNELS:
        return {**NONE, "wrong": ["there is no kernel"]}
    library = CUDA_KERNELS[record.name].library
    if library is not None and (why := library.absent()):
        return {**NONE, "absent": why}
    wrong, done, todo = list[str](), 0, _chosen(c, record)
    if not todo:
        return {**NONE, "absent": "no case is small enough for the simulator"}
    for case in todo:
        if done and time.monotonic() >= c.stops:
            break
        done += 1
        try:
            check(case)
        except Exception as e:
            wrong.append(told(e))
            if c.is_broken():
                raise
    return {"cases": done, "wrong": wrong, "left": len(todo) - done}
