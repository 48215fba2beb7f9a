"""The shared memory of a run: flags, counters, results and wires, at places that every process works out alike.

One anonymous file (memfd) is handed down to the workers; it has no name, so nothing can be left behind. Every field has one
writer; flags and counters stand on cache lines of their own. Sizes follow from job, plan and lowering.
"""

import json
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Do, Instruction, Loss
from graph.parallel.unroll import unroll
from hw.lowered import Lowered
from runtime.dist.setup import Setup
from runtime.executor import FOREVER, Board
from runtime.job import Job
from runtime.native import read_word, write_word
from runtime.scheduler import CHOOSING, SENT
from runtime.table import Wire, WirePlace, wire_layout

LINE = 64
PAGE = 4096
TEXT_BYTES = 16_384  # of a worker's report, or of its traceback


class State(IntEnum):
    """How far a worker is."""

    STARTING = 0
    COMPILING = 1
    READY = 2
    TRAINING = 3
    TESTING = 4
    DONE = 5
    ABORTED = 6  # ended because another one failed
    FAILED = 7  # its text says why


class Control:
    """Views of the shared memory. Workers are numbered in the order of the plan's ranks.

    Parameters
    ----------
    setup : what is run; it fixes the layout.
    memory : the shared memory as bytes, u8[nbytes]; None: only work out the layout.

    Attributes
    ----------
    leaves, losses_per_step : by worker: actions that it plays in a step, and losses that it computes.
    handed_in : parameters and state that the first worker does not keep whole: here they are put together.
    """

    def __init__(self, setup: Setup, memory: npt.NDArray[np.uint8] | None = None) -> None:
        plan, job = setup.plan, setup.job
        self.setup, self.job, self.ranks = setup, job, plan.ranks
        self.blocks, self.steps = len(job.blocks), job.steps
        self.timed_steps = sum(b.steps for b in job.blocks if b.timed)
        leaves = {rank: [a.ins for a in unroll(plan, rank) if a.is_leaf] for rank in plan.ranks}
        self.leaves = [len(found) for found in leaves.values()]
        self.losses_per_step = [_losses(setup.lowered[rank.role], found) for rank, found in leaves.items()]
        self.handed_in = {n: setup.whole[n] for n, by in setup.keepers.items() if list(by) != [plan.ranks[0]]}
        self._places: dict[Any, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        self.nbytes = 0
        self._lay_out()
        self.wires, self.lane_bytes = wire_layout(plan)
        self._wires_at = self._place("wires", "u1", (self.lane_bytes,), PAGE)
        self.nbytes += -self.nbytes % PAGE
        self.memory = memory
        self._base = 0 if memory is None else int(memory.ctypes.data)

    def _place(self, key: Any, dtype: str, shape: tuple[int, ...], align: int = LINE) -> int:
        at = self.nbytes + -self.nbytes % align
        self._places[key] = at, np.dtype(dtype), shape
        self.nbytes = at + int(np.prod(shape)) * np.dtype(dtype).itemsize
        return at

    def _lay_out(self) -> None:
        for flag in ("abort", "stop_at", "device_failed"):
            self._place(flag, "i8", (1,))
        for r in range(len(self.ranks)):
            for counter in ("state", "progress", "arrived", "cpu"):
                self._place((counter, r), "i8", (1,))
            self._place(("text", r), "u1", (TEXT_BYTES,))
            self._place(("began", r), "i8", (self.blocks,))
            self._place(("ended", r), "i8", (self.blocks,))
            self._place(("probes", r), "f8", (self.blocks + 1, 3))
            self._place(("losses", r), "f4", (self.steps, max(self.losses_per_step[r], 1)))
            self._place(("ends", r), "i8", (self.steps,))
            self._place(("timers", r), "i8", (self.timed_steps, self.leaves[r], 3), PAGE)
        for name, t in self.handed_in.items():
            self._place(("whole", name), t.dtype.numpy.str, t.shape)

    def view(self, *key: Any) -> npt.NDArray[Any]:
        """A field by name, or by (name, number of the worker or name of the value)."""
        assert self.memory is not None
        at, dtype, shape = self._places[key if len(key) > 1 else key[0]]
        return self.memory[at : at + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)

    def address(self, *key: Any) -> int:
        """Address of a field in this process."""
        return self._base + self._places[key if len(key) > 1 else key[0]][0]

    def get(self, *key: Any) -> int:
        """A flag or counter."""
        return int(read_word(self.address(*key)))

    def put(self, value: int, *key: Any) -> None:
        """Set a flag or counter."""
        write_word(self.address(*key), value)

    def begin(self) -> None:
        """The parent's first act."""
        self.put(FOREVER, "stop_at")
        for r in range(len(self.ranks)):
            self.put(-1, "cpu", r)

    def board(self, r: int) -> Board:
        """What worker r's executor obeys and reports."""
        return Board(
            abort=self.address("abort"), stop_at=self.address("stop_at"),
            progress=self.address("progress", r), losses=self.address("losses", r), ends=self.address("ends", r),
        )  # fmt: skip

    def wire_places(self) -> dict[Wire, WirePlace]:
        """Where every wire lies in this process."""
        start = self._base + self._wires_at
        return {wire: WirePlace(address=start + at, stride=stride) for wire, (at, stride) in self.wires.items()}

    def bytes_sent(self) -> dict[tuple[str, str, str], int]:
        """wire -> bytes that its sender counted."""
        return {(str(w[0]), str(w[1]), w[2]): int(read_word(p.address + SENT)) for w, p in self.wire_places().items()}

    def tell(self, r: int, what: str) -> None:
        """Leave a text for the parent: a report in JSON, or a traceback; the end of one that is too long."""
        raw = what.encode()[-(TEXT_BYTES - 1) :]
        self.view("text", r)[: len(raw) + 1] = np.frombuffer(raw + b"\0", np.uint8)

    def told(self, r: int) -> str:
        """The text of worker r."""
        return bytes(self.view("text", r)).split(b"\0", 1)[0].decode(errors="replace")

    def report(self, r: int) -> dict[str, Any]:
        """The report of worker r."""
        found: dict[str, Any] = json.loads(self.told(r) or "{}")
        return found

    def completed(self, first: int) -> int:
        """Steps that all workers have completed."""
        return min(max(self.get("progress", r), first) for r in range(len(self.ranks)))

    def choose_stop(self, first: int) -> None:
        """Let all workers stop before the same step, as soon as they can: see `runtime.scheduler`."""
        self.put(CHOOSING, "stop_at")
        self.put(1 + max(max(self.get("progress", r), first) for r in range(len(self.ranks))), "stop_at")

    @cached_property
    def loss_of(self) -> tuple[int, ...]:
        """The workers whose losses add up to that of the whole batch; () when none computes any."""
        roles = self.setup.plan.role
        told = [(r, roles[rank.role].loss) for r, rank in enumerate(self.ranks) if self.losses_per_step[r]]
        copies = tuple(r for r, loss in told if loss == Loss.COPY)
        return copies[:1] or tuple(r for r, loss in told if loss == Loss.SHARE)

    def losses(self, first: int, last: int) -> npt.NDArray[np.float64]:
        """Losses of some steps, counted from the first of this run, added over workers and micro-batches in rank order."""
        total = np.zeros(max(last - first, 0))
        for r in self.loss_of:
            for column in self.view("losses", r)[first : max(last, first)].T:
                total += column
        return total


def _losses(lowered: Lowered, leaves: Sequence[Instruction]) -> int:
    loss = lowered.graph.outputs.get("loss")
    return sum(isinstance(i, Do) and any(loss in c.writes for c in lowered.segments[i.kernel]) for i in leaves)


def blocks_from(job: Job, first_step: int) -> Iterator[tuple[int, int, int]]:
    """(number of the block, its first step, the step after its last) of what is left to run from `first_step`."""
    at = 0
    for k, b in enumerate(job.blocks):
        if at + b.steps > first_step:
            yield k, max(at, first_step), at + b.steps
        at += b.steps


def timer_row(job: Job, block: int) -> int:
    """First row in the timers of a timed block."""
    return sum(b.steps for b in job.blocks[:block] if b.timed)
