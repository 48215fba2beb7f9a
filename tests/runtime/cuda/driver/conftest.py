"""These tests run in a process of their own that finds the double of a driver (double.c) as libcuda; no other process collects
them.
"""

import ctypes
from collections.abc import Callable

import pytest

from runtime.cuda.device import Device, device

try:
    LIBRARY = ctypes.CDLL("libcuda.so.1")
    IS_DOUBLE = hasattr(LIBRARY, "double_calls")
except OSError:
    IS_DOUBLE = False
if not IS_DOUBLE:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def gpu() -> Device:
    """The double's GPU."""
    return device()


@pytest.fixture
def calls() -> Callable[[str], int]:
    """How often a function of the driver has been called since the test began."""
    before: dict[str, int] = {}

    def since(name: str) -> int:
        return int(LIBRARY.double_calls(name.encode())) - before.get(name, 0)

    for name in ("cuStreamBeginCapture", "cuGraphLaunch", "cuGraphExecDestroy", "cuLaunchKernel", "cuCtxSynchronize"):
        before[name] = since(name)
    return since
