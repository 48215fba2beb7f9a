"""A worker process: builds what the job says, meets the others, plays blocks of steps, reports.

It is started by `runtime.dist.launch` with a line of JSON on its standard input, which stays open: when it closes, the parent is
gone and so must the worker be. It leaves results in the shared memory and ends; a failure leaves its traceback there.
"""

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

from graph.passes.fixed_point import fixed_values
from runtime import checkpoint
from runtime.data.dataset import Pair, load_for
from runtime.data.stage import InputStage
from runtime.dist.control import Control, State, blocks_from, timer_row
from runtime.dist.setup import Setup
from runtime.errors import DeviceFailed, InvalidJob, RunError
from runtime.evaluate import Evaluator
from runtime.executor import FOREVER, data_layout
from runtime.executors import AnyExecutor, executor_of
from runtime.job import Job
from runtime.measure import Meter, Probes, anonymous_bytes
from runtime.native import die_with_parent
from runtime.scheduler import Outcome, Word, barrier, meetings
from runtime.shards import cut, drawn, pieces

ABORTED_CODE, FAILED_CODE = 3, 1
_MEETINGS = 400  # in a row, for the probe of the way from core to core
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []  # that this process may use


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


class _Aborted(Exception):
    """Another worker has failed, so this one ends."""


class _Worker:
    def __init__(self, number: int, job: Job, memory: Any) -> None:
        self.number, self.job = number, job
        self.setup = Setup(job)
        self.control = Control(self.setup, memory)
        self.rank = self.control.ranks[number]
        self.lowered = self.setup.lowered[self.rank.role]
        self.pieces = pieces(self.setup.plan, self.rank, self.setup.whole)
        self.turn = 0
        self.first_step = 0
        self.accuracy: float | None = None
        self.is_tested = False
        self.evaluator = Evaluator(self.setup.forward) if self.setup.forward and number == 0 else None

    def run(self) -> None:
        """All of it; ends the process."""
        code = FAILED_CODE
        try:
            self._train()
            self.control.put(State.DONE, "state", self.number)
            code = 0
        except _Aborted:
            self.control.put(State.ABORTED, "state", self.number)
            code = ABORTED_CODE
        except BaseException as e:
            known = isinstance(e, RunError)
            if isinstance(e, DeviceFailed):
                self.control.put(1, "device_failed")
            self.control.tell(self.number, str(e) if known else "".join(traceback.format_exception(e)))
            self.control.put(State.FAILED, "state", self.number)
            self.control.put(1, "abort")
        sys.stderr.flush()
        os._exit(code)  # nothing is left to tidy up; the interpreter's own end would take a tenth of a second

    def _train(self) -> None:
        c, n = self.control, self.number
        c.put(State.COMPILING, "state", n)
        cores = self._pin()
        data = self._data()
        self.first_step = checkpoint.load(Path(self.job.resume)).step if self.job.resume else 0
        stage = self._stage(data[0], cores) if data and self.setup.has_input(self.rank.role) else None
        began = time.monotonic()
        executor = executor_of(
            self.lowered, self.rank, is_careful=self.job.is_careful, stage=stage, wires=c.wire_places(), batch=self.job.batch,
            peer_timeout=self.job.peer_timeout, shares_core=len(c.ranks) > len(_CORES),
        )  # fmt: skip
        compile_seconds = time.monotonic() - began
        probes = Probes() if self.job.probe else None
        self._warm(executor)
        values = cut(self._held(), self.pieces)
        with stage or nullcontext():
            if stage:
                stage.wait_until_full()
            gc.collect()
            gc.freeze()
            _make_room()
            memory = executor.meter()
            executor.touch()
            for name, piece in self.pieces.items():
                executor.put(piece, values[name])
            executor.next_step = self.first_step
            c.put(State.READY, "state", n)
            self._meet(executor)
            c.put(State.TRAINING, "state", n)
            self._blocks(executor, probes, memory, data)
            step, path = executor.next_step, None
            if self.job.checkpoints:
                path = self._save(step, executor)
            if self.job.evaluate and not self.is_tested and step == self.job.steps:
                self._evaluate(executor, data)
        c.tell(n, json.dumps({
            "step": step, "memory": memory.grown, "compile_s": compile_seconds, "accuracy": self.accuracy,
            "held_out": len(data[1]) if data else 0, "checkpoint": str(path) if path else None, "arena": executor.arena_nbytes,
        }))  # fmt: skip

    # ------------------------------------------------------------------------------------------------- making ready

    def _pin(self) -> list[int]:
        """Keep this thread, and those that it will start, to a core of its own, where there are enough; returns spare cores."""
        ranks = len(self.control.ranks)
        if not self.job.pin or len(_CORES) < ranks:
            return []
        os.sched_setaffinity(0, {_CORES[self.number]})
        self.control.put(_CORES[self.number], "cpu", self.number)
        return _CORES[ranks + self.number :: ranks]

    def _data(self) -> Pair | None:
        """The samples, where this worker needs any: to train on, or, the first, to test with."""
        needs = self.setup.has_input(self.rank.role) or self.evaluator is not None
        return load_for(self.job, self.setup.graph) if needs else None

    def _stage(self, train: Any, cores: list[int]) -> InputStage:
        offsets, nbytes = data_layout(self.lowered)
        number, ranks, micro_batches = self.setup.part_of_step(self.rank)
        parts = self.setup.plan.role[self.rank.role].sample_parts
        return InputStage(
            train, offsets=offsets, nbytes=nbytes, batch=self.job.batch, rank=number, ranks=ranks,
            micro_batches=micro_batches, parts=parts, seed=self.job.seed, first_step=self.first_step, cores=cores,
        )  # fmt: skip

    def _warm(self, executor: AnyExecutor) -> None:
        """Let native code be loaded before memory is measured: no step is played, no barrier waited at."""
        executor.play(0, 0, board=self.control.board(self.number))
        barrier(self.control.address("arrived", self.number), np.zeros(0, np.int64), 0, executor.words)
        meetings(self.control.address("arrived", self.number), np.zeros(0, np.int64), 0, 1, executor.words)
        self.control.view("losses", self.number)[:] = 0  # the pages are there before the clock runs
        for field in ("ends", "timers", "probes"):
            self.control.view(field, self.number)[:] = 0

    def _values(self) -> checkpoint.Arrays:
        """Whole parameters and state to begin with: drawn, or of the checkpoint, which the parent has checked."""
        saved = self.job.resume or self.job.values
        return checkpoint.load(Path(saved)).values if saved else drawn(self.setup.graph, self.job.seed)

    def _held(self) -> checkpoint.Arrays:
        """The same as the rank's graph reads it: what computes in fixed point reads words."""
        values, graph = self._values(), self.lowered.graph
        return values if self.setup.trains else fixed_values(graph, values)

    # ----------------------------------------------------------------------------------------------------- the steps

    def _meet(self, executor: AnyExecutor) -> None:
        """A barrier of all workers. It waits as long as it takes, for one may be compiling, testing or writing: the parent sees
        those that die or are stuck.
        """
        self.turn += 1
        c, words = self.control, executor.words
        words[Word.ABORT], words[Word.TIMEOUT_NS] = c.address("abort"), FOREVER
        outcome = Outcome(barrier(c.address("arrived", self.number), self._others(), self.turn, words))
        words[Word.TIMEOUT_NS] = int(self.job.peer_timeout * 1e9)
        if outcome is not Outcome.DONE:
            raise _Aborted

    def _blocks(self, executor: AnyExecutor, probes: Probes | None, memory: Meter, data: Pair | None) -> None:
        """Play what the job says, or until asked to stop."""
        c, n = self.control, self.number
        self._probe(executor, probes, 0)
        for k, first, last in blocks_from(self.job, self.first_step):
            self._meet(executor)
            c.view("began", n)[k] = time.monotonic_ns()
            is_complete = self._block(executor, k, first, last)
            c.view("ended", n)[k] = time.monotonic_ns()
            if self.accuracy is None:  # testing takes memory of its own
                memory.look()
            if not is_complete:
                return
            if self.job.blocks[k].evaluate:
                self._evaluate(executor, data)
            self._probe(executor, probes, k + 1)

    def _block(self, executor: AnyExecutor, k: int, first: int, last: int) -> bool:
        """One block, in as few native calls as checkpoints allow; False: asked to stop within it."""
        board, policy, job = self.control.board(self.number), self.job.checkpoints, self.job
        every = policy.every if policy and (self.number == 0 or self.control.handed_in) else 0
        at, begin = first, sum(b.steps for b in job.blocks[:k])
        while at < last:
            to = min(last, (at // every + 1) * every) if every else last
            timers = 0
            if job.blocks[k].timed:
                row = timer_row(job, k) + at - begin
                timers = self.control.address("timers", self.number) + row * self.control.leaves[self.number] * 24
            outcome = executor.play(at, to, board=board, origin=self.first_step, timers=timers)
            if outcome is Outcome.ABORTED:
                raise _Aborted
            if outcome is not Outcome.DONE:
                return False
            at = to
            if every and at % every == 0 and at < job.steps:
                self._save(at, executor)
        return True

    def _evaluate(self, executor: AnyExecutor, data: Pair | None) -> None:
        """Accuracy on the samples set aside, by the first worker."""
        if not self.setup.evaluates:
            return
        values, self.is_tested = self._whole(executor) if self.setup.trains else self._values(), True
        if self.evaluator is not None and data is not None:
            self.control.put(State.TESTING, "state", 0)
            self.accuracy = self.evaluator.accuracy(values, data[1])
            self.control.put(State.TRAINING, "state", 0)

    def _meeting(self, executor: AnyExecutor) -> float:
        """Seconds of one of many barriers in a row."""
        self._meet(executor)
        others, first = self._others(), self.turn + 1
        self.turn += _MEETINGS
        began = time.perf_counter()
        mine = self.control.address("arrived", self.number)
        if meetings(mine, others, first, _MEETINGS, executor.words) != Outcome.DONE:
            raise _Aborted
        return (time.perf_counter() - began) / _MEETINGS

    def _others(self) -> Any:
        """Addresses at which the other workers say that they have arrived at a barrier."""
        return np.array(
            [self.control.address("arrived", r) for r in range(len(self.control.ranks)) if r != self.number], np.int64
        )

    def _probe(self, executor: AnyExecutor, probes: Probes | None, place: int) -> None:
        """Probe the core, in turns where workers share cores; and the way between cores, where each has its own."""
        if probes is None:
            return
        ranks, cores = len(self.control.ranks), max(len(_CORES), 1)
        for first in range(0, ranks, cores):
            if ranks > cores:
                self._meet(executor)
            if first <= self.number < first + cores:
                found = probes()
                self.control.view("probes", self.number)[place] = found.arithmetic, found.copy, 0.0
        if 1 < ranks <= cores:
            self.control.view("probes", self.number)[place][2] = self._meeting(executor)

    def _whole(self, executor: AnyExecutor) -> checkpoint.Arrays:
        """Whole parameters and state, for the first worker; all are between the same two steps, and call this.

        What the first worker does not keep is handed in by those who do, through the shared memory.
        """
        c = self.control
        if c.handed_in:
            self._meet(executor)  # nobody reads any more what was handed in before
            for name in c.handed_in:
                if piece := self.setup.keepers[name].get(self.rank):
                    piece.of(c.view("whole", name))[...] = executor.piece(piece)
            self._meet(executor)
        if self.number:
            return {}
        own = {n: executor.piece(p) for n, p in self.pieces.items()}
        return {n: c.view("whole", n) if n in c.handed_in else own[n].reshape(t.shape) for n, t in self.setup.whole.items()}

    def _save(self, step: int, executor: AnyExecutor) -> Path | None:
        """A checkpoint, written by the first worker."""
        policy, folder = self.job.checkpoints, self.job.checkpoint_folder
        if policy is None or folder is None:
            raise InvalidJob("a checkpoint was asked for by a job without a policy for them")
        values = self._whole(executor)
        if self.number:
            return None
        made = checkpoint.Checkpoint(
            step=step, seed=self.job.seed, batch=self.job.batch, data=self.job.source.name, values=values,
            hashes={"plan": self.job.plan_hash, "lowered": self.job.lowered_hash},
        )  # fmt: skip
        return checkpoint.save(folder, made, keep=policy.keep)


if __name__ == "__main__":
    main()
