"""Probes, statistics and the memory counter make sense; what they measure is never asserted."""

import mmap

import numpy as np
import pytest

from runtime.measure import Memory, Probes, drift, statistics
from runtime.result import Probe


def test_probes_and_their_drift() -> None:
    p = Probes()()
    assert p.arithmetic > 0
    assert p.copy > 0
    assert drift(Probe(arithmetic=1.0, copy=1.0), Probe(arithmetic=1.05, copy=0.8)) == pytest.approx(0.2)


def test_statistics() -> None:
    s = statistics([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (s.median, s.p10, s.p90, s.count) == (3.0, 1.4, 4.6, 5)


def test_memory_sees_pages_when_they_are_touched() -> None:
    nbytes = 32 << 20
    memory = Memory()
    pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.look()
    assert memory.grown < nbytes // 20  # reserved only
    np.frombuffer(pages, np.uint8)[:] = 1
    memory.look()
    assert memory.grown == pytest.approx(nbytes, rel=0.05)
