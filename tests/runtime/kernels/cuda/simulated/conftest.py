"""These tests run in a process of their own whose environment turns the simulator on; no other process collects them."""

from numba.core import config

if not config.ENABLE_CUDASIM:
    collect_ignore_glob = ["test_*.py"]
