"""These tests run in processes of their own whose environment turns the simulator on; no other process collects them."""

import pytest
from numba.core import config

if config.ENABLE_CUDASIM:
    from runtime.cuda import bound
    from tests.runtime.cuda.simulated.references import by_reference
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are the operators' references."""
    monkeypatch.setattr(bound, "launches_of", by_reference)
    monkeypatch.setattr("runtime.cuda.executor.require_kernels", lambda lowered: None)
