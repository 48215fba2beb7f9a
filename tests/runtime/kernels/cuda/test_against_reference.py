"""Every CUDA kernel against its operator's reference: compiled, on every sample; its source in the simulator, on small ones."""

from collections.abc import Iterator

import pytest

from hw.kernels.record import KernelRecord
from runtime.kernels.cuda.check import SHIFTS, Case, cases, check, launched, records, threads
from runtime.kernels.cuda.kernel import CUDA_KERNELS, Machine, load_families, machine

load_families()
BUDGET = 600
"""Threads of a case."""
WORK = 8_000
"""Floating-point operations of a case."""
ALIKE = 2
"""Cases of a kernel that launch nothing new: the smallest ones."""
WRITTEN = [r for r in records() if r.name in CUDA_KERNELS and any(True for _ in cases(r))]


def chosen(kernel: KernelRecord) -> Iterator[Case]:
    """All cases. In the simulator those of few threads; with an epilogue, and of algorithms beside the preferred one, only what
    launches something new."""
    found, seen, plain = sorted(cases(kernel), key=threads), set(), 0
    if machine() is not Machine.SIMULATOR:
        return (yield from found)
    small = [c for c in found if threads(c) <= BUDGET and kernel.terms(c.call.types, c.attrs)["flop"] <= WORK]
    for case in small or found[:1]:
        epilogue = case.attrs.get("epilogue", "")
        told = ("" if kernel.algorithm else epilogue, *(launch.kernel.name for launch in launched(case)))
        if told not in seen or (plain < ALIKE and not (epilogue or kernel.algorithm)):
            seen.add(told)
            plain += not epilogue
            yield case


@pytest.mark.simulated
@pytest.mark.slow
@pytest.mark.parametrize("kernel", WRITTEN, ids=lambda r: r.name)
def test_kernel_equals_reference(kernel: KernelRecord) -> None:
    shifts = SHIFTS if not kernel.algorithm else SHIFTS[:1] if machine() is Machine.SIMULATOR else SHIFTS[::2]
    for case in chosen(kernel):
        check(case, shifts)
