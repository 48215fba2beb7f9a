"""`calibrate --device cuda`: measure this computer's GPU, fit, and make its profile. Never a model.

1. Every CUDA kernel over its committed grid of sizes, sums and copies, one behind the other as a captured step has them
   (`runtime.cuda.calibration`).
2. Letters: two workers that share the GPU play a plan that only communicates, through the host's memory.
3. What the player itself takes: the same plan with many tiny actions.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from graph.instrument import hooks
from graph.record import record
from graph.tensor_type import f32
from hw.cost.calibrated import fit, predict
from hw.gpu_profile import GpuCoefficients, GpuProfile, file_name
from hw.kernels import KERNELS
from hw.kernels.record import Platform
from hw.profile import KernelFit, LinkFit, Row
from runtime.cuda.ahead import compile_ahead
from runtime.cuda.bound import ACCUMULATE
from runtime.cuda.calibration import VISITS, Timed, known, launch_seconds, launched, measure, memory_bytes_per_second
from runtime.cuda.device import Device, device
from runtime.cuda.driver import require_gpu
from runtime.cuda.hashes import source_hashes
from trainscape import __version__
from trainscape.calibrate import ACTIONS, LINK_SIZES, LINK_STEPS, NO_LINK, exchange, link_of, overheads, versions

FULL_SECONDS, QUICK_SECONDS = 30.0, 5.0  # of kernel timing
PACKAGES = ("numba-cuda", "cuda-bindings", "cuda-core")


@record
class Effort:
    """How much of it: of a simulator as little as shows that it runs.

    Parameters
    ----------
    seconds : of kernel timing.
    visits : of each size of a kernel.
    link_sizes : elements of the letters' buffers.
    steps, blocks : of the plans that only communicate.
    actions : tiny actions of a step.
    """

    seconds: float
    visits: int = VISITS
    link_sizes: tuple[int, ...] = LINK_SIZES
    steps: int = LINK_STEPS
    blocks: int = 6
    actions: int = ACTIONS


def effort_for(on: Device, quick: bool) -> Effort:
    """What is measured of a device."""
    if not on.can_capture:
        return Effort(seconds=0.0, link_sizes=(8, 32), steps=2, blocks=2, actions=4)
    return Effort(seconds=QUICK_SECONDS, visits=1) if quick else Effort(seconds=FULL_SECONDS)


def calibrate_gpu(
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    effort: Effort | None = None,
    seed: int = 0,
    instruments: Sequence[object] = (),
) -> GpuProfile:
    """Measure this computer's GPU; see the module.

    Parameters
    ----------
    quick : a sixth of the time, with a wider interval.
    only : names of kernel records to measure; by default all.
    effort : how much of it; by default what the device and `quick` ask for.
    seed : order of the grid.
    instruments : who watches (`graph.instrument`): phases.

    Raises
    ------
    MissingCapability : there is no GPU.
    DistributedFailure : a worker that measures letters failed.
    """
    on_phase = hooks(instruments, "on_phase")

    def say(what: str) -> None:
        for call in on_phase:
            call(what)

    on = device()
    effort = effort or effort_for(on, quick)
    names = only or known()
    if on.can_capture and (capability := require_gpu().capability) is not None:
        compile_ahead(launched(on, names, capability), capability, instruments=instruments)
    say(f"timing kernels on {on.name}")
    rows = list(measure(on, names, seconds=effort.seconds, seed=seed, visits=effort.visits))
    bandwidth, launch = memory_bytes_per_second(on), launch_seconds(on)
    say("timing letters between workers that share it")
    link = _letters(effort)
    say("timing the player")
    action, step = overheads(effort.actions, platform=Platform.CUDA, steps=effort.steps, blocks=effort.blocks)
    say("fitting")
    kernels, fitted = _fit(rows)
    kind = f32(16)
    own = predict(KERNELS[ACCUMULATE].terms((kind, kind), {}), kernels[ACCUMULATE].at(1).seconds_per)
    what = on.describe()
    return GpuProfile(
        name=file_name(on.name),
        gpu=on.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        driver=what["driver"],
        capability=what["capability"],
        multiprocessors=what["multiprocessors"],
        memory_nbytes=what["memory_nbytes"],
        memory_bytes_per_s=bandwidth,
        versions={"python": sys.version.split()[0], "trainscape": __version__, **versions(), **versions(PACKAGES)},
        kernels=kernels,
        link=link,
        launch_s=launch,
        step_overhead_s=step,
        action_overhead_s=max(action - own, 0.0),
        repeat=median(r.repeat for r in rows),
        rows=fitted,
    )


def _letters(effort: Effort) -> LinkFit:
    if not effort.link_sizes:
        return NO_LINK
    found = exchange(2, effort.link_sizes, platform=Platform.CUDA, steps=effort.steps, blocks=effort.blocks)
    return link_of([found.timeline])


def _fit(rows: Sequence[Timed]) -> tuple[dict[str, KernelFit], tuple[Row, ...]]:
    """A fit for each kernel, and every measured size beside it."""
    hashes, fits, kept = source_hashes(), dict[str, KernelFit](), list[Row]()
    for name in dict.fromkeys(r.kernel for r in rows):
        mine = [r for r in rows if r.kernel == name]
        none = dict.fromkeys(_terms(name), 0.0)  # a simulator has not all sizes of the grid
        f = fit([{**none, **KERNELS[name].terms(r.call.types, r.call.attrs)} for r in mine], [r.seconds for r in mine])
        one = GpuCoefficients(
            seconds_per=f.coefficients, small=_small(mine), residuals=f.residuals, unseen=f.unseen
        )  # fmt: skip
        fits[name] = KernelFit(source_hash=hashes.get(name, ""), busy={1: one})
        for r, residual in zip(mine, f.residuals, strict=True):
            what = " ".join(map(str, r.call.types))
            kept.append(Row(kernel=name, busy=1, what=what, measured_s=r.seconds, fitted_s=r.seconds * (1 + residual)))
    return fits, tuple(kept)


def _terms(name: str) -> set[str]:
    """All that the grid of a kernel has."""
    kernel = KERNELS[name]
    return {t for s in kernel.sizes() for t in kernel.terms(s.types, {"epilogue": "", **s.attrs})}


def _small(rows: Sequence[Timed]) -> float:
    """How much of its time a kernel takes when all that its step touches stays in the cache: the median over sizes."""
    ratios = [r.hot / r.seconds for r in rows if r.hot is not None]
    return min(median(ratios), 1.0) if ratios else 1.0
