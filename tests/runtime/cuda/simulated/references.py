"""Kernels that are the operators' references, one thread each: for tests of who is played when and where, not of kernels."""

from collections.abc import Sequence

import numpy as np

from graph.ops import OPS
from hw.kernels.record import Call, own_attrs
from runtime.cuda import bound
from runtime.cuda.arena import outputs_of
from runtime.kernels.cuda.kernel import ELEMENTS, DeviceKernel, Launch, Place
from runtime.part import is_exchange


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


def work(broken: str = "") -> None:
    """What a worker process does, with references for kernels; the one of the name `broken` fails in the second step."""
    from runtime.dist.worker import main

    left, of_kernels = [1], bound.launches_of

    def launches_of(call: Call, places: Sequence[Place]) -> Sequence[Launch]:
        if is_exchange(call):  # the reference wants all ranks at once
            return of_kernels(call, places)
        found = by_reference(call, places)
        if call.kernel == broken:
            plain = found[0].kernel.function

            def function(*arrays: object) -> None:
                if not left:
                    raise IndexError("beyond the end")
                left.pop()
                plain(*arrays)

            found[0].kernel.function = function
        return found

    bound.launches_of = launches_of
    main()
