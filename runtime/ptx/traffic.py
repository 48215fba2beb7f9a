"""How often memory is asked: what a warp's access costs, by where its threads' elements lie.

Shared memory has 32 banks of 4-byte words: an access takes as many turns as the bank with the most different words. Of wide
elements 128 bytes are one access, so a warp asks for elements of 16 bytes in four. Global memory is read and written in
sectors of 32 bytes. (CUDA C++ programming guide, compute capability 5.x and later.)
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from graph.record import record
from runtime.ptx.warps import WARP

Index = npt.NDArray[Any]
WORD, BANKS, SECTOR = 4, 32, 32


@record
class Traffic:
    """What has been asked of one kind of memory.

    Parameters
    ----------
    accesses : warps that asked, once for each instruction.
    turns : of shared memory.
    least : turns that as many bytes take without a conflict.
    sectors : of global memory.
    nbytes : that threads asked for.
    """

    accesses: int = 0
    turns: int = 0
    least: int = 0
    sectors: int = 0
    nbytes: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        each = ("accesses", "turns", "least", "sectors", "nbytes")
        return Traffic(**{k: getattr(self, k) + getattr(other, k) for k in each})


class Counter:
    """Counts what the warps of a launch carry out.

    Parameters
    ----------
    instructions : of the program.
    """

    def __init__(self, instructions: int) -> None:
        self.warps = np.zeros(instructions, np.int64)
        self.of_shared, self.of_global = Traffic(), Traffic()

    def carried_out(self, begin: int, end: int, lanes: Index) -> None:
        """Some lanes have carried out the instructions from one to before another."""
        self.warps[begin:end] += np.unique(lanes // WARP).size

    def shared(self, lanes: Index, places: Index, nbytes: int) -> None:
        """Lanes accessed so many bytes each."""
        self.of_shared += of_shared(lanes, places, nbytes)

    def everywhere(self, lanes: Index, addresses: Index, nbytes: int) -> None:
        """Lanes accessed so many bytes each of global memory."""
        self.of_global += of_global(lanes, addresses, nbytes)


def of_shared(lanes: Index, places: Index, nbytes: int) -> Traffic:
    """Accesses of so many bytes of each of some lanes, to places of all blocks' shared memory."""
    warp, words = lanes // WARP, max(nbytes // WORD, 1)
    phase = warp * words + lanes % WARP // (WARP // words)
    word = places[:, None] // WORD + np.arange(words)
    of = np.broadcast_to(phase[:, None], word.shape)
    seen = np.unique(np.stack([of.ravel(), word.ravel()]), axis=1)
    bank, count = np.unique(seen[0] * BANKS + seen[1] % BANKS, return_counts=True)
    turns = np.zeros(int(phase.max()) + 1, np.int64)
    np.maximum.at(turns, bank // BANKS, count)
    return Traffic(
        accesses=np.unique(warp).size, turns=int(turns.sum()), least=np.unique(phase).size, nbytes=int(lanes.size * nbytes)
    )


def of_global(lanes: Index, addresses: Index, nbytes: int) -> Traffic:
    """Accesses of so many bytes of each of some lanes."""
    warp = lanes // WARP
    sectors = np.unique(np.stack([warp, addresses // SECTOR]), axis=1).shape[1]
    return Traffic(accesses=np.unique(warp).size, sectors=int(sectors), nbytes=int(lanes.size * nbytes))
