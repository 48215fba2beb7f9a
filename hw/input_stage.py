"""The input stage of a node: what it takes to read samples from storage, to decode them, and to bring them to the devices.

All ranks of a node read from one storage and decode on its cores, so each has an even share of both. A batch passes three stages,
each of which works on one batch at a time: storage, decoding, and the input action, which copies it to the device (`sim.input`
and `sim.play` keep the order). It holds one of `depth` places from the moment its reading begins until it is copied. So a rank
takes a batch every

    max(step, storage, decode, (storage + decode + copy) / depth)

seconds (the greatest mean of a cycle; Baccelli et al., Synchronization and linearity, 1992, section 3.2): the slowest stage sets
the pace, unless all places together are held for longer.
"""

from graph.record import record
from hw.errors import HwError


@record
class InputStage:
    """How batches come to the ranks of a node.

    Parameters
    ----------
    storage_bytes_per_second : that the storage of a node reads; None: not a limit.
    sample_nbytes : bytes of a sample as it is stored.
    decode_seconds : core-seconds that make of a stored sample what the model takes.
    cores : of a node, that decode.
    depth : batches that each rank has prepared ahead, being made or ready; 0: there is no stage, batches are at hand.
    """

    storage_bytes_per_second: float | None = None
    sample_nbytes: int = 0
    decode_seconds: float = 0.0
    cores: int = 1
    depth: int = 0

    def __post_init__(self) -> None:
        rate = self.storage_bytes_per_second
        if rate is not None and not rate > 0:
            raise HwError(f"a storage reads more than 0 bytes per second, got {rate:g}")
        if self.sample_nbytes < 0 or not self.decode_seconds >= 0 or self.cores < 1 or self.depth < 0:
            got = f"{self.sample_nbytes} bytes, {self.decode_seconds:g} s, {self.cores} cores, depth {self.depth}"
            raise HwError(f"an input stage has bytes >= 0, seconds >= 0, at least one core and a depth >= 0, got {got}")

    def seconds(self, samples: int, readers: int) -> tuple[float, float]:
        """(storage, decode) seconds of a batch.

        Parameters
        ----------
        samples : in the batch of one rank.
        readers : ranks of the node that read at the same time.
        """
        rate = self.storage_bytes_per_second
        storage = 0.0 if rate is None else samples * self.sample_nbytes * readers / rate
        return storage, samples * self.decode_seconds * readers / self.cores


def period(storage: float, decode: float, copy: float, step: float, depth: int) -> float:
    """Seconds from batch to batch of a rank whose step takes `step` seconds, with what of the copy does not overlap."""
    return max(step, storage, decode, (storage + decode + copy) / depth)
