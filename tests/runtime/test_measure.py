"""Probes and the memory counter make sense; what they measure is never asserted."""

import mmap

import numpy as np
import pytest

from runtime.measure import Memory, Probes


def test_probes_take_time() -> None:
    p = Probes()()
    assert p.arithmetic > 0
    assert p.copy > 0


def test_memory_sees_pages_when_they_are_touched() -> None:
    nbytes = 32 << 20
    memory = Memory()
    pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.look()
    assert memory.grown < nbytes // 20  # reserved only
    np.frombuffer(pages, np.uint8)[:] = 1
    memory.look()
    assert memory.grown == pytest.approx(nbytes, rel=0.05)
