"""Lanes: how letters get from rank to rank, in order, with little room on the way. Shared by every player, like the machine."""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from graph.parallel.machine import Action
from graph.parallel.plan import Path, Rank


class Letter(NamedTuple):
    """What a player may put on a lane; any tuple that begins with the source will do."""

    source: Rank
    tag: Path
    note: object = None
    contents: Any = None


class Lanes:
    """FIFO channels: at most `slots` letters on the way or unread between two ranks on a lane.

    Parameters
    ----------
    slots : room of a channel.
    carry : (send action, destination); the player lets it travel, finishes it, and calls `arrived`.
    deliver : (receive action, letter); the player ends it.
    """

    def __init__(self, slots: int, carry: Callable[[Action, Rank], None], deliver: Callable[[Action, Any], None]) -> None:
        self.slots, self.carry, self.deliver = slots, carry, deliver
        self.unread: dict[tuple[Rank, Rank, str], int] = defaultdict(int)
        self.held: dict[tuple[Rank, Rank, str], deque[Action]] = defaultdict(deque)
        self.box: dict[tuple[Rank, str], list[Any]] = defaultdict(list)
        self.readers: dict[tuple[Rank, str], dict[Rank | str, Action]] = defaultdict(dict)  # who waits, by whom they wait for

    def offer(self, a: Action, src: Rank, dst: Rank) -> None:
        """A send may begin: it is carried when the channel has room."""
        wire = src, dst, a.ins.lane  # type: ignore[union-attr]
        if self.unread[wire] < self.slots:
            self.unread[wire] += 1
            self.carry(a, dst)
        else:
            self.held[wire].append(a)

    def arrived(self, letter: Any, dst: Rank, lane: str) -> None:
        """A letter came; its first element is who sent it."""
        self.box[dst, lane].append(letter)
        if readers := self.readers[dst, lane]:
            for source in (letter[0], letter[0].role):
                if (a := readers.pop(source, None)) is not None:
                    self.want(a, dst, source)
                    return

    def want(self, a: Action, dst: Rank, source: Rank | str) -> None:
        """Give `a` the first letter from this rank, or from any rank of this role; else let it wait."""
        lane = a.ins.lane  # type: ignore[union-attr]
        box = self.box[dst, lane]
        for k, letter in enumerate(box):
            if source in (letter[0], letter[0].role):
                del box[k]
                self.deliver(a, letter)
                wire = letter[0], dst, lane
                held = self.held.get(wire)
                if held:
                    self.carry(held.popleft(), dst)
                else:
                    self.unread[wire] -= 1
                return
        self.readers[dst, lane][source] = a

    def give_up(self, a: Action) -> None:
        """Its time is over: if it still waits, it ends with None."""
        readers = self.readers[a.machine.rank, a.ins.lane]  # type: ignore[union-attr]
        for source in [s for s, waiting in readers.items() if waiting is a]:
            del readers[source]
            a.machine.finish(a)
