"""``trainscape calibrate --device cuda``: kernels and copies timed one by one, and the profile that comes of it.

In a checkout the profile goes to the catalogue, hw/catalogue/profiles/, and always to the folder of the results. What a simulator
takes is no fact of any GPU: its profile stays in that folder.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

from benchmarks.gpu.bound import compile_all
from benchmarks.gpu.context import Context
from benchmarks.gpu.nets import f32_cases, lowered_of
from hw.gpu_profile import file_name, save_gpu_profile
from hw.model import INPUT
from runtime.cuda.bound import ACCUMULATE
from runtime.cuda.calibration import INPUT_COPY
from trainscape.calibrate_gpu import FULL_SECONDS, QUICK_SECONDS, Effort, calibrate_gpu
from trainscape.gpu_profile import place_of

PART, LEAST = 0.4, 5.0
"""Of the time there is, so much is of timing kernels; making operands, letters and the player take theirs beside it."""


class _Phases:
    """Tells the time of each phase."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}

    def on_phase(self, name: str) -> None:
        self.began[name] = time.monotonic()


def prepare(c: Context) -> None:
    """Compile all kernels."""
    if not c.simulated:
        compile_all()


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    yield "profile", partial(profile, c)


def profile(c: Context) -> Mapping[str, Any]:
    """Measure, fit and write."""
    phases, began = _Phases(), time.monotonic()
    timing = min(max(PART * (c.stops - began), LEAST), FULL_SECONDS)
    enough: dict[str, Any] = {"effort": Effort(seconds=timing)} if timing > QUICK_SECONDS else {"quick": True}
    options = _small() if c.simulated else enough
    made = calibrate_gpu(instruments=[phases], **options)
    path = save_gpu_profile(made, c.out / f"{file_name(made.gpu)}.yaml")
    if not c.simulated:
        save_gpu_profile(made, place_of(made.gpu))
    ends = [*list(phases.began.values())[1:], time.monotonic()]
    each = {name: k.busy[1].rms for name, k in made.kernels.items()}
    worst = max(each, key=each.__getitem__)
    return {
        "file": path.name, "gpu": made.gpu, "timing_s": timing, "took_s": time.monotonic() - began,
        "kernels": len(made.kernels), "rows": len(made.rows), "residual (rms), median": median(each.values()),
        "residual (rms), worst": f"{each[worst]:.3f} of {worst}", "memory_bytes_per_s": made.memory_bytes_per_s,
        "launch_s": made.launch_s, "action_overhead_s": made.action_overhead_s, "step_overhead_s": made.step_overhead_s,
        "repeat": made.repeat, "phases_s": {n: end - at for (n, at), end in zip(phases.began.items(), ends, strict=True)},
    }  # fmt: skip


def _small() -> dict[str, Any]:
    """For the simulator: the kernels of what is predicted afterwards, no letters, hardly a step."""
    calls = {
        call.kernel for case in f32_cases(True) for s, all_ in lowered_of(case).segments.items() for call in all_ if s != INPUT
    }
    effort = Effort(seconds=0.0, link_sizes=(), steps=2, blocks=2, actions=2)
    return {"only": tuple(sorted({*calls, ACCUMULATE, INPUT_COPY})), "effort": effort}
