"""These tests run in a process of their own whose environment turns the simulator on; no other process collects them."""

from collections.abc import Sequence

import numpy as np
import pytest
from numba.core import config

from graph.ops import OPS
from hw.kernels.record import Call, own_attrs
from runtime.cuda import bound
from runtime.cuda.arena import outputs_of
from runtime.kernels.cuda.kernel import ELEMENTS, DeviceKernel, Launch, Place

if not config.ENABLE_CUDASIM:
    collect_ignore_glob = ["test_*.py"]


def _computed(call: Call, values: list[np.ndarray]) -> list[np.ndarray]:
    """What a call writes, by the operators' references."""
    name = call.kernel.split(".")[1]
    if name == "accumulate":
        return [sum(values[1:], start=values[0])]
    op = OPS[name]
    n = op.operands(len(values))
    found = [np.asarray(a) for a in op.reference(values[:n], {**op.attrs, **own_attrs(call.attrs)})]
    for fused in filter(None, str(call.attrs.get("epilogue", "")).split("+")):
        operands = (found[0], values[n]) if fused == "add_bias" else (found[0],)
        found[0] = np.asarray(OPS[fused].reference(list(operands), {})[0])
    return found


def by_reference(call: Call, places: Sequence[Place]) -> list[Launch]:
    """One thread that computes a call by its reference: what is tested is who is played when and where, not kernels."""

    def function(*arrays: object) -> None:
        flat = [a._item._ary for a in arrays]  # type: ignore[attr-defined]
        reads = [a.reshape(t.shape) for a, t in zip(flat, call.types, strict=False)]
        for to, a, t in zip(flat[len(reads) :], _computed(call, [r.copy() for r in reads]), outputs_of(call), strict=True):
            to[...] = a.astype(t.dtype.numpy).reshape(-1)

    mine = places[:-1]
    kernel = DeviceKernel(f"reference.{call.kernel}", function, [ELEMENTS[p.dtype] for p in mine], threads=1)
    return [kernel.launch(1, *(p.operand for p in mine))]


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are the operators' references."""
    monkeypatch.setattr(bound, "launches_of", by_reference)
    monkeypatch.setattr("runtime.cuda.executor.require_kernels", lambda lowered: None)
