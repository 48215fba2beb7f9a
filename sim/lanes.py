"""Lanes whose room is given back when a letter has been taken out, not when its reader turns to it: taking out is work."""

from graph.errors import InvalidPlan
from graph.parallel.lanes import Lanes
from graph.parallel.machine import Action
from graph.parallel.plan import Rank, Recv


class TimedLanes(Lanes):
    """As `Lanes`, but the player calls `free` when a receive has ended."""

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
        self.reader[dst, a.ins.lane] = a, source

    def free(self, source: Rank, dst: Rank, lane: str) -> None:
        """A letter has left the channel: the next one that waits for room is carried."""
        wire = source, dst, lane
        if held := self.held.get(wire):
            self.carry(held.popleft(), dst)
        else:
            self.unread[wire] -= 1
