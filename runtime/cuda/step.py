"""A step put on streams: every action on a stream of its own name, in an order that the plan allows.

What must come before an action on another stream is an event that it waits for; the host waits for nothing but letters. So a step
without letters can be captured, once for each place from which its batches come, and put on the device again with one call.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.cuda.device import Bytes, Device
from runtime.errors import DeviceFailed, StepFailed
from runtime.kernels.cuda.run import Go
from runtime.scheduler import DO, INPUT, RECV, RECV_ADD, SEND
from runtime.table import Table

ORIGIN = "compute"
"""The stream on which a step begins and ends."""


class StepQueue:
    """Puts the actions of a rank's step on streams.

    Parameters
    ----------
    device : whose streams.
    table : the actions, numbered, and what each of them needs.
    launches : action -> what it launches, after its letter or batch has been copied.
    places : action -> the device's bytes that its copy reads or writes, for batches and letters.
    letters : action -> its letter in pinned memory.
    is_careful : wait after every action, so that an error is that of the action.
    """

    def __init__(
        self, device: Device, table: Table, *, launches: Sequence[tuple[Go, ...]], places: Mapping[int, Any],
        letters: Mapping[int, Bytes], is_careful: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.table, self.is_careful = device, table, is_careful
        self._launches, self._places, self._letters = launches, places, letters
        on = [a.ins.on for a in table.leaves]
        self.streams = {name: device.stream() for name in dict.fromkeys((ORIGIN, *on))}
        self.origin = self.streams[ORIGIN]
        self.stream = [self.streams[name] for name in on]
        then = [table.then[table.then_first[i] : table.then_first[i + 1]] for i in range(len(on))]
        needs: list[list[int]] = [[] for _ in on]
        for i, followers in enumerate(then):
            for k in followers:
                needs[k].append(i)
        self.needs = needs
        self._before = [[d for d in ds if on[d] != on[i]] for i, ds in enumerate(needs)]
        self._done = {d: device.event() for d in dict.fromkeys(d for ds in self._before for d in ds)}
        self._joins = {name: device.event() for name in self.streams if name != ORIGIN}
        self._begun = device.event()
        self._stamps: list[tuple[Any, Any]] = []
        self.step = 0

    def begin(self) -> None:
        """All streams begin where the origin is now."""
        self.device.mark(self._begun, self.origin)
        for name in self._joins:
            self.device.wait(self.streams[name], self._begun)

    def end(self) -> None:
        """What the origin is given from now on comes after the whole step."""
        for name, event in self._joins.items():
            self.device.mark(event, self.streams[name])
            self.device.wait(self.origin, event)

    def issue(self, i: int, batch: Bytes | None = None, *, stamped: bool = False, in_graph: bool = False) -> None:
        """Put an action on its stream; all that it needs have been put there.

        Parameters
        ----------
        i : number of the action.
        batch : of an input action: where it lies, pinned.
        stamped : note when it begins and ends.
        in_graph : the streams are being captured.

        Raises
        ------
        StepFailed : it cannot be; or, where that is waited for, it failed.
        DeviceFailed : something that was put there before has failed.
        """
        device, stream = self.device, self.stream[i]
        try:
            for d in self._before[i]:
                device.wait(stream, self._done[d])
            if stamped:
                device.stamp(self._stamps[i][0], stream, in_graph=in_graph)
            self._work(i, stream, batch)
            if stamped:
                device.stamp(self._stamps[i][1], stream, in_graph=in_graph)
            if i in self._done:
                device.mark(self._done[i], stream)
            if self.is_careful:
                device.await_stream(stream)
        except Exception as e:
            where, what = f"{self.table.rank}: step {self.step}", f"{type(e).__name__}: {e}"
            if not (in_graph or self.is_careful) and device.is_broken():  # by something that was put there before
                raise DeviceFailed(f"{where}: {device.name} failed, at an action that it does not tell: {what}") from e
            raise StepFailed(f"{where}: {self.table.name(i, self.step)} failed on {device.name}: {what}") from e

    def _work(self, i: int, stream: Any, batch: Bytes | None) -> None:
        kind = self.table.kind[i]
        if kind == INPUT and batch is not None:
            self.device.upload(self._places[i], batch, stream)
        elif kind == SEND:
            self.device.download(self._letters[i], self._places[i], stream)
        elif kind in (RECV, RECV_ADD):
            self.device.upload(self._places[i], self._letters[i], stream)
        if kind in (DO, RECV_ADD):
            for go in self._launches[i]:
                go(stream)

    def put(self, batches: Sequence[Bytes], *, stamped: bool = False, in_graph: bool = False) -> None:
        """Put all actions of a step without letters on the streams, in the order of the plan."""
        self.begin()
        taken = iter(batches)
        for i in range(len(self.table.leaves)):
            batch = next(taken) if self.table.kind[i] == INPUT else None
            self.issue(i, batch, stamped=stamped, in_graph=in_graph)
        self.end()

    def compute(self) -> None:
        """Launch what all actions launch, without batches or letters, and wait for it."""
        for i in range(len(self.table.leaves)):
            if self.table.kind[i] == DO:
                self.issue(i)
        self.device.synchronize()

    # ----------------------------------------------------------------------------------------------------------- stamps

    def prepare_stamps(self) -> None:
        """Make the events that say when actions begin and end."""
        if not self._stamps:
            self._stamps = [(self.device.event(), self.device.event()) for _ in self.table.leaves]

    def stamps(self, since: Any, at: int) -> list[tuple[int, int]]:
        """Nanoseconds at which each action began and ended, when all have; `since` is an event that came at `at`."""
        seen = self.device.nanoseconds
        return [(at + seen(since, a), at + seen(since, b)) for a, b in self._stamps]


class Captured:
    """Steps captured as graphs, one for each place of their batches, stamped or not.

    Parameters
    ----------
    queue : puts a step on streams.
    why_not : why steps are put on the device action by action; ``""``: they are captured, until one cannot be.
    """

    def __init__(self, queue: StepQueue, *, why_not: str = "") -> None:
        self.why_not, self._queue = why_not, queue
        self._graphs: dict[tuple[int, bool], Callable[[], None]] = {}
        self._is_warm = False

    def put(self, slot: int, work: Callable[[bool], None], *, stamped: bool) -> None:
        """Put a step on the device.

        Parameters
        ----------
        slot : the place of its batches.
        work : puts it there action by action; told whether it is being captured.
        stamped : it notes when actions begin and end.
        """
        if self.why_not or not self._is_warm:  # the first one loads code, which is better not captured
            work(False)
            self._is_warm = True
            return
        key = slot, stamped
        if key not in self._graphs:
            try:
                self._graphs[key] = self._queue.device.captured(self._queue.origin, lambda: work(True))
            except Exception as e:
                self.why_not = f"a step could not be captured: {e}"
                work(False)
                return
        self._graphs[key]()
