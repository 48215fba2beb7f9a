"""Predicted steps, and what they really take; predicted memory, and what the driver counts."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.gpu.context import Context
from benchmarks.gpu.nets import Case, OurStep, compile_steps, f32_cases
from benchmarks.gpu.predict import built

BLOCKS, BLOCK_SECONDS, LEAST, MOST = 5, 0.15, 8, 2000


def prepare(c: Context) -> None:
    compile_steps(f32_cases(c.simulated))


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    for case in f32_cases(c.simulated):
        yield str(case), partial(measured, c, case)


def measured(c: Context, case: Case) -> Mapping[str, Any]:
    """One step, of the very lowering that was predicted; it has been warmed up by another of its kind.

    Raises
    ------
    LookupError : nothing was predicted.
    """
    said = c.found("predict").get(str(case))
    if said is None:
        raise LookupError("nothing was predicted of it in this run")
    lowered = built(case, None).lowered["worker"]
    if not c.simulated:
        OurStep(case, lowered=lowered).steps(4)
        c.tidy()
    ours = OurStep(case, lowered=lowered)
    blocks = _blocks(c, ours)
    grown = ours.executor.meter().grown
    seconds = {"median": median(median(b) for b in blocks), "least": min(min(b) for b in blocks)}
    error = said["step_s"] / seconds["median"] - 1
    return {
        "predicted_s": said["step_s"], "seconds": seconds, "mean_s": fmean(s for b in blocks for s in b),
        "step_error": None if c.simulated else error,
        "predicted_bytes": said["memory_bytes"], "measured_bytes": None if c.simulated else grown,
        "memory_error": None if c.simulated or not grown else said["memory_bytes"] / grown - 1,
        "arena_bytes": ours.executor.arena_nbytes, "captured": ours.executor.why_not_captured or "as one graph",
    }  # fmt: skip


def _blocks(c: Context, ours: OurStep) -> list[list[float]]:
    """Seconds of single steps, block by block; the first, which also captures, does not count."""
    if c.simulated:
        return [list(np.diff(ours.steps(2)) * 1e-9)]
    once = float(np.median(np.diff(ours.steps(LEAST)))) * 1e-9
    count = min(max(int(BLOCK_SECONDS / once), LEAST), MOST)
    return [list(np.diff(ours.steps(count)) * 1e-9) for _ in range(BLOCKS)]
