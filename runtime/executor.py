"""The executor of one rank: an arena, kernel calls bound to it, and many steps in one native call.

A step allocates nothing and returns to the interpreter only when asked to. The order of things in making one:
reserve the arena (no page is touched), bind, `touch`; so what the arena takes can be seen in the process's own counters.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Do, Rank, Ref
from graph.record import record
from hw.kernels.record import Call
from hw.lowered import STRIDE, Lowered
from runtime.arena import Arena
from runtime.data.stage import InputStage
from runtime.errors import StepFailed
from runtime.measure import Memory
from runtime.native import SYSTEM, call, native
from runtime.part import first_samples, is_exchange, rows_moved
from runtime.scheduler import LOOK, LOOK_SHARED, WORDS, Outcome, Word, play
from runtime.table import Row, Table, Wire, WirePlace

Array = npt.NDArray[Any]
FOREVER = 1 << 62


@record
class Board:
    """Addresses of what a rank shares with its parent: flags that it obeys, numbers that it reports.

    Parameters
    ----------
    abort : i64; not 0: end at once.
    stop_at : i64: the step before which all stop, see `runtime.scheduler`.
    progress : i64: steps completed.
    losses : f32[steps, losses of a step].
    ends : i64[steps]: nanoseconds at which each step ended.
    """

    abort: int
    stop_at: int
    progress: int
    losses: int
    ends: int


class LocalBoard:
    """A board for an executor that is alone in its process.

    Parameters
    ----------
    steps : how many steps it has room for.
    losses : losses of a step.
    """

    def __init__(self, steps: int, losses: int) -> None:
        self.words = np.zeros(4 * 8, np.int64)
        self.words[16] = FOREVER
        self.losses, self.ends = np.zeros((steps, losses), np.float32), np.zeros(steps, np.int64)

    @property
    def board(self) -> Board:
        at = int(self.words.ctypes.data)
        return Board(
            abort=at, stop_at=at + 128, progress=at + 192,
            losses=int(self.losses.ctypes.data), ends=int(self.ends.ctypes.data),
        )  # fmt: skip


@native
def run_calls(functions: npt.NDArray[np.int64], arguments: npt.NDArray[np.int64]) -> None:
    """Call kernels one after another."""
    for k in range(functions.size):
        call(functions[k], arguments[k])


class Executor(Arena):
    """Runs one rank of a lowered plan, in its arena.

    Parameters
    ----------
    lowered : what to run.
    rank : as whom.
    stage : where the batches come from; None when the plan has no input action.
    wires : where this rank's wires lie.
    batch : samples of a step over all ranks, for the counter ``"sample"``.
    peer_timeout : seconds to wait for a letter or a batch.
    shares_core : there are more ranks than cores, so a rank that waits gives its core away at once.
    """

    def __init__(
        self, lowered: Lowered, rank: Rank, *, stage: InputStage | None = None, wires: Mapping[Wire, WirePlace] | None = None,
        batch: int = 0, peer_timeout: float = 30.0, shares_core: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(lowered, rank)
        self.stage = stage
        self._blocks: list[npt.NDArray[np.int64]] = []
        self._made: dict[tuple[Any, ...], Row] = {}
        loss = lowered.graph.outputs.get("loss")
        self._loss = loss if loss in lowered.layout.values else None
        self.table = Table(self.plan, rank, rows=self._rows, place=self._place, wires=wires or {}, loss=self._loss_of)
        self.next_step = 0
        self.words = np.zeros(WORDS, np.int64)
        self._set_words(peer_timeout, LOOK_SHARED if shares_core else LOOK)
        self._first_samples = first_samples(self.table, batch)
        self.local = LocalBoard(1, self.table.losses)
        self._arguments = self.table.arguments()

    def touch(self) -> None:
        """Clear the arena, so that every page of it is there; counters are set, parameters and state are zero."""
        super().touch()
        for value in self.lowered.layout.per_micro_batch & self._first_samples.keys():
            at = self.lowered.layout.values[value]
            for m, first in enumerate(self._first_samples[value]):
                self._bytes[at + STRIDE * m : at + STRIDE * m + 8].view(np.int64)[0] = first

    # -------------------------------------------------------------------------------------------------------- steps

    def play(self, first: int, last: int, *, board: Board, origin: int = 0, timers: int = 0) -> Outcome:
        """Play the steps ``first <= step < last`` in one native call.

        Parameters
        ----------
        board : where flags are read and numbers are left.
        origin : the step to which the first of the board's losses and ends belongs.
        timers : address of i64[last - first, leaves, 3] for (ready, start, end) of each leaf, or 0.

        Raises
        ------
        StepFailed : the step could not go on; says at which action. An abort and a stop are returned, not raised.
        """
        w = self.words
        w[Word.ABORT], w[Word.STOP_AT], w[Word.PROGRESS] = board.abort, board.stop_at, board.progress
        w[Word.LOSSES], w[Word.ENDS], w[Word.ORIGIN], w[Word.TIMERS] = board.losses, board.ends, origin, timers
        outcome = Outcome(play(first, last, w, *self._arguments))
        if outcome in (Outcome.TIMED_OUT, Outcome.OUT_OF_STEP, Outcome.NO_INPUT):
            self._fail(outcome)
        self.next_step = last if outcome is Outcome.DONE else int(w[Word.AT_STEP])
        return outcome

    def step(self) -> float:
        """Play the next step, alone in this process; returns the loss of this rank's samples."""
        self.play(self.next_step, self.next_step + 1, board=self.local.board, origin=self.next_step)
        return math.fsum(map(float, self.local.losses[0]))

    def compute(self) -> None:
        """Call every kernel of a step once, in the plan's order, without batches or letters."""
        run_calls(self.table.function, self.table.argument)

    def meter(self) -> Memory:
        """What tells from now on what the rank takes: the memory of its process."""
        return Memory()

    def _fail(self, outcome: Outcome) -> None:
        step = int(self.words[Word.AT_STEP])
        at = self.table.name(int(self.words[Word.AT_ACTION]), step)
        if outcome is Outcome.NO_INPUT and self.stage is not None:
            raise self.stage.failure()
        if outcome is Outcome.TIMED_OUT:
            raise StepFailed(
                f"{self.rank}: step {step}: nothing could go on for {self.words[Word.TIMEOUT_NS] / 1e9:g} s, waiting at {at}"
            )
        raise StepFailed(f"{self.rank}: step {step}: the letter that came at {at} is not the one that the plan says")

    # ----------------------------------------------------------------------------------------------------- binding

    def _rows(self, do: Do) -> Sequence[Row]:
        rows = (self._row(do, c) for c in self.lowered.segments[do.kernel])
        return [r for r in rows if r is not None]

    def _row(self, do: Do, c: Call) -> Row | None:
        """A call bound to its places; None for an exchange in which it is not this rank's turn."""
        from runtime.kernels.table import address, block

        offset, base = self.lowered.offset, self.arena
        reads, writes = ([base + offset(do, v, self.rank) for v in names] for names in (c.reads, c.writes))
        if is_exchange(c):
            moved = rows_moved(self.plan, self.rank, do, c)
            if moved is None:
                return None
            reads, writes = [reads[0] + moved[0]], [writes[0] + moved[1]]
        key = (c.kernel, c.nodes, repr(sorted(c.attrs.items())), *reads, *writes)
        if key not in self._made:
            made = block(c, [*reads, *writes, base + self.lowered.layout.workspace])
            self._blocks.append(made)
            self._made[key] = Row(function=address(c.kernel), argument=int(made.ctypes.data))
        return self._made[key]

    def _place(self, ref: Ref) -> int:
        buffer, slot, _, _ = self.plan.key(self.rank, ref)
        first, _ = self.plan.extent(self.rank, ref)
        return self.arena + self.lowered.layout.buffers[buffer, slot] + first * self.plan.buffer(self.rank, buffer).itemsize

    def _loss_of(self, do: Do) -> int:
        if self._loss is None or not any(self._loss in c.writes for c in self.lowered.segments[do.kernel]):
            return 0
        return self.arena + self.lowered.offset(do, self._loss, self.rank)

    # ------------------------------------------------------------------------------------------------------- words

    def _set_words(self, peer_timeout: float, look: int) -> None:
        w, counters, layout = self.words, self.lowered.counters, self.lowered.layout
        w[Word.LOSSES_PER_STEP], w[Word.SLOTS] = self.table.losses, self.plan.slots
        w[Word.STEP] = self.arena + layout.values["step"] if "step" in counters else 0
        w[Word.TIMEOUT_NS] = int(peer_timeout * 1e9)
        w[Word.CLOCK], w[Word.YIELD], w[Word.LOOK] = SYSTEM.clock_gettime, SYSTEM.sched_yield, look
        if self.stage is not None:
            s = self.stage
            w[Word.FILLED], w[Word.USED], w[Word.RING], w[Word.RING_SLOTS], w[Word.RING_STRIDE] = (
                s.filled,
                s.used,
                s.ring,
                s.slots,
                s.stride,
            )


def data_layout(lowered: Lowered) -> tuple[dict[str, int], int]:
    """(value -> offset in a slot of the data buffer, bytes of a slot)."""
    b = lowered.plan.role[lowered.role].buffers["data"]
    at, found = 0, {}
    for v in b.values:
        found[v] = at
        at += lowered.graph.type_of(v).nbytes
        at += -at % 64
    return found, b.size * b.itemsize
