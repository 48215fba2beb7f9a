"""Memory as the emulated threads see it, and who has touched what since the last barrier.

Addresses are those of the arrays in this computer's memory. Shared memory is one array a block.
Each piece has a diary: for every granule (the narrowest element that is read or written apart) who wrote and who read it, and
in which epoch of its block, of which a barrier begins a new one. Two threads touch the same granule in one epoch, one of them
writing: that is a race, whatever the order here was. Threads of different blocks meet no barrier.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.ptx.parse import PtxError

Index = npt.NDArray[Any]
Values = npt.NDArray[Any]
NOBODY, ANYBODY = -1, np.iinfo(np.int32).min
SHARED_GRANULE = 2


class Diary:
    """Who touched which granules, when.

    Parameters
    ----------
    name : of the memory, for messages.
    granules : so many.
    must_be_written : reading what nobody has written is an error.
    """

    def __init__(self, name: str, granules: int, *, must_be_written: bool) -> None:
        self.name, self.must_be_written = name, must_be_written
        self.writer, self.written = np.full(granules, NOBODY, np.int32), np.full(granules, -1, np.int32)
        self.reader, self.read_in = np.full(granules, NOBODY, np.int32), np.full(granules, -1, np.int32)
        self.pending = np.zeros(granules, np.bool_)

    def reads(self, at: Index, who: Index, epoch: Index) -> None:
        """Threads read granules, in these epochs of their blocks; all arguments of one shape."""
        if self.pending.any() and self.pending[at].any():
            self._refuse("reads a copy that nobody waited for", at, who, self.pending[at])
        writer = self.writer[at]
        if self.must_be_written and (writer == NOBODY).any():
            self._refuse("reads what nobody has written", at, who, writer == NOBODY)
        self._race("reads", at, who, writer, self.written[at], epoch)
        before, mine = self.reader[at], _block(who)
        alone = (before == NOBODY) | (before == who) | ((_block(before) == mine) & (self.read_in[at] != epoch))
        now = np.where(alone, who, np.where(_block(before) == mine, _several(mine), ANYBODY))
        self.reader[at], self.read_in[at] = now, epoch
        last = self.reader[at]
        clash = last != now  # with others that read at this moment; those of other blocks count for more
        here = _block(last) == mine
        self.reader[at[clash & here]] = _several(mine)[clash & here]
        self.reader[at[clash & ~here]] = ANYBODY

    def writes(self, at: Index, who: Index, epoch: Index, *, pending: bool = False) -> None:
        """Threads write granules; `pending` says that a copy does, which has not ended."""
        if self.pending.any() and self.pending[at].any():
            self._refuse("writes where a copy is under way", at, who, self.pending[at])
        self._race("writes", at, who, self.writer[at], self.written[at], epoch)
        self._race("writes", at, who, self.reader[at], self.read_in[at], epoch, did="read")
        self.writer[at], self.written[at] = who, epoch
        twice = self.writer[at] != who
        if twice.any():
            self._refuse("and another thread write at once", at, who, twice)
        if pending:
            self.pending[at] = True

    def lands(self, at: Index, who: Index, epoch: Index) -> None:
        """What a copy wrote is there."""
        self.pending[at] = False
        self.writer[at], self.written[at] = who, epoch

    def _race(self, what: str, at: Index, who: Index, other: Index, when: Index, epoch: Index, did: str = "wrote") -> None:
        wrong = (other != NOBODY) & (other != who) & ((when == epoch) | (_block(other) != _block(who)))
        if wrong.any():
            k = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            by = f"thread {_thread(int(other[k]))}" if other[k] >= 0 else "several threads"
            self._refuse(f"{what} what {by} {did} since the last barrier", at, who, wrong)

    def _refuse(self, what: str, at: Index, who: Index, wrong: Values) -> None:
        k = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise PtxError(f"thread {_thread(int(who[k]))} {what}: {self.name}, granule {int(at[k])}")


BLOCK_BITS = 11
"""A thread is numbered by its block and, in so many bits, its place there: a block has at most 1,024 threads, in whole warps."""


def _several(block: Index) -> Index:
    """Several threads of a block."""
    return -2 - block


def _block(who: Index) -> Index:
    """The block of a thread, or of several; -1: of nobody, or of threads of several blocks."""
    return np.where(who >= 0, who >> BLOCK_BITS, np.where(who == ANYBODY, -1, -2 - who))


def _thread(number: int) -> str:
    return f"{number & ((1 << BLOCK_BITS) - 1)} of block {number >> BLOCK_BITS}"


def _apart(arrays: Sequence[Values]) -> list[Values]:
    """Those that are no part of another, in order; of each as many bytes an element as of the narrowest in it."""
    found: list[Values] = []
    for a in sorted((a for a in arrays if a.nbytes), key=lambda a: (a.ctypes.data, -a.nbytes)):
        end = found[-1].ctypes.data + found[-1].nbytes if found else 0
        if a.ctypes.data >= end:
            found.append(a)
        elif a.ctypes.data + a.nbytes > end:
            raise PtxError("arrays of a launch overlap")
        elif a.itemsize < found[-1].itemsize:
            found[-1] = found[-1].view(a.dtype)
    return found


class Global:
    """Arrays that a launch may touch, each a piece of its own: what lies between them is nobody's.

    Parameters
    ----------
    arrays : flat; one may be another one, or a part of it.
    """

    def __init__(self, arrays: Sequence[Values]) -> None:
        pieces = _apart(arrays)
        self.begins = np.array([a.ctypes.data for a in pieces], np.int64)
        self.ends = np.array([a.ctypes.data + a.nbytes for a in pieces], np.int64)
        self.granules = [a.dtype.itemsize for a in pieces]
        self.bytes: list[npt.NDArray[np.uint8]] = [a.view(np.uint8) for a in pieces]
        self.diaries = [
            Diary(f"array at {a.ctypes.data:#x}", -(-a.nbytes // a.dtype.itemsize), must_be_written=False) for a in pieces
        ]

    def parts(self, addresses: Index, nbytes: int) -> list[tuple[int, Any]]:
        """Which piece the accesses of so many bytes at these addresses are to, and which of them; raises where it is none."""
        if (addresses % nbytes).any():
            raise PtxError(f"an access of {nbytes} bytes at an address that is no multiple of them")
        k = np.searchsorted(self.begins, addresses, side="right") - 1
        outside = (
            (k < 0) | (addresses + nbytes > self.ends[np.maximum(k, 0)]) if len(self.begins) else np.ones(len(addresses), bool)
        )
        if outside.any():
            bad = int(addresses[int(np.argmax(outside))])
            near = self.begins[np.maximum(k, 0)][int(np.argmax(outside))] if len(self.begins) else 0
            raise PtxError(
                f"an access of {nbytes} bytes outside of all arrays: {bad:#x}, {bad - near} bytes behind the begin of one"
            )
        first = int(k[0])
        if (k == first).all():
            return [(first, slice(None))]
        return [(int(piece), np.flatnonzero(k == piece)) for piece in np.unique(k)]

    def elements(self, piece: int, addresses: Index, dtype: Any) -> tuple[Values, Index]:
        """The piece as elements of a type, and which of them lie at these addresses."""
        width = np.dtype(dtype).itemsize
        skip = -int(self.begins[piece]) % width
        data = self.bytes[piece]
        count = (data.size - skip) // width
        return data[skip : skip + count * width].view(dtype), (addresses - int(self.begins[piece]) - skip) // width

    def granules_of(self, piece: int, addresses: Index, nbytes: int) -> Index:
        """Granules of accesses, a row each."""
        size = self.granules[piece]
        first = (addresses - int(self.begins[piece])) // size
        return np.asarray(first[:, None] + np.arange(max(nbytes // size, 1)))


class Shared:
    """Shared memory of some blocks, side by side.

    Parameters
    ----------
    blocks : so many.
    nbytes : of each.
    """

    def __init__(self, blocks: int, nbytes: int) -> None:
        self.nbytes = -(-nbytes // 16) * 16
        self.bytes = np.full(blocks * self.nbytes, 0xFF, np.uint8)
        self.diary = Diary("shared memory", blocks * self.nbytes // SHARED_GRANULE, must_be_written=True)

    def places(self, block: Index, addresses: Index, nbytes: int) -> Index:
        """Where in all of it the accesses of some threads are; `block` counts those that are here."""
        if (addresses % nbytes).any():
            raise PtxError(f"an access of {nbytes} bytes to shared memory at an address that is no multiple of them")
        if ((addresses < 0) | (addresses + nbytes > self.nbytes)).any():
            raise PtxError(f"an access outside of the {self.nbytes} bytes of shared memory")
        return block * self.nbytes + addresses

    def granules_of(self, places: Index, nbytes: int) -> Index:
        """Granules of accesses, a row each."""
        return np.asarray(places[:, None] // SHARED_GRANULE + np.arange(max(nbytes // SHARED_GRANULE, 1)))
