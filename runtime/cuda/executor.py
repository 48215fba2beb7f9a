"""The executor of one rank on a GPU: many steps of a lowered plan, with the outward manner of `runtime.executor.Executor`.

A step's batches are copied into pinned memory, the step is put on the device (`runtime.cuda.step`), and its losses come back
into pinned memory, all asynchronously. The host prepares the next step meanwhile; with letters to other ranks, timers, or where
each action is waited for, one step comes after another. The number of the step travels with its batches, so that a captured step
can be played again.
"""

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Do, Rank, Ref
from graph.tensor_type import DType
from hw.lowered import STRIDE, Lowered
from runtime.cuda.arena import DeviceArena
from runtime.cuda.bound import Binder, require_kernels, sums
from runtime.cuda.device import Device, DeviceMemory, device
from runtime.cuda.exchange import Exchange
from runtime.cuda.letters import Letters
from runtime.cuda.step import Captured, StepQueue
from runtime.cuda.watch import Ended, Watch, view
from runtime.data.stage import InputStage
from runtime.errors import DeviceFailed, RunError
from runtime.executor import Board, LocalBoard
from runtime.kernels.cuda.run import Go
from runtime.native import SYSTEM
from runtime.part import first_samples
from runtime.scheduler import DO, INPUT, LOOK_SHARED, RECV_ADD, WORDS, Outcome, Word
from runtime.table import Row, Table, Wire, WirePlace

AHEAD = 2
"""Steps that are on the device or being put there at a time, where nobody has to answer in between."""
_NUMBER = 64  # bytes in front of a slot's batches: the number of the step


class GpuExecutor(DeviceArena):
    """Runs one rank of a lowered plan on a GPU, in its arena.

    Parameters
    ----------
    lowered : what to run, lowered for `Platform.CUDA`.
    rank, stage, wires, batch, peer_timeout, shares_core : as of `runtime.executor.Executor`.
    captures : put a step on the device as one graph, where that can be; `why_not_captured` says why it is not done.
    is_careful : wait after every action, so that what fails is known; slow.
    on : the GPU; by default this process's.

    Raises
    ------
    MissingCapability : there is no GPU, or no kernel for an operator.
    """

    def __init__(
        self, lowered: Lowered, rank: Rank, *, stage: InputStage | None = None, wires: Mapping[Wire, WirePlace] | None = None,
        batch: int = 0, peer_timeout: float = 30.0, shares_core: bool = False, captures: bool = True, is_careful: bool = False,
        on: Device | None = None,
    ) -> None:  # fmt: skip
        where = on or device()
        require_kernels({rank.role: lowered})
        self._memory = DeviceMemory(where)
        super().__init__(lowered, rank, where)
        self._memory.close()
        self.stage, self.next_step = stage, 0
        loss = lowered.graph.outputs.get("loss")
        self._loss = loss if loss in lowered.layout.values else None
        self.table = Table(self.plan, rank, rows=_no_rows, place=self._place, wires=wires or {}, loss=self._loss_of)
        self._letters = Letters(self.table, self.plan.slots, where)
        self.watch = Watch(rank, peer_timeout, shares_core)
        self.words = _words(peer_timeout)
        self._queue = self._bind(is_careful)
        is_alone = not self._letters.pinned
        self._ahead = AHEAD if is_alone and not is_careful else 1
        self._graphs = Captured(self._queue, why_not=_why_not(captures, where, is_alone, is_careful))
        self._exchange = Exchange(self._queue, self._letters, self.watch)
        self._first_samples = first_samples(self.table, batch)
        self._stage_in_pinned()
        self.local = LocalBoard(1, self.table.losses)

    @property
    def why_not_captured(self) -> str:
        """Why steps are put on the device action by action; ``""``: they are captured as graphs."""
        return self._graphs.why_not

    # ---------------------------------------------------------------------------------------------------------- binding

    def _bind(self, is_careful: bool) -> StepQueue:
        table, binder = self.table, Binder(self)
        places: dict[int, Any] = {}
        launches: list[tuple[Go, ...]] = []
        scratch: dict[str, Any] = {}
        for i, a in enumerate(table.leaves):
            go: tuple[Go, ...] = ()
            if table.kind[i] == DO and isinstance(a.ins, Do):
                go = binder.launches(a.ins)
            else:
                places[i] = self.at(int(table.place[i]) - self.base, DType.U8, int(table.nbytes[i]))
            if table.kind[i] == RECV_ADD:  # what came is put beside, and added
                letter = self._scratch(scratch, a.ins.on)[: int(table.nbytes[i])]
                own, places[i] = places[i], letter
                go = sums(own.view(np.float32), letter.view(np.float32))
            launches.append(go)
        return StepQueue(
            self.device, table, launches=launches, places=places, letters=self._letters.pinned, is_careful=is_careful
        )

    def _scratch(self, found: dict[str, Any], stream: str) -> Any:
        """Memory for a letter that is to be added; letters of one stream come one after another."""
        if stream not in found:
            t = self.table
            sizes = [int(t.nbytes[i]) for i, a in enumerate(t.leaves) if t.kind[i] == RECV_ADD and a.ins.on == stream]
            found[stream] = self.device.allocate(max(sizes))
        return found[stream]

    def _place(self, ref: Ref) -> int:
        buffer, slot, _, _ = self.plan.key(self.rank, ref)
        first, _ = self.plan.extent(self.rank, ref)
        return self.base + self.lowered.layout.buffers[buffer, slot] + first * self.plan.buffer(self.rank, buffer).itemsize

    def _loss_of(self, do: Do) -> int:
        if self._loss is None or not any(self._loss in c.writes for c in self.lowered.segments[do.kernel]):
            return 0
        return self.base + self.lowered.offset(do, self._loss, self.rank)

    def _stage_in_pinned(self) -> None:
        """Pinned memory of each slot: the step's number and batches, and its losses."""
        t, layout = self.table, self.lowered.layout
        of_batches = [int(n) + -int(n) % 64 for n, kind in zip(t.nbytes, t.kind, strict=True) if kind == INPUT]
        sizes = [int(n) for n, kind in zip(t.nbytes, t.kind, strict=True) if kind == INPUT]
        starts = np.cumsum([_NUMBER, *of_batches])
        self._pinned = [self.device.pinned(int(starts[-1])) for _ in range(self._ahead)]
        self._batches = [[p[a : a + n] for a, n in zip(starts[:-1], sizes, strict=True)] for p in self._pinned]
        self._number = self.at(layout.values["step"], DType.I64, 1) if "step" in self.lowered.counters else None
        losses = [(int(t.loss_index[i]), int(at) - self.base) for i, at in enumerate(t.loss) if at]
        first = layout.values[self._loss] if self._loss is not None else 0
        span = max((at - first + STRIDE for _, at in losses), default=0)
        self._loss_places = [(k, (at - first) // 4) for k, at in losses]
        self._losses_there = self.at(first, DType.F32, span // 4)
        self._losses = [self.device.pinned(span)[:span].view(np.float32) for _ in range(self._ahead)]
        self._ends = [self.device.event() for _ in range(self._ahead + 1)]  # of those under way, and of the one before
        self._anchor = self.device.event()

    def end_of(self, step: int) -> Any:
        """The event at which a step ends."""
        return self._ends[step % len(self._ends)]

    def losses_of(self, step: int) -> list[tuple[int, float]]:
        """(number of the loss, what it came to) of a step that has ended, as long as no other has taken its slot."""
        return [(k, float(self._losses[step % self._ahead][at])) for k, at in self._loss_places]

    # ------------------------------------------------------------------------------------------------------------ steps

    def touch(self) -> None:
        """Clear the arena; counters are set, parameters and state are zero."""
        super().touch()
        for value in self.lowered.layout.per_micro_batch & self._first_samples.keys():
            for m, first in enumerate(self._first_samples[value]):
                place = self.at(self.lowered.layout.values[value] + STRIDE * m, DType.I64, 1)
                self.device.upload(place, np.array([first], np.int64))

    def meter(self) -> DeviceMemory:
        """What tells how much of the GPU's memory the rank's values take."""
        return self._memory

    def play(self, first: int, last: int, *, board: Board, origin: int = 0, timers: int = 0) -> Outcome:
        """Play the steps ``first <= step < last``; see `runtime.executor.Executor.play`.

        Raises
        ------
        StepFailed : the step could not go on; says at which action. An abort and a stop are returned, not raised.
        DeviceFailed : the GPU gave up, and it is not known at which action.
        """
        if last <= first:
            return Outcome.DONE
        run, outcome = _Run(self, board, origin, timers, first), Outcome.DONE
        try:
            for step in range(first, last):
                self.watch.may_begin(step, board)
                run.step(step)
                self.next_step = step + 1
        except Ended as e:
            outcome = e.outcome
        run.land_all()
        return outcome

    def step(self) -> float:
        """Play the next step, alone in this process; returns the loss of this rank's samples."""
        self.play(self.next_step, self.next_step + 1, board=self.local.board, origin=self.next_step)
        return math.fsum(map(float, self.local.losses[0]))

    def compute(self) -> None:
        """Launch what all actions of a step launch, in the plan's order, without batches or letters, and wait for it."""
        self._queue.compute()

    def prepare(self, slot: int, step: int, board: Board) -> None:
        """Bring a step's number and batches into pinned memory."""
        self._pinned[slot][:8].view(np.int64)[0] = step
        for batch in self._batches[slot]:
            self.watch.take(self.stage, batch, board)

    def enqueue(self, slot: int, *, stamped: bool, in_graph: bool) -> None:
        """Put a step without letters on the device: its number and batches of a slot come in, its losses go out there."""
        self._upload_number(slot)
        self._queue.put(self._batches[slot], stamped=stamped, in_graph=in_graph)
        self.device.download(self._losses[slot], self._losses_there, self._queue.origin)

    def send_off(self, slot: int, step: int, board: Board, stamped: bool) -> dict[int, tuple[int, int]]:
        """Put a prepared step on the device; where there are letters, until the last of them is through.

        Returns
        -------
        Actions with letters -> when the host began and ended with them, of nanoseconds; 0 where the device knows.
        """
        self._queue.step = step
        if not self._letters.pinned:
            self._graphs.put(slot, lambda in_graph: self.enqueue(slot, stamped=stamped, in_graph=in_graph), stamped=stamped)
            return {}
        self._upload_number(slot)
        seen = self._exchange.play(step, self._batches[slot], board, stamped=stamped)
        self.device.download(self._losses[slot], self._losses_there, self._queue.origin)
        return seen

    def _upload_number(self, slot: int) -> None:
        if self._number is not None:
            self.device.upload(self._number, self._pinned[slot][:8].view(np.int64), self._queue.origin)


class _Run:
    """Some steps under way."""

    def __init__(self, executor: GpuExecutor, board: Board, origin: int, timers: int, first: int) -> None:
        self.executor, self.board, self.origin, self.timers, self.first = executor, board, origin, timers, first
        self.device, self.queue = executor.device, executor._queue
        self.ahead = 1 if timers else executor._ahead
        self.flying: deque[int] = deque()  # steps
        if timers:
            self.queue.prepare_stamps()
        self.last_event, self.last_ns = executor._anchor, 0
        self._set_clock()

    def _set_clock(self) -> None:
        """Let an event stand for what the host's clock says now: from it on the device's own clock counts."""
        self._guarded(lambda: self.device.mark(self.last_event, self.queue.origin))
        self._guarded(lambda: self.device.await_event(self.last_event))
        self.last_ns = time.monotonic_ns()

    def step(self, step: int) -> None:
        """Begin a step, and end another where as many are under way as may be."""
        x = self.executor
        while len(self.flying) >= self.ahead:
            self._land()
        began = time.monotonic_ns()
        slot = step % x._ahead
        x.prepare(slot, step, self.board)
        if self.timers:
            self._set_clock()
        self.flying.append(step)
        seen = self._guarded(lambda: x.send_off(slot, step, self.board, bool(self.timers)))
        self._guarded(lambda: self.device.mark(x.end_of(step), self.queue.origin))
        if self.timers:
            self._record(step, began, seen)
            self._land()

    def _record(self, step: int, began: int, seen: dict[int, tuple[int, int]]) -> None:
        """Leave the stamps of a step: nanoseconds at which each action was ready, began and ended."""
        t, since, at = self.executor.table, self.last_event, self.last_ns
        self._guarded(lambda: self.device.await_stream(self.queue.origin))
        found, ends = self.queue.stamps(since, at), list[int]()
        out = view(self.timers + 24 * len(t.leaves) * (step - self.first), len(t.leaves) * 3, np.int64).reshape(-1, 3)
        for i, (start, end) in enumerate(found):
            host = seen.get(i, (0, 0))
            start, end = host[0] or start, host[1] or end
            ready = max((ends[d] for d in self.queue.needs[i]), default=began)
            start = max(start, ready)
            ends.append(max(end, start))
            out[i] = ready, start, ends[i]

    def _land(self) -> None:
        """Wait for the end of the oldest step, and tell what came of it."""
        x, step = self.executor, self.flying[0]
        event = x.end_of(step)
        self._guarded(lambda: self.device.await_event(event))
        self.flying.popleft()
        self.last_ns += self.device.nanoseconds(self.last_event, event)
        self.last_event = event
        for k, loss in x.losses_of(step):
            view(self.board.losses + 4 * ((step - self.origin) * x.table.losses + k), 1, np.float32)[0] = loss
        x.watch.tell(self.board, step, step - self.origin, self.last_ns)

    def land_all(self) -> None:
        """Wait for all that have begun."""
        while self.flying:
            self._land()

    def _guarded(self, work: Any) -> Any:
        """What the device says late is not known to be of any action."""
        try:
            return work()
        except (RunError, Ended):
            raise
        except Exception as e:
            steps = " or ".join(map(str, self.flying)) or str(self.first)
            raise DeviceFailed(
                f"{self.executor.rank}: step {steps}: {self.device.name} failed, at an action that it does not tell: "
                f"{type(e).__name__}: {e}"
            ) from e


def _no_rows(do: Do) -> list[Row]:
    """Nothing is called on the host."""
    return []


def _words(peer_timeout: float) -> npt.NDArray[np.int64]:
    """What barriers between workers ask for (`runtime.scheduler.barrier`)."""
    found = np.zeros(WORDS, np.int64)
    found[Word.TIMEOUT_NS], found[Word.LOOK] = int(peer_timeout * 1e9), LOOK_SHARED
    found[Word.CLOCK], found[Word.YIELD] = SYSTEM.clock_gettime, SYSTEM.sched_yield
    return found


def _why_not(captures: bool, where: Device, is_alone: bool, is_careful: bool) -> str:
    if not captures:
        return "it is switched off"
    if not where.can_capture:
        return f"{where.name} captures nothing"
    if not is_alone:
        return "letters come and go within a step"
    return "every action is waited for" if is_careful else ""
