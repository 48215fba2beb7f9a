"""A step with letters: the host puts actions on streams as they can be, and carries letters between the device and the wires.

A send is a copy from the device, and then a letter when that copy is over; whoever needs the buffer waits for the copy alone. A
receive is put on its stream when its letter has come. So no stream ever waits for another rank, and what is behind an action that
waits for a letter is put on its stream only then. Letters have the first word, as on a core, since peers wait for them.
"""

import time
from collections import deque
from collections.abc import Sequence

from runtime.cuda.device import Bytes
from runtime.cuda.letters import Letters
from runtime.cuda.step import StepQueue
from runtime.cuda.watch import Watch
from runtime.errors import StepFailed
from runtime.executor import Board
from runtime.scheduler import INPUT, RECV, RECV_ADD, SEND


class Exchange:
    """Plays steps with letters.

    Parameters
    ----------
    queue : puts actions on streams.
    letters : the host's side of the wires.
    watch : what to do while nothing can go on.
    """

    def __init__(self, queue: StepQueue, letters: Letters, watch: Watch) -> None:
        self._queue, self._letters, self._watch = queue, letters, watch
        self._copied = {i: queue.device.event() for i in letters.pinned if queue.table.kind[i] == SEND}

    def play(self, step: int, batches: Sequence[Bytes], board: Board, *, stamped: bool) -> dict[int, tuple[int, int]]:
        """Play a step until the last letter is on its wire.

        Returns
        -------
        Actions with letters -> when the host began with a received one, and when it ended with a sent one; else 0.

        Raises
        ------
        Ended : the abort flag is up.
        StepFailed : an action failed, a letter is not the one that the plan says, or nothing could go on for too long.
        """
        q, t, seen = self._queue, self._queue.table, dict[int, tuple[int, int]]()
        left, then = t.needs.copy(), deque(batches)
        ready = sorted((i for i in range(len(t.leaves)) if not left[i]), key=self._order)
        outgoing, expected = list[int](), list[int]()
        q.begin()
        self._watch.moved()
        while ready or outgoing or expected:
            issued = self._sent(outgoing, step, seen, stamped)
            began = time.monotonic_ns() if stamped else 0
            i = self._received(expected, step)
            if i is not None:
                seen[i] = began, 0
            elif ready:
                i = ready.pop(0)
                if t.kind[i] in (RECV, RECV_ADD):
                    expected.append(i)
                    continue
            if i is not None:
                q.issue(i, then.popleft() if t.kind[i] == INPUT else None, stamped=stamped)
                if t.kind[i] == SEND:
                    q.device.mark(self._copied[i], q.stream[i])
                    outgoing.append(i)
                for k in t.then[t.then_first[i] : t.then_first[i + 1]]:
                    left[k] -= 1
                    if not left[k]:
                        ready.append(int(k))
                ready.sort(key=self._order)
            if i is not None or issued:
                self._watch.moved()
            else:
                self._watch.wait(board, step, t.name((expected or outgoing)[0], step))
        q.end()
        return seen

    def _order(self, i: int) -> tuple[bool, int]:
        """Letters first, since a peer waits for them; else as in the plan."""
        return self._queue.table.kind[i] not in (SEND, RECV, RECV_ADD), i

    def _sent(self, outgoing: list[int], step: int, seen: dict[int, tuple[int, int]], stamped: bool) -> bool:
        """Put letters whose copies are over on their wires, those of a wire in their order; True: some were."""
        full, gone = set[int](), list[int]()
        for i in outgoing:
            wire = int(self._queue.table.wire[i])
            if wire in full or not self._queue.device.is_over(self._copied[i]) or not self._letters.send(i, step):
                full.add(wire)
            else:
                gone.append(i)
                seen[i] = 0, time.monotonic_ns() if stamped else 0
        for i in gone:
            outgoing.remove(i)
        return bool(gone)

    def _received(self, expected: list[int], step: int) -> int | None:
        """The first action whose letter has come, taken from its wire; None: there is none."""
        tried = set[int]()
        for i in sorted(expected):
            wire = int(self._queue.table.wire[i])
            if wire in tried:
                continue
            tried.add(wire)
            came = self._letters.receive(i, step)
            if came is None:
                name, rank = self._queue.table.name(i, step), self._queue.table.rank
                raise StepFailed(f"{rank}: step {step}: the letter that came at {name} is not the one that the plan says")
            if came:
                expected.remove(i)
                return i
        return None
