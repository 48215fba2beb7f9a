"""Lanes whose room is given back when a letter has been taken out, not when its reader turns to it: taking out is work."""

from graph.errors import InvalidPlan
from graph.parallel.lanes import Lanes
from graph.parallel.machine import Action
from graph.parallel.plan import Rank, Recv


class Parcel:
    """A letter on a channel, and how many receivers still have to take it: more than one, or none, where ranks are folded."""

    __slots__ = ("left", "wire")

    def __init__(self, wire: tuple[Rank, Rank, str], left: int) -> None:
        self.wire, self.left = wire, left


class TimedLanes(Lanes):
    """As `Lanes`, but the player calls `taken` when a receive has ended."""

    def want(self, a: Action, dst: Rank, source: Rank | str) -> None:
        """Give `a` the first letter from this rank, or from any rank of this role; else let it wait."""
        if not isinstance(a.ins, Recv):
            raise InvalidPlan(f"{a!r} receives nothing")
        box = self.box[dst, a.ins.lane]
        for k, letter in enumerate(box):
            if source in (letter[0], letter[0].role):
                del box[k]
                self.deliver(a, letter)
                return
        self.readers[dst, a.ins.lane][source] = a

    def taken(self, parcel: Parcel) -> None:
        """A receiver has taken a letter out."""
        parcel.left -= 1
        if not parcel.left:
            self.free(*parcel.wire)

    def free(self, source: Rank, dst: Rank, lane: str) -> None:
        """A letter has left the channel: the next one that waits for room is carried."""
        wire = source, dst, lane
        if held := self.held.get(wire):
            self.carry(held.popleft(), dst)
        else:
            self.unread[wire] -= 1
