"""CUDA kernels compiled to PTX and assembled, without a device: what registers, memory and instructions come out.

PTX is made by Numba and NVVM, and assembled by ``ptxas`` of the same toolkit; both come with the extra ``cuda``. PTX, and what is
assembled for a device, are kept on disk as long as their sources stay, so that processes and runs share them.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graph.record import record
from runtime.errors import MissingCapability, RunError
from runtime.kernels.build import file_hash
from runtime.kernels.cuda.kernel import SIMULATED, DeviceKernel
from runtime.kernels.folder import folder

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))
"""Turing, Ampere, Hopper: each has what all later ones of its kind have."""
ASSEMBLE_SECONDS = 120.0
DAY = 86_400


class ToolkitMissing(MissingCapability):
    """The compiler or assembler of the CUDA toolkit is not installed, too old, or stood in for by the simulator."""


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
    ToolkitMissing : NVVM or NVRTC cannot be found, or kernels run in the simulator.
    """
    if architecture < kernel.least:
        raise RunError(f"kernel {kernel.name!r} needs {name_of(kernel.least)}, got {name_of(architecture)}")
    if SIMULATED:
        raise ToolkitMissing("kernels run in Numba's simulator here, which compiles none; unset NUMBA_ENABLE_CUDASIM")
    return _once(_kept(kernel, architecture, "ptx"), lambda: _compiled(kernel, architecture).encode()).decode()


def source_architecture(device: tuple[int, int]) -> tuple[int, int]:
    """Whose PTX a device gets: the newest of `ARCHITECTURES` that is not above its own; raises `RunError` where all are."""
    if device < ARCHITECTURES[0]:
        raise RunError(f"kernels are compiled for {name_of(ARCHITECTURES[0])} and later GPUs, got {name_of(device)}")
    return max(a for a in ARCHITECTURES if a <= device)


def cubin(kernel: DeviceKernel, device: tuple[int, int]) -> bytes:
    """The kernel's PTX assembled for a device's own architecture.

    Raises
    ------
    RunError : see `ptx`; or the assembler refuses it.
    ToolkitMissing : there is no assembler, or one older than the device.
    """
    if not assembles(device):
        raise ToolkitMissing(f"{assembler()} knows no {name_of(device)}; pip install --upgrade nvidia-cuda-nvcc")
    text = ptx(kernel, source_architecture(device))
    return _once(_kept(kernel, device, "cubin"), lambda: _assembled(kernel, device, text)[0])


def image(kernel: DeviceKernel, device: tuple[int, int]) -> bytes:
    """What a device's driver loads: the cubin, and where none can be made here the PTX, which the driver assembles itself."""
    if assembles(device):
        return cubin(kernel, device)
    return ptx(kernel, source_architecture(device)).encode() + b"\0"


def is_kept(kernel: DeviceKernel, device: tuple[int, int]) -> bool:
    """Whether `image` has nothing to make."""
    kept = _kept(kernel, source_architecture(device), "ptx"), _kept(kernel, device, "cubin")
    return all(at is not None and at.is_file() for at in kept[: 1 + assembles(device)])


@cache
def assembles(device: tuple[int, int]) -> bool:
    """Whether there is an assembler here that knows an architecture."""
    try:
        said = subprocess.run([str(assembler()), "--help"], capture_output=True, text=True, timeout=ASSEMBLE_SECONDS, check=False)
    except (ToolkitMissing, OSError, subprocess.TimeoutExpired):
        return False
    return f"'{name_of(device)}'" in said.stdout + said.stderr


def _compiled(kernel: DeviceKernel, architecture: tuple[int, int]) -> str:
    from numba import cuda

    try:
        text, _ = cuda.compile_ptx(kernel.function, kernel.signature, cc=architecture, fastmath=kernel.fast)
    except (ImportError, OSError, RuntimeError) as e:
        if "nvvm" in str(e).lower() or "nvrtc" in str(e).lower() or isinstance(e, ImportError):
            raise ToolkitMissing(f"no compiler for CUDA kernels: {e}; install trainscape[cuda]") from e
        raise
    return str(text)


def _kept(kernel: DeviceKernel, architecture: tuple[int, int], kind: str) -> Path | None:
    """Where what is made of one of this package's kernels is kept; none of others, whose sources are not known."""
    if not kernel.function.__module__.startswith(f"{__package__}."):
        return None
    return folder() / "ptx" / _sources() / f"{kernel.name}.{name_of(architecture)}.{kind}"


@cache
def _sources() -> str:
    """Hash of everything that PTX is made from: this package, the random numbers, the compilers' versions."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    versions = [f"{name} {_version(name)}" for name in ("numba", "numba-cuda", "cuda-toolkit", "nvidia-cuda-nvcc")]
    return sha256("\n".join([*(file_hash(f) for f in files), *versions]).encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a toolkit of the system
        return ""


def _once(place: Path | None, make: Callable[[], bytes]) -> bytes:
    """What is kept at a place; made and kept where nothing is. None: made each time."""
    if place is None:
        return make()
    if not place.is_file():
        _keep(place, make())
    return place.read_bytes()


def _keep(place: Path, made: bytes) -> None:
    """Write it for the next time; what other sources gave and nobody touched for a day goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f"{place.suffix}.{os.getpid()}")
    draft.write_bytes(made)
    draft.replace(place)
    for old in place.parent.parent.iterdir():
        with suppress(OSError):  # another process may be faster
            if old != place.parent and time.time() - old.stat().st_mtime > DAY:
                shutil.rmtree(old)


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
    return assemble(kernel, architecture, ptx(kernel, architecture), wanted)


def assemble(kernel: DeviceKernel, architecture: tuple[int, int], text: str, wanted: Iterable[str] = ()) -> Assembled:
    """Assemble a kernel's PTX; raises `RunError` like `assembled`."""
    _, said = _assembled(kernel, architecture, text)
    return Assembled(
        kernel=kernel.name,
        architecture=name_of(architecture),
        registers=_largest(r"Used (\d+) registers", said),
        spill_bytes=_largest(r"(\d+) bytes spill stores", said) + _largest(r"(\d+) bytes spill loads", said),
        shared_bytes=_largest(r"(\d+) bytes smem", said),
        stack_bytes=_largest(r"(\d+) bytes stack frame", said),
        instructions={w: text.count(w) for w in dict.fromkeys((*kernel.wants, *wanted))},
    )


def _assembled(kernel: DeviceKernel, architecture: tuple[int, int], text: str) -> tuple[bytes, str]:
    """(cubin, what the assembler says of it)"""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [str(assembler()), f"-arch={name_of(architecture)}", "-v", "-o", str(made), str(source)],
            capture_output=True, text=True, timeout=ASSEMBLE_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RunError(f"kernel {kernel.name!r}: ptxas refuses its PTX for {name_of(architecture)}: {done.stderr.strip()}")
        return made.read_bytes(), done.stderr


def _largest(pattern: str, text: str) -> int:
    return max((int(n) for n in re.findall(pattern, text)), default=0)
