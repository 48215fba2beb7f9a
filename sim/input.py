"""The input stage: storage and decoding prepare batches in the background, a few ahead; it can be the bottleneck.

Reading a batch and decoding the one before overlap. A batch takes one of `depth` places from the moment its reading
begins until the "input" action that took it has ended. All of that follows from when earlier batches were given back,
so the stage needs no events of its own: it says when a batch is ready, and the player waits until then.
"""

from sim.errors import SimError

INPUT = "input"  # kernel of the action that takes a batch from the input stage


class InputStage:
    """Batches of one rank, in order, from time 0.

    Parameters
    ----------
    depth : places; at least 1.
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise SimError(f"an input stage prepares at least 1 batch ahead, got {depth}")
        self.depth = depth
        self.taken = 0
        self._read = self._decoded = 0.0  # when storage and decoder are done with the batch before
        self._free = [0.0] * depth  # when each place was last given back

    def take(self, storage: float, decode: float) -> float:
        """The time at which the next batch is (or was) ready.

        Parameters
        ----------
        storage, decode : seconds for this batch.
        """
        begin = max(self._read, self._free[self.taken % self.depth])
        self._read = begin + storage
        self._decoded = max(self._read, self._decoded) + decode
        self.taken += 1
        return self._decoded

    def give_back(self, number: int, time: float) -> None:
        """Batch `number` (from 0) has been used up."""
        self._free[number % self.depth] = time
