"""CUDA kernels compiled to PTX and assembled, without a device: what registers, memory and instructions come out.

PTX is made by Numba and NVVM, and assembled by ``ptxas`` of the same toolkit; both come with the extra ``cuda``.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from graph.record import record
from runtime.errors import RunError
from runtime.kernels.cuda.kernel import DeviceKernel

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))
"""Turing, Ampere, Hopper: each has what all later ones of its kind have."""
ASSEMBLE_SECONDS = 120.0


class ToolkitMissing(RunError):
    """The compiler or assembler of the CUDA toolkit is not installed."""


@record
class Assembled:
    """What ``ptxas`` says of a kernel on an architecture.

    Parameters
    ----------
    kernel, architecture : which.
    registers : of a thread.
    spill_bytes : written to and read from memory since registers do not suffice.
    shared_bytes : of static shared memory, of a block.
    stack_bytes : of local arrays, of a thread.
    instructions : of those that were asked for, how often each stands in the PTX.
    """

    kernel: str
    architecture: str
    registers: int
    spill_bytes: int
    shared_bytes: int
    stack_bytes: int
    instructions: dict[str, int]


def name_of(architecture: tuple[int, int]) -> str:
    """E.g. ``"sm_90"``."""
    return f"sm_{architecture[0]}{architecture[1]}"


def ptx(kernel: DeviceKernel, architecture: tuple[int, int]) -> str:
    """The kernel's PTX.

    Raises
    ------
    RunError : the architecture is older than the kernel's instructions.
    ToolkitMissing : NVVM or NVRTC cannot be found.
    """
    if architecture < kernel.least:
        raise RunError(f"kernel {kernel.name!r} needs {name_of(kernel.least)}, got {name_of(architecture)}")
    from numba import cuda

    try:
        text, _ = cuda.compile_ptx(kernel.function, kernel.signature, cc=architecture, fastmath=kernel.fast)
    except (ImportError, OSError, RuntimeError) as e:
        if "nvvm" in str(e).lower() or "nvrtc" in str(e).lower() or isinstance(e, ImportError):
            raise ToolkitMissing(f"no compiler for CUDA kernels: {e}; install trainscape[cuda]") from e
        raise
    return str(text)


def assembler() -> Path:
    """``ptxas``; raises `ToolkitMissing` with the way out."""
    try:
        from cuda import pathfinder
    except ImportError as e:
        raise ToolkitMissing("no CUDA toolkit; install trainscape[cuda]") from e
    found = pathfinder.find_nvidia_binary_utility("ptxas")
    if found is None:
        raise ToolkitMissing("the CUDA toolkit has no ptxas; install trainscape[cuda], which has nvidia-cuda-nvcc")
    return Path(found)


def assembled(kernel: DeviceKernel, architecture: tuple[int, int], wanted: Iterable[str] = ()) -> Assembled:
    """Compile and assemble a kernel.

    Raises
    ------
    RunError : the assembler refuses it; with its words.
    """
    text = ptx(kernel, architecture)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [str(assembler()), f"-arch={name_of(architecture)}", "-v", "-o", str(Path(folder) / "kernel.cubin"), str(source)],
            capture_output=True, text=True, timeout=ASSEMBLE_SECONDS, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RunError(f"kernel {kernel.name!r}: ptxas refuses its PTX for {name_of(architecture)}: {done.stderr.strip()}")
    return Assembled(
        kernel=kernel.name,
        architecture=name_of(architecture),
        registers=_largest(r"Used (\d+) registers", done.stderr),
        spill_bytes=_largest(r"(\d+) bytes spill stores", done.stderr) + _largest(r"(\d+) bytes spill loads", done.stderr),
        shared_bytes=_largest(r"(\d+) bytes smem", done.stderr),
        stack_bytes=_largest(r"(\d+) bytes stack frame", done.stderr),
        instructions={w: text.count(w) for w in dict.fromkeys((*kernel.wants, *wanted))},
    )


def _largest(pattern: str, text: str) -> int:
    return max((int(n) for n in re.findall(pattern, text)), default=0)
