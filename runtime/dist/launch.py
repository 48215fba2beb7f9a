"""The parent of a run: starts the worker processes, watches them, and gathers what they did.

Workers are fresh interpreters that are handed the job as text and the shared memory as an open file. The parent computes nothing
while they train; it looks at them some thirty times a second. When one dies it raises the abort flag, gives the others a moment,
and kills what is left; so no process outlives `run`.
"""

import fcntl
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from graph.instrument import hooks, show
from graph.timeline import Record, Timeline
from runtime import checkpoint
from runtime.dist.control import Control, State, blocks_from, timer_row
from runtime.dist.prepare import check, compile_kernels
from runtime.dist.replay import found_again
from runtime.dist.setup import Setup
from runtime.errors import DistributedFailure, Interrupted, MissingCapability, RunError
from runtime.executor import FOREVER
from runtime.job import Job
from runtime.measured import records
from runtime.result import BlockResult, Probe, RunResult

_LOOK_SECONDS = 0.03
_GRACE_SECONDS = 2.0  # for the others to see the abort flag
_STOP_SECONDS = 10.0  # for a step to end, once the time is over
_STUCK_FACTOR = 3.0  # peer time-outs without a step until a worker counts as stuck
_CODE = "import sys; sys.path.insert(0, {root!r}); from runtime.dist.worker import main; main()"


def run(job: Job, *, instruments: Sequence[object] = (), timeout: float | None = None) -> RunResult:
    """Train as the job says, with one process a rank (also when there is only one).

    Parameters
    ----------
    job : the run.
    instruments : who watches (`graph.instrument`): phases (compiling or loading kernels, starting workers, training, testing) and
        steps as they happen, the actions of timed blocks when the run has ended.
    timeout : seconds from now until the run is stopped as by Ctrl-C; where no step ends for another `_STOP_SECONDS`, it is
        ended all the same. None: never.

    Raises
    ------
    DistributedFailure : a worker died or gave up; nothing is left running.
    Interrupted : Ctrl-C, or the time is over; the run was saved between two steps.
    InvalidJob, DataError, CheckpointError, MissingCapability, DoesNotFit : before anything is started.
    GraphError : an instrument has a method that no engine calls; before anything is started.
    """
    began = time.monotonic()
    on_phase = hooks(instruments, "on_phase")
    setup, first_step = check(job)
    compile_kernels(setup, instruments)
    compile_seconds = time.monotonic() - began
    for call in on_phase:
        call("starting workers")
    watch = _Watch(setup, first_step, instruments, FOREVER if timeout is None else began + timeout)
    try:
        watch.start()
        watch.follow()
        result = watch.result(compile_seconds, began)
    except DistributedFailure as e:
        if job.is_careful or not watch.control.get("device_failed"):
            raise
        raise found_again(e, job, first_step, run) from e
    finally:
        watch.close()
    show(result.timeline, instruments)
    return result


def _stop_signal(p: subprocess.Popen[bytes]) -> str:
    """Name of the signal that has stopped (not ended) a process; empty while it runs."""
    try:
        found = os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it has ended
        return ""
    return signal.Signals(found.si_status).name if found and found.si_code == os.CLD_STOPPED else ""


def _above_standard(fd: int) -> int:
    """The open file under a number that is no standard stream: where those are closed, a worker's would take its place."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


class _Watch:
    """The workers of one run, and the memory that they share."""

    def __init__(self, setup: Setup, first_step: int, instruments: Sequence[object], until: float = FOREVER) -> None:
        self.setup, self.job, self.first_step = setup, setup.job, first_step
        self.on_phase, self.on_step = hooks(instruments, "on_phase"), hooks(instruments, "on_step")
        if not hasattr(os, "memfd_create"):
            raise MissingCapability("worker processes share memory through memfd_create, which Linux has and this system lacks")
        nbytes = Control(setup).nbytes
        self.fd = _above_standard(os.memfd_create("trainscape"))
        os.ftruncate(self.fd, nbytes)
        self._map = mmap.mmap(self.fd, nbytes)
        self.control = Control(setup, np.frombuffer(self._map, np.uint8))
        self.control.begin()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.errors: list[IO[bytes]] = []
        self.asked_to_stop = False
        self.told, self.phase = -1, ""
        self.moved = time.monotonic(), -1
        self.until = until
        self.stopped: dict[int, float] = {}  # worker -> since when it has been stopped

    def start(self) -> None:
        """Start a process a rank. Each has a session of its own, so that Ctrl-C reaches the parent alone."""
        root = str(Path(__file__).resolve().parents[2])
        for r in range(len(self.control.ranks)):
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
            self.errors.append(errors)
            p = subprocess.Popen(
                [sys.executable, "-c", _CODE.format(root=root)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
                pass_fds=(self.fd,), start_new_session=True,
            )  # fmt: skip
            self.workers.append(p)
            order = {"rank": r, "fd": self.fd, "nbytes": self.control.nbytes, "job": self.job.to_json()}
            try:
                assert p.stdin is not None
                p.stdin.write(json.dumps(order).encode() + b"\n")
                p.stdin.flush()  # it stays open: its end tells the worker that we are gone
            except BrokenPipeError:
                pass  # it died at once; `follow` sees that

    # --------------------------------------------------------------------------------------------------- watching

    def follow(self) -> None:
        """Watch until all have ended well; raises when one has not, or when the user stops the run."""
        while True:
            try:
                if self._look():
                    break
                time.sleep(_LOOK_SECONDS)
                if time.monotonic() > self.until:
                    self.until = time.monotonic() + _STOP_SECONDS
                    self._stop()
            except KeyboardInterrupt:
                self._stop()
        step = self.control.report(0)["step"]
        if self.asked_to_stop and step < self.job.steps:
            raise Interrupted(step=step, checkpoint=self._checkpoint())

    def _stop(self) -> None:
        """Ask for an end between two steps; the second time, or where there are no steps yet, the run ends at once."""
        if self.asked_to_stop or self._states() & {State.STARTING, State.COMPILING}:
            raise Interrupted(step=self.control.completed(self.first_step), checkpoint=self._checkpoint()) from None
        self.asked_to_stop = True
        self.control.choose_stop(self.first_step)

    def _look(self) -> bool:
        """One look at everybody; True: all have ended well."""
        codes = [p.poll() for p in self.workers]
        if any(code not in (None, 0) for code in codes):
            raise self._failure()
        self._report()
        self._check_stuck()
        return all(code == 0 for code in codes)

    def _states(self) -> set[State]:
        return {State(self.control.get("state", r)) for r in range(len(self.workers))}

    def _report(self) -> None:
        phase = {State.TRAINING: "training", State.TESTING: "testing"}.get(State(self.control.get("state", 0)), "")
        if phase and phase != self.phase:
            self.phase = phase
            for call in self.on_phase:
                call(phase)
        step = self.control.completed(self.first_step)
        if self.on_step and step > max(self.told, self.first_step):
            self.told = step
            last = self.control.losses(step - 1 - self.first_step, step - self.first_step)
            loss = float(last[0]) if self.control.loss_of else float("nan")
            for call in self.on_step:
                call(step, self.job.steps, loss)

    def _check_stuck(self) -> None:
        now, step = time.monotonic(), self.control.completed(self.first_step)
        for r, p in enumerate(self.workers):
            name = _stop_signal(p)
            if not name:
                self.stopped.pop(r, None)
            elif now - self.stopped.setdefault(r, now) > self.job.peer_timeout:
                self.control.put(1, "abort")
                reason = f"stopped by {name} for {now - self.stopped[r]:.1f} s"
                raise self._lost(r, reason, step)
        if step != self.moved[1] or self._states() != {State.TRAINING}:
            self.moved = now, step
        elif now - self.moved[0] > _STUCK_FACTOR * self.job.peer_timeout:
            slowest = min(range(len(self.workers)), key=lambda r: self.control.get("progress", r))
            self.control.put(1, "abort")
            behind = ", and it is behind the others" if len(self.workers) > 1 else ""
            reason = f"no step ended for {now - self.moved[0]:.0f} s{behind}"
            raise self._lost(slowest, reason, step)

    def _failure(self) -> RunError:
        """Why the run ended: let the others end too, then find who was first."""
        dead = [r for r, p in enumerate(self.workers) if p.poll() not in (None, 0)]
        self.control.put(1, "abort")
        until = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < until and any(p.poll() is None for p in self.workers):
            time.sleep(_LOOK_SECONDS)
        own = [r for r in dead if self.control.get("state", r) != State.ABORTED]
        own += [r for r in range(len(self.workers)) if self.control.get("state", r) == State.FAILED]
        rank = (own or dead)[0]
        stopped = [r for r, p in enumerate(self.workers) if _stop_signal(p)]
        step = self.control.completed(self.first_step)
        if stopped and self._is_peer_timeout(rank):
            name = _stop_signal(self.workers[stopped[0]])
            return self._lost(stopped[0], f"stopped by {name}; {self._reason(rank)}", step)
        return self._lost(rank, self._reason(rank), step)

    def _lost(self, r: int, reason: str, step: int) -> DistributedFailure:
        return DistributedFailure(rank=str(self.control.ranks[r]), reason=reason, step=step, checkpoint=self._checkpoint())

    def _is_peer_timeout(self, rank: int) -> bool:
        """The worker ended by itself, and not because it was killed: it may have waited in vain for another."""
        code = self.workers[rank].poll()
        return code is not None and code > 0 and self.control.get("state", rank) == State.FAILED

    def _reason(self, rank: int) -> str:
        code = self.workers[rank].poll()
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if self.control.get("state", rank) == State.FAILED:
            return self.control.told(rank).strip().removeprefix(f"{self.control.ranks[rank]}: ")
        self.errors[rank].seek(0)
        said = self.errors[rank].read().decode(errors="replace").strip()
        return f"ended with exit code {code}" + (f": {said[-2000:]}" if said else "")

    def _checkpoint(self) -> Path | None:
        return checkpoint.latest(self.job.checkpoint_folder) if self.job.checkpoint_folder else None

    def close(self) -> None:
        """End whatever is left."""
        self.control.put(1, "abort")
        for p in self.workers:
            if p.poll() is None:
                p.kill()
        for p in self.workers:
            if p.stdin:
                with suppress(BrokenPipeError):
                    p.stdin.close()
            p.wait()
        for e in self.errors:
            e.close()
        self.control.memory = None
        with suppress(BufferError):  # somebody still looks at it: then it goes when he does
            self._map.close()
        os.close(self.fd)

    # -------------------------------------------------------------------------------------------------- gathering

    def result(self, compile_seconds: float, began: float) -> RunResult:
        """What the shared memory holds when all have ended."""
        c, reports = self.control, [self.control.report(r) for r in range(len(self.workers))]
        blocks = [self._block(*b) for b in blocks_from(self.job, self.first_step)]
        bytes_sent = c.bytes_sent()
        checkpoint_path = reports[0]["checkpoint"]
        return RunResult(
            first_step=self.first_step,
            steps=self.job.steps,
            losses=tuple(c.losses(0, self.job.steps - self.first_step).tolist()) if c.loss_of else (),
            blocks=tuple(blocks),
            timeline=self._timeline(),
            bytes_sent=bytes_sent,
            bytes_sent_total=sum(bytes_sent.values()),
            memory_peak_bytes=tuple(int(x["memory"]) for x in reports),
            lane_bytes=c.lane_bytes,
            accuracy=reports[0]["accuracy"],
            held_out=int(reports[0]["held_out"]),
            checkpoint=Path(checkpoint_path) if checkpoint_path else None,
            probes=tuple(self._probes(r) for r in range(len(self.workers))) if self.job.probe else (),
            cpus=tuple(c.get("cpu", r) for r in range(len(self.workers))),
            compile_seconds=compile_seconds,
            wall_seconds=time.monotonic() - began,
            plan_hash=self.job.plan_hash,
            lowered_hash=self.job.lowered_hash,
        )

    def _everyone(self, field: str) -> Any:
        return np.stack([self.control.view(field, r) for r in range(len(self.workers))])

    def _block(self, k: int, first: int, last: int) -> BlockResult:
        began = int(self._everyone("began")[:, k].max())
        ends = self._everyone("ends")[:, first - self.first_step : last - self.first_step].max(axis=0)
        step_seconds = np.diff(np.concatenate([[began], ends])) * 1e-9
        return BlockResult(
            first=first, steps=last - first, timed=self.job.blocks[k].timed, seconds=float(ends[-1] - began) * 1e-9,
            step_seconds=tuple(map(float, step_seconds)),
        )  # fmt: skip

    def _probes(self, r: int) -> tuple[Probe, ...]:
        blocks = [0, *(k + 1 for k, _, _ in blocks_from(self.job, self.first_step))]
        return tuple(Probe(arithmetic=a, copy=b, meeting=c) for a, b, c in self.control.view("probes", r)[blocks].tolist())

    def _timeline(self) -> Timeline:
        """All timed blocks; the clock's zero is the first barrier of the run."""
        found: list[Record] = []
        parts = list(blocks_from(self.job, self.first_step))
        origin = int(self._everyone("began")[:, parts[0][0]].min()) if parts else 0
        for k, first, last in parts:
            if self.job.blocks[k].timed:
                row = timer_row(self.job, k) + first - sum(b.steps for b in self.job.blocks[:k])
                for r, rank in enumerate(self.control.ranks):
                    stamps = self.control.view("timers", r)[row : row + last - first]
                    found += records(self.setup.lowered[rank.role], rank, first, stamps, origin)
        return Timeline(sorted(found, key=lambda r: r.end), plan_hash=self.job.plan_hash, source="measured")
