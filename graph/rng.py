"""Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

A draw is a pure function of a key (the run's seed, and who draws) and a counter (what for), so eager, planned, resumed and
distributed runs on any device draw the same bits, in any order. The key is ``(seed, who)``; the counter is four words:

=============  ===================  ==========================  ===============  ========
purpose        word 0               word 1                      word 2           word 3
=============  ===================  ==========================  ===============  ========
dropout        step                 sample (global index)       element // 4     0
initial value  element // 4         0                           0                1
=============  ===================  ==========================  ===============  ========

where word ``element % 4`` of the result is the element's. Counters wrap after 2^32.
"""

from collections.abc import Sequence
from enum import IntEnum
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from graph.errors import GraphError

Words = NDArray[np.uint32]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
"""Philox4x32's multipliers (Salmon et al., as in philox.h of their Random123 distribution)."""
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What the key grows by each round: the fractions of the golden ratio and of sqrt(3), times 2^32 (the same source)."""
ROUNDS = 10
MASK = 0xFFFFFFFF


class Purpose(IntEnum):
    """Word 3 of the counter: keeps draws for different ends apart."""

    DROPOUT = 0
    INIT = 1


def philox4x32(counter: Sequence[NDArray[np.integer] | int], key: tuple[int, int]) -> Words:
    """Ten rounds of Philox4x32.

    Parameters
    ----------
    counter : four words, or arrays of words that broadcast together; taken modulo 2^32.
    key : two words.

    Returns
    -------
    Array of uint32 with the broadcast shape and a last axis of 4.

    Raises
    ------
    GraphError : when the counter does not have four words or a key word does not fit 32 bits.
    """
    if len(counter) != 4 or len(key) != 2 or not all(0 <= k <= MASK for k in key):
        raise GraphError(f"Philox4x32 wants a counter of 4 words and 2 key words in 0..2^32-1, got {len(counter)} and key {key}")
    mask, half = np.uint64(MASK), np.uint64(32)
    c = [np.asarray(w, dtype=np.int64).astype(np.uint64) & mask for w in counter]
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c[0] * np.uint64(MULTIPLIERS[0]), c[2] * np.uint64(MULTIPLIERS[1])
        c = [(p1 >> half) ^ c[1] ^ np.uint64(k0), p1 & mask, (p0 >> half) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return np.stack(np.broadcast_arrays(*c), axis=-1).astype(np.uint32)


def stable_key(name: str) -> int:
    """A 32-bit key for a name, the same on every machine (CRC-32 of its UTF-8)."""
    return crc32(name.encode())


def words(seed: int, who: int, count: int, purpose: Purpose, word1: int = 0) -> Words:
    """`count` random words for ``INIT`` or ``SHUFFLE``: shape (count,)."""
    blocks = np.arange(-(-count // 4), dtype=np.int64)
    return philox4x32((blocks, word1, 0, int(purpose)), (seed, who)).reshape(-1)[:count]


def uniform(seed: int, name: str, count: int) -> NDArray[np.float32]:
    """`count` float32 numbers in [0, 1) for the initial value of `name`: the top 24 bits of each word, so each is exact."""
    return (words(seed, stable_key(name), count, Purpose.INIT) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def dropout_threshold(rate: float) -> int:
    """An element is kept when its word is at least this: floor(rate * 2^32)."""
    return int(rate * 2.0**32)


def dropout_mask(*, seed: int, key: int, step: int, sample: int, rows: int, columns: int, rate: float) -> NDArray[np.bool_]:
    """Which elements dropout keeps: shape (rows, columns); row r is global sample ``sample + r``."""
    blocks = np.arange(-(-columns // 4), dtype=np.int64)[None, :]
    row = np.arange(sample, sample + rows, dtype=np.int64)[:, None]
    drawn = philox4x32((step, row, blocks, int(Purpose.DROPOUT)), (seed, key))
    return drawn.reshape(rows, blocks.size * 4)[:, :columns] >= np.uint32(dropout_threshold(rate))
