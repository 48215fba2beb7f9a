"""Measuring: the two probes, memory bandwidth, and what a process's own counters say of its memory.

Probes are the same work every time: if they move, the machine did, and times taken between them do not compare. Time is read
from the monotonic clock around native code, so the interpreter is not in it.
"""

from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.native import SYSTEM, copy_bytes, native, now_ns
from runtime.result import Probe

_ROUNDS = 400_000  # of the arithmetic probe: somewhat under a millisecond
_COPY_BYTES, _COPIES = 192 << 10, 32  # source and target stay in a core's own second-level cache, as a small net's values do
_MEMORY_BYTES = 64 << 20  # larger than any cache
_REPEATS = 7


@native
def _arithmetic(rounds: int, seed: float, clock: int) -> tuple[int, float]:
    """Eight chains of multiply-adds in registers; their values stay near 1."""
    a = b = c = d = e = f = g = h = seed
    begin = now_ns(clock)
    for _ in range(rounds):
        a = a * 0.999999 + 1e-6
        b = b * 0.999999 + 1e-6
        c = c * 0.999999 + 1e-6
        d = d * 0.999999 + 1e-6
        e = e * 0.999999 + 1e-6
        f = f * 0.999999 + 1e-6
        g = g * 0.999999 + 1e-6
        h = h * 0.999999 + 1e-6
    return now_ns(clock) - begin, a + b + c + d + e + f + g + h


@native
def _copy(to: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], times: int, clock: int) -> int:
    begin = now_ns(clock)
    for _ in range(times):
        copy_bytes(to.ctypes.data, source.ctypes.data, source.size)
    return now_ns(clock) - begin


class Probes:
    """The arithmetic and the copy probe, with the memory that the copy needs."""

    def __init__(self) -> None:
        self._from, self._to = np.ones((2, _COPY_BYTES), np.uint8)
        self()

    def __call__(self) -> Probe:
        """The median of some repeats of each: what the machine can do now."""
        clock = SYSTEM.clock_gettime
        arithmetic = median(_arithmetic(_ROUNDS, 1.0, clock)[0] for _ in range(_REPEATS))
        copy = median(_copy(self._to, self._from, _COPIES, clock) for _ in range(_REPEATS))
        return Probe(arithmetic=arithmetic * 1e-9, copy=copy * 1e-9)


def memory_bytes_per_second() -> float:
    """Bytes that a copy through main memory reads and writes in a second: the median of some."""
    source, to = np.ones((2, _MEMORY_BYTES), np.uint8)
    return 2e9 * _MEMORY_BYTES / median(_copy(to, source, 1, SYSTEM.clock_gettime) for _ in range(_REPEATS))


class Meter(Protocol):
    """What tells how much memory a rank takes, wherever it takes it."""

    def look(self) -> None:
        """Take a reading."""

    @property
    def grown(self) -> int:
        """Bytes of the peak above the base."""
        ...


class Memory:
    """What this process's memory grew by, by the kernel's own counters.

    The counter is ``Anonymous`` of ``/proc/self/smaps_rollup`` (see proc(5)): pages that this process alone put into memory,
    exact at the moment of reading, where ``VmHWM`` is counted in batches of pages a core and includes pages of program files
    that happen to be read in. The base is read after imports, compilation, data, input ring, probes and tables, before the
    arena's first page is touched. Shared memory (letters, clock stamps) is not in it, nor what testing and
    the writing of checkpoints take. The peak is the largest reading.
    """

    def __init__(self) -> None:
        self.base = self.peak = anonymous_bytes()

    def look(self) -> None:
        """Take a reading."""
        self.peak = max(self.peak, anonymous_bytes())

    @property
    def grown(self) -> int:
        """Bytes of the peak above the base."""
        return self.peak - self.base


def anonymous_bytes() -> int:
    """Anonymous memory of this process that is resident, in bytes; 0 where the system does not tell."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:")), 0)
