"""`calibrate`: measure this host's kernels and its shared-memory link, fit, and write the profile. Never a model.

1. Every CPU kernel over its committed grid of sizes, in graph-like cache state (`runtime.calibration`), with one core busy and
   with two: while two processes run the same grid at the same time.
2. The link: two workers play a plan that only communicates (`graph.parallel.strategies.exchange`).
3. What the player itself takes: the same plan with many tiny actions.
4. The two probes that later tell whether the machine is still what it was.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from graph.errors import nearest
from graph.instrument import hooks
from graph.record import record
from graph.timeline import Record, Timeline
from hw.cost.calibrated import fit
from hw.kernels import KERNELS
from hw.kernels.record import Platform
from hw.profile import Coefficients, KernelFit, LinkFit, Probes, Profile, Row, cpu_name
from runtime.calibration import call_of
from runtime.dist.launch import run
from runtime.job import Block, Job
from runtime.kernels.build import compile_all, source_hashes
from runtime.result import RunResult
from trainscape import __version__
from trainscape.errors import TrainscapeError

ROOT = Path(__file__).resolve().parents[1]
FULL_SECONDS, QUICK_SECONDS = 40.0, 7.0  # of kernel timing, for each number of busy cores
LINK_SIZES = tuple(int(2 * 96 * 1.8**k) for k in range(14))  # f32 elements summed: letters of 384 B to 800 KB
SHORT = 1e-7  # seconds: below, the clock's steps of some nanoseconds count too much
LINK_STEPS = 120
LINK_RUNS = 3  # where a process's pages lie makes a difference, so several
ACTIONS = 256  # tiny actions in a step, to measure what an action takes
PACKAGES = ("numpy", "numba", "llvmlite", "simpy")


@record
class Effort:
    """What is measured, and for how long.

    Parameters
    ----------
    seconds : of kernel timing, for each number of busy cores.
    cores : which this process may use.
    kernels : records of this platform.
    """

    seconds: float
    cores: tuple[int, ...]
    kernels: tuple[str, ...]


def calibrate(*, quick: bool = False, only: Sequence[str] = (), seed: int = 0, instruments: Sequence[object] = ()) -> Profile:
    """Measure this host; see the module.

    Parameters
    ----------
    quick : a quarter of the time: enough for a first look, with a wider interval.
    only : names of kernel records to measure; by default all.
    seed : order of the grid.
    instruments : who watches (`graph.instrument`): phases, and the kernels that had to be compiled.

    Raises
    ------
    TrainscapeError : an unknown kernel, or a measuring process failed.
    """
    on_phase = hooks(instruments, "on_phase")

    def say(what: str) -> None:
        for call in on_phase:
            call(what)

    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else tuple(range(os.cpu_count() or 1))
    effort = Effort(seconds=QUICK_SECONDS if quick else FULL_SECONDS, cores=cores, kernels=_kernels(only))
    compile_all(instruments=instruments)
    levels = [n for n in (1, 2) if n <= len(cores)]
    rows: dict[int, list[dict[str, Any]]] = {}
    memory: dict[int, float] = {}
    for busy in levels:
        say(f"timing kernels, {busy} core{'s' if busy > 1 else ''} busy")
        rows[busy], memory[busy] = _time_kernels(effort, busy, seed)
    say("timing the shared-memory link and the probes")
    alone = exchange(1, ())
    together = [exchange(len(levels), LINK_SIZES if len(levels) > 1 else ()) for _ in range(LINK_RUNS)]
    say("timing the player")
    action_s, step_s = overheads()
    say("fitting")
    kernels, fitted = _fit(rows)
    return Profile(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=cpu_name(),
        cores=len(cores),
        memory_nbytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory_bytes_per_s=memory,
        versions={"python": sys.version.split()[0], "trainscape": __version__, **versions()},
        kernels=kernels,
        link=link_of([r.timeline for r in together]) if len(levels) > 1 else NO_LINK,
        probes={n: _probes(r) for n, r in ((1, [alone]), (len(levels), together))},
        step_overhead_s=step_s,
        action_overhead_s=action_s,
        repeat=median(r["repeat"] for r in rows[max(rows)]),
        rows=fitted,
    )


NO_LINK = LinkFit(
    send_overhead_s=0.0,
    send_bytes_per_s=1e9,
    recv_copy_overhead_s=0.0,
    recv_copy_bytes_per_s=1e9,
    recv_add_overhead_s=0.0,
    recv_add_bytes_per_s=1e9,
    latency_s=0.0,
)


def _kernels(only: Sequence[str]) -> tuple[str, ...]:
    known = tuple(name for name, k in KERNELS.items() if k.platform is Platform.CPU)
    for name in only:
        if name not in known:
            raise TrainscapeError(f"unknown CPU kernel {name!r}; {nearest(name, known)}")
    return tuple(only) or known


def versions(packages: Sequence[str] = PACKAGES) -> Mapping[str, str]:
    """Package -> its version, of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# ------------------------------------------------------------------------------------------------------------- kernels


def _time_kernels(effort: Effort, busy: int, seed: int) -> tuple[list[dict[str, Any]], float]:
    """(rows, memory bandwidth of a core) of `runtime.calibration`: medians over the busy processes, which begin together."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from runtime.calibration import main; sys.exit(main())"
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    workers = [subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) for _ in range(busy)]
    try:
        for k, p in enumerate(workers):
            job = {"kernels": effort.kernels, "seconds": effort.seconds, "seed": seed + 7 * k, "cpu": effort.cores[k]}
            _tell(p, json.dumps(job))
        for p in workers:
            if p.stdout is None or p.stdout.readline().strip() != "ready":
                raise TrainscapeError(f"a process that times kernels did not start: {p.communicate()[1].strip()[-1500:]}")
        for p in workers:
            _tell(p, "go")
        said = [p.communicate(timeout=60 + 4 * effort.seconds) for p in workers]
    except subprocess.TimeoutExpired:
        raise TrainscapeError("a process that times kernels did not end; is the machine overloaded?") from None
    finally:
        for p in workers:
            if p.poll() is None:
                p.kill()
            p.wait()
    found: dict[tuple[str, int, bool], list[dict[str, Any]]] = defaultdict(list)
    memory = []
    for p, (out, err) in zip(workers, said, strict=True):
        if p.returncode:
            raise TrainscapeError(f"timing kernels failed: {err.strip()[-1500:]}")
        body = json.loads(out)
        memory.append(body["memory_bytes_per_s"])
        for row in body["rows"]:
            found[row["kernel"], row["size"], row["small"]].append(row)
    return [{**same[0], "median_s": median(r["median_s"] for r in same)} for same in found.values()], median(memory)


def _tell(p: "subprocess.Popen[str]", line: str) -> None:
    try:
        assert p.stdin is not None
        p.stdin.write(line + "\n")
        p.stdin.flush()
    except BrokenPipeError:
        pass  # it ended; whoever reads from it will see why


def _fit(rows: Mapping[int, Sequence[Mapping[str, Any]]]) -> tuple[dict[str, KernelFit], tuple[Row, ...]]:
    """A fit for each kernel and number of busy cores, and every measured size beside its fit."""
    hashes, fits, kept = source_hashes(), dict[str, dict[int, Coefficients]](), []
    for busy, found in rows.items():
        for name in dict.fromkeys(r["kernel"] for r in found):
            kernel = KERNELS[name]
            sizes = list(kernel.sizes())
            large, small = ([r for r in found if r["kernel"] == name and r["small"] is is_small] for is_small in (False, True))
            terms = [kernel.terms(sizes[r["size"]].types, sizes[r["size"]].attrs) for r in large]
            seconds = [r["median_s"] for r in large]
            f = fit(terms, seconds)
            fits.setdefault(name, {})[busy] = replace(f.record, small=_small(large, small))
            for r, measured, residual in zip(large, seconds, f.residuals, strict=True):
                call, _ = call_of(kernel, sizes[r["size"]])
                what = " ".join(map(str, call.types)) + (f" {call.attrs.get('epilogue')}" if call.attrs.get("epilogue") else "")
                kept.append(Row(kernel=name, busy=busy, what=what, measured_s=measured, fitted_s=measured * (1 + residual)))
    return {n: KernelFit(source_hash=hashes[n], busy=b) for n, b in fits.items()}, tuple(kept)


def _small(large: Sequence[Mapping[str, Any]], small: Sequence[Mapping[str, Any]]) -> float:
    """How much of its time a kernel takes when all that its step touches stays in the core's caches: the median over sizes."""
    seconds = {r["size"]: r["median_s"] for r in large}
    ratios = [r["median_s"] / seconds[r["size"]] for r in small if seconds[r["size"]] > SHORT]
    return median(ratios) if ratios else 1.0


# ----------------------------------------------------------------------------------------------- the link and the player


def exchange(
    ranks: int,
    sizes: Sequence[int],
    actions: int = 0,
    *,
    platform: Platform = Platform.CPU,
    steps: int = LINK_STEPS,
    blocks: int = 6,
) -> RunResult:
    """Play the plan that only communicates: a block to warm up, blocks without timers, one with them.

    Parameters
    ----------
    ranks, sizes, actions : of the plan, see `graph.parallel.strategies.exchange`.
    platform : where its ranks are.
    steps, blocks : steps of a block, and how many blocks without timers.
    """
    parts = (*(Block(steps=steps),) * blocks, Block(steps=steps, timed=True))
    params = {"ranks": ranks, "steps": sum(b.steps for b in parts), "sizes": list(sizes), "actions": actions}
    job = Job(
        model="", strategy="exchange", params=params, platform=platform.value, batch=1, blocks=parts, evaluate=False,
        probe=platform is Platform.CPU,
    )  # fmt: skip
    return run(job)


def _probes(results: Sequence[RunResult]) -> Probes:
    """Medians over all runs, ranks and times."""
    found = [p for result in results for r in result.probes for p in r]
    return Probes(
        arith_s=median(p.arithmetic for p in found),
        copy_s=median(p.copy for p in found),
        meeting_s=median(p.meeting for p in found),
    )


def overheads(actions: int = ACTIONS, **options: Any) -> tuple[float, float]:
    """(seconds of a tiny action, of a step beyond its actions), from steps of many and of one; `options` as of `exchange`."""
    many, few = (exchange(1, (), n, **options) for n in (actions, 1))
    slow, fast = (median(b.seconds / b.steps for b in r.blocks[1:] if not b.timed) for r in (many, few))
    action = (slow - fast) / (actions - 1)
    return max(action, 0.0), max(fast - action, 0.0)


def link_of(timelines: Sequence[Timeline]) -> LinkFit:
    """Fit sends, copies and sums of letters to overhead + bytes / rate; latency from those whose receiver was waiting."""
    by_size: dict[tuple[str, int], list[float]] = defaultdict(list)
    ends: dict[tuple[Any, ...], Record] = {}
    for run_number, r in ((k, r) for k, t in enumerate(timelines) for r in t):
        if not r.is_leaf or r.id[-1] not in ("send", "recv"):
            continue
        hop = r.id[-2]
        what = "send" if r.id[-1] == "send" else ("add" if hop == 0 else "copy")  # a ring of two: sum, then copy
        by_size[what, r.nbytes].append(r.seconds)
        ends[(run_number, *r.id, r.rank)] = r
    rates = {}
    residuals: list[float] = []
    for what in ("send", "copy", "add"):
        points = sorted((n, median(t)) for (w, n), t in by_size.items() if w == what)
        f = fit([{"letter": 1.0, "bytes": float(n)} for n, _ in points], [max(t, 1e-9) for _, t in points])
        rates[what] = f.coefficients["letter"], 1 / max(f.coefficients["bytes"], 1e-15)
        residuals += f.residuals
    return LinkFit(
        send_overhead_s=rates["send"][0],
        send_bytes_per_s=rates["send"][1],
        recv_copy_overhead_s=rates["copy"][0],
        recv_copy_bytes_per_s=rates["copy"][1],
        recv_add_overhead_s=rates["add"][0],
        recv_add_bytes_per_s=rates["add"][1],
        latency_s=_latency(ends),
        residuals=tuple(residuals),
    )


def _latency(ends: Mapping[tuple[Any, ...], Record]) -> float:
    """Median seconds from the end of a send to the start of its receive, of those receives that were ready before."""
    found = []
    ranks = sorted({k[-1] for k in ends})
    for key, sent in ends.items():
        if key[-2] == "send":
            (other,) = (r for r in ranks if r != key[-1])
            received = ends.get((*key[:-2], "recv", other))
            if received is not None and received.ready < sent.start:
                found.append(received.start - sent.end)
    return max(median(found), 0.0) if found else 0.0
