"""A worker process: builds what the job says, meets the others, plays blocks of steps, reports.

It is started by `runtime.dist.launch` with a line of JSON on its standard input, which stays open: when it closes, the parent is
gone and so must the worker be. It leaves results in the shared memory and ends; a failure leaves its traceback there.
"""

import ctypes
import gc
import json
import mmap
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from graph.init import init_parameters
from graph.parallel.plan import Rank
from runtime import checkpoint
from runtime.data.dataset import Pair, load_for
from runtime.data.stage import InputStage
from runtime.dist.control import Control, State, blocks_from, timer_row
from runtime.errors import InvalidJob, RunError, StepFailed
from runtime.executor import FOREVER, Executor, data_layout
from runtime.job import Job, build
from runtime.measure import Memory, Probes, anonymous_bytes
from runtime.native import die_with_parent
from runtime.scheduler import Outcome, Word, barrier, meetings

ABORTED_CODE, FAILED_CODE = 3, 1
_MEETINGS = 400  # in a row, for the probe of the way from core to core


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    die_with_parent()
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(FAILED_CODE)
    threading.Thread(target=_die_with_parent, name="parent watch", daemon=True).start()
    order = json.loads(line)
    memory = mmap.mmap(order["fd"], order["nbytes"])
    try:
        worker = _Worker(order["rank"], Job.from_json(order["job"]), np.frombuffer(memory, np.uint8))
    except RunError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(FAILED_CODE)
    worker.run()


def _die_with_parent() -> None:
    while sys.stdin.buffer.raw.read(1):  # type: ignore[union-attr]
        pass
    os._exit(FAILED_CODE)


def _make_room() -> None:
    """Let the interpreter touch some free memory, so that small objects made while training bring no new pages."""
    anonymous_bytes()
    room = [bytes(size) for size in range(8, 520, 16) for _ in range(400)]
    del room


class _Worker:
    def __init__(self, number: int, job: Job, memory: Any) -> None:
        self.number, self.job = number, job
        (self.lowered,) = build(job)[1].values()
        self.control = Control(job, self.lowered, memory)
        self.rank: Rank = self.control.ranks[number]
        self.turn = 0
        self.first_step = 0
        self.accuracy: float | None = None

    def run(self) -> None:
        """All of it; ends the process."""
        code = FAILED_CODE
        try:
            done = self._train()
            self.control.put(State.DONE if done else State.ABORTED, "state", self.number)
            code = 0 if done else ABORTED_CODE
        except BaseException as e:
            known = isinstance(e, RunError)
            self.control.tell(self.number, str(e) if known else "".join(traceback.format_exception(e)))
            self.control.put(State.FAILED, "state", self.number)
            self.control.put(1, "abort")
        sys.stderr.flush()
        os._exit(code)  # nothing is left to tidy up; the interpreter's own end would take a tenth of a second

    def _train(self) -> bool:
        c, n = self.control, self.number
        c.put(State.COMPILING, "state", n)
        cores = self._pin()
        data = load_for(self.lowered, self.job)
        self.first_step = checkpoint.load(Path(self.job.resume)).step if self.job.resume else 0
        stage = self._stage(data[0], cores) if data else None
        began = time.monotonic()
        executor = Executor(
            self.lowered, self.rank, stage=stage, wires=c.wire_places(), batch=self.job.batch, peer_timeout=self.job.peer_timeout
        )
        compile_seconds = time.monotonic() - began
        probes = Probes() if self.job.probe else None
        self._warm(executor)
        values = self._values()
        if self.job.checkpoints and n == 0:
            self._save(self.first_step, values)
        with stage or nullcontext():
            if stage:
                stage.wait_until_full()
            gc.collect()
            _make_room()
            memory = Memory()
            executor.touch()
            executor.load(values)
            executor.next_step = self.first_step
            c.put(State.READY, "state", n)
            executor.words[Word.TIMEOUT_NS] = FOREVER  # the others may still be compiling; the parent sees if they die
            if not self._meet(executor):
                return False
            executor.words[Word.TIMEOUT_NS] = int(self.job.peer_timeout * 1e9)
            c.put(State.TRAINING, "state", n)
            if not self._blocks(executor, probes, memory, data):
                return False
            step, path = executor.next_step, None
            if self.job.checkpoints and n == 0:
                path = self._save(step, executor.persistent())
            if data and self.job.evaluate and self.accuracy is None and step == self.job.steps:
                self._evaluate(executor, data)
        c.tell(n, json.dumps({
            "step": step, "memory": memory.grown, "compile_s": compile_seconds, "accuracy": self.accuracy,
            "held_out": len(data[1]) if data else 0, "checkpoint": str(path) if path else None, "arena": executor.arena_nbytes,
        }))  # fmt: skip
        return True

    # ------------------------------------------------------------------------------------------------- making ready

    def _pin(self) -> list[int]:
        """Keep this thread, and those that it will start, to a core of its own, where there are enough; returns spare cores."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        ranks = len(self.control.ranks)
        if not self.job.pin or len(cores) < ranks:
            return []
        os.sched_setaffinity(0, {cores[self.number]})
        self.control.put(cores[self.number], "cpu", self.number)
        return cores[ranks + self.number :: ranks]

    def _stage(self, train: Any, cores: list[int]) -> InputStage:
        offsets, nbytes = data_layout(self.lowered)
        plan, axes = self.lowered.plan, tuple(self.lowered.plan.role[self.lowered.role].axes)
        i, ranks = plan.index(self.rank, axes)
        return InputStage(
            train, offsets=offsets, nbytes=nbytes, batch=self.job.batch, rank=i, ranks=ranks,
            micro_batches=max(self.control.losses_per_step, 1), seed=self.job.seed, first_step=self.first_step, cores=cores,
        )  # fmt: skip

    def _warm(self, executor: Executor) -> None:
        """Let native code be loaded before memory is measured: no step is played, no barrier waited at."""
        executor.play(0, 0, board=self.control.board(self.number))
        barrier(self.control.address("arrived", self.number), np.zeros(0, np.int64), 0, executor.words)
        meetings(self.control.address("arrived", self.number), np.zeros(0, np.int64), 0, 1, executor.words)
        self.control.view("losses", self.number)[:] = 0  # the pages are there before the clock runs
        for field in ("ends", "timers", "probes"):
            self.control.view(field, self.number)[:] = 0

    def _values(self) -> checkpoint.Arrays:
        """Parameters and state to begin with: drawn, or those of the checkpoint, which the parent has checked."""
        return (
            checkpoint.load(Path(self.job.resume)).values
            if self.job.resume
            else init_parameters(self.lowered.graph, self.job.seed)
        )

    # ----------------------------------------------------------------------------------------------------- the steps

    def _meet(self, executor: Executor) -> bool:
        """A barrier of all workers; False: the run is aborted."""
        self.turn += 1
        c = self.control
        executor.words[Word.ABORT] = c.address("abort")
        outcome = Outcome(barrier(c.address("arrived", self.number), self._others(), self.turn, executor.words))
        if outcome is Outcome.TIMED_OUT:
            raise StepFailed(f"{self.rank}: the others did not come to a barrier in {executor.words[Word.TIMEOUT_NS] / 1e9:g} s")
        return outcome is Outcome.DONE

    def _blocks(self, executor: Executor, probes: Probes | None, memory: Memory, data: Pair | None) -> bool:
        """Play what the job says; False: aborted. Returns early, and True, when asked to stop."""
        c, n = self.control, self.number
        self._probe(executor, probes, 0)
        for k, first, last in blocks_from(self.job, self.first_step):
            if not self._meet(executor):
                return False
            c.view("began", n)[k] = time.monotonic_ns()
            outcome = self._block(executor, k, first, last)
            c.view("ended", n)[k] = time.monotonic_ns()
            if self.accuracy is None:  # testing takes memory of its own
                memory.look()
            if outcome is not Outcome.DONE:
                return outcome is Outcome.STOPPED
            if data and self.job.blocks[k].evaluate:
                self._evaluate(executor, data)
            self._probe(executor, probes, k + 1)
        return True

    def _block(self, executor: Executor, k: int, first: int, last: int) -> Outcome:
        """One block, in as few native calls as checkpoints allow."""
        board, policy, job = self.control.board(self.number), self.job.checkpoints, self.job
        every = policy.every if policy and self.number == 0 else 0
        at, begin = first, sum(b.steps for b in job.blocks[:k])
        while at < last:
            to = min(last, (at // every + 1) * every) if every else last
            timers = 0
            if job.blocks[k].timed:
                row = timer_row(job, k) + at - begin
                timers = self.control.address("timers", self.number) + row * self.control.leaves * 24
            outcome = executor.play(at, to, board=board, origin=self.first_step, timers=timers)
            if outcome is not Outcome.DONE:
                return outcome
            at = to
            if every and at % every == 0 and at < job.steps:
                self._save(at, executor.persistent())
        return Outcome.DONE

    def _evaluate(self, executor: Executor, data: Pair) -> None:
        """Accuracy on the samples set aside; the first worker's parameters are everybody's."""
        if self.number == 0:
            self.control.put(State.TESTING, "state", 0)
            self.accuracy = executor.accuracy(data[1])
            self.control.put(State.TRAINING, "state", 0)

    def _meeting(self, executor: Executor) -> float:
        """Seconds of one of many barriers in a row; 0.0 alone, or when the run is aborted."""
        if len(self.control.ranks) == 1 or not self._meet(executor):
            return 0.0
        others, first = self._others(), self.turn + 1
        self.turn += _MEETINGS
        began = time.perf_counter()
        done = meetings(self.control.address("arrived", self.number), others, first, _MEETINGS, executor.words) == Outcome.DONE
        return (time.perf_counter() - began) / _MEETINGS if done else 0.0

    def _others(self) -> Any:
        """Addresses at which the other workers say that they have arrived at a barrier."""
        return np.array(
            [self.control.address("arrived", r) for r in range(len(self.control.ranks)) if r != self.number], np.int64
        )

    def _probe(self, executor: Executor, probes: Probes | None, place: int) -> None:
        if probes is not None:
            found = probes()
            self.control.view("probes", self.number)[place] = found.arithmetic, found.copy, self._meeting(executor)

    def _save(self, step: int, values: checkpoint.Arrays) -> Path:
        policy, folder = self.job.checkpoints, self.job.checkpoint_folder
        if policy is None or folder is None:
            raise InvalidJob("a checkpoint was asked for by a job without a policy for them")
        made = checkpoint.Checkpoint(
            step=step, seed=self.job.seed, batch=self.job.batch, data=self.job.source.name, values=values,
            hashes={"plan": self.lowered.plan.hash, "lowered": self.lowered.hash},
        )  # fmt: skip
        return checkpoint.save(folder, made, keep=policy.keep)


if __name__ == "__main__":
    main()
