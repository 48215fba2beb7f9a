"""Launches carried out as the compiler made them for an architecture, without a device."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.record import record
from runtime.kernels.cuda.arguments import part, values
from runtime.kernels.cuda.compile import ptx
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Operand
from runtime.ptx.machine import MOST_LANES, Code, Threads
from runtime.ptx.memory import Global
from runtime.ptx.parse import PtxError, parse
from runtime.ptx.traffic import Counter, Traffic
from runtime.ptx.warps import WARP

Array = npt.NDArray[Any]
ARCHITECTURE = (9, 0)


@record
class Count:
    """What the warps of a launch have carried out.

    Parameters
    ----------
    instructions : the first part of an instruction, e.g. ``"fma"`` -> times that a warp did.
    shared, everywhere : what they asked of shared and of global memory; copies from one to the other are reads of the latter.
    """

    instructions: Mapping[str, int]
    shared: Traffic
    everywhere: Traffic

    @property
    def total(self) -> int:
        """Instructions of all kinds."""
        return sum(self.instructions.values())


@lru_cache(maxsize=256)
def code_of(kernel: DeviceKernel, architecture: tuple[int, int] = ARCHITECTURE) -> Code:
    """The kernel compiled and read; what stands in for it where the architecture is older than it."""
    fitting = kernel.on(architecture)
    return Code(parse(ptx(kernel, architecture))) if fitting is kernel else code_of(fitting, architecture)


def run_launch(
    launch: Launch,
    arrays: Sequence[Array],
    architecture: tuple[int, int] = ARCHITECTURE,
    *,
    code: Code | None = None,
    counter: Counter | None = None,
) -> None:
    """Carry out a launch.

    Parameters
    ----------
    arrays : flat: what its operands are of.
    code : of the kernel; by default what the compiler makes of it.
    counter : counts what is done.

    Raises
    ------
    PtxError : with the kernel and the instruction: a thread did what none may.
    """
    code = code or code_of(launch.kernel, architecture)
    entry, parts = code.program.entry, [part(a, arrays) for a in launch.arguments if isinstance(a, Operand)]
    parameters = {name: v for v, (name, _) in zip(values(launch, parts, entry), entry.parameters, strict=True)}
    memory = Global(parts)
    blocks, threads = prod(launch.grid), launch.kernel.threads
    at_once = max(MOST_LANES // (-(-threads // WARP) * WARP), 1)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, at_once):
            some = range(first, min(first + at_once, blocks))
            try:
                Threads(code, launch.grid, threads, some, parameters, memory, counter).run()
            except PtxError as e:
                raise PtxError(f"{launch.kernel.name} on {launch.grid} blocks of {threads} threads: {e}") from e


def counted(launch: Launch, arrays: Sequence[Array], architecture: tuple[int, int] = ARCHITECTURE) -> Count:
    """Carry out a launch and count what it does; as `run_launch`."""
    instructions = code_of(launch.kernel, architecture).program.instructions
    counter = Counter(len(instructions))
    run_launch(launch, arrays, architecture, counter=counter)
    found: dict[str, int] = {}
    for ins, n in zip(instructions, counter.warps, strict=True):
        found[ins.op[0]] = found.get(ins.op[0], 0) + int(n)
    return Count(instructions=found, shared=counter.of_shared, everywhere=counter.of_global)
