"""Every CUDA kernel compiled and assembled for every architecture, without a device; and what must come out."""

from itertools import product

import pytest

from runtime.kernels.cuda import FAMILIES
from runtime.kernels.cuda.compile import ARCHITECTURES, ToolkitMissing, assembled, assembler
from runtime.kernels.cuda.kernel import CUDA_KERNELS, DeviceKernel, load_families

load_families()
DOUBLE = ".f64"
REGISTERS, SHARED = 65_536, 48 * 1024
"""Of a multiprocessor; bytes that a block may have without asking for more."""


def launched(family: str) -> list[DeviceKernel]:
    """Kernels that calls of a family launch, and those of older architectures in their place."""
    home = f"runtime.kernels.cuda.{family}"
    found = [k for c in CUDA_KERNELS.values() if c.launches.__module__ == home for k in c.kernels]
    return [k for k in (*found, *(k.older for k in found)) if k is not None]


def kernels_of(family: str) -> list[DeviceKernel]:
    """Each once, whichever calls launch it; what several families launch is the last one's."""
    later = {k for other in FAMILIES[FAMILIES.index(family) + 1 :] for k in launched(other)}
    return [k for k in dict.fromkeys(launched(family)) if k not in later]


TOGETHER = 12
"""Kernels of a test: few enough that tests beside each other take about as long."""
PARTS = [(f, i) for f in FAMILIES for i in range(0, max(len(kernels_of(f)), 1), TOGETHER)]


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("family", "first"), PARTS, ids=[f"{f}-{i}" for f, i in PARTS])
def test_kernels_assemble(family: str, first: int) -> None:
    """All architectures in one process, which compiles the functions that kernels share only once."""
    assert launched(family), f"no CUDA kernel is launched by {family}.py"
    found = kernels_of(family)
    newer = {k.older: k for k in found if k.older is not None}
    for kernel, architecture in product(found[first : first + TOGETHER], ARCHITECTURES):
        if architecture < kernel.least or (kernel in newer and architecture >= newer[kernel].least):
            continue
        made = assembled(kernel, architecture, wanted=(DOUBLE,))
        missing = [w for w in kernel.wants if not made.instructions[w]]
        assert not missing, f"{made}: no {', '.join(missing)}"
        assert made.spill_bytes == 0 or not kernel.is_hot, f"{made}: registers spill"
        assert made.instructions[DOUBLE] == 0 or not kernel.is_hot, f"{made}: arithmetic in double precision"
        assert made.registers * kernel.threads <= REGISTERS, f"{made}: a block of {kernel.threads} threads does not fit"
        assert made.shared_bytes <= SHARED, f"{made}: too much shared memory"


def test_a_toolkit_that_is_not_there_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuda.pathfinder.find_nvidia_binary_utility", lambda name: None)
    with pytest.raises(ToolkitMissing, match=r"has no ptxas; install trainscape\[cuda\]"):
        assembler()
