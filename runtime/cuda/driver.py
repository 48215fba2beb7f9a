"""What CUDA driver and GPUs this computer has. Asks the driver's library alone: no Numba, no context, so no memory of the GPU.

`call` is for those who have a context.
"""

import ctypes
from importlib.util import find_spec
from typing import Any

from graph.record import record
from runtime.errors import MissingCapability

LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
INSTALL = "install NVIDIA's driver (580 or later, for CUDA 13), check it with nvidia-smi"
OLDEST = 13
"""CUDA that a driver must be for: code made by its toolkit is loaded by drivers of the same major version, and later ones."""
TOOLKIT = "pip install 'trainscape[cuda]' (in a checkout: pip install -e '.[cuda]' -c constraints.txt)"
WITHOUT = (
    ". Without a GPU: --device cpu runs on the processor, and GPUs of the catalogue can be predicted (trainscape hw list; "
    "--set system.name=h200-sxm, say)"
)
"""Ends what is said where no GPU can be used: what can be done all the same."""
SIMULATOR = "simulator"
"""What stands for the name of a GPU where kernels run in Numba's simulator."""
CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (CUDA driver API, cuDeviceGetAttribute)."""


class DriverError(Exception):
    """A call of the driver went wrong."""


@record
class Gpu:
    """A GPU.

    Parameters
    ----------
    name : as the driver has it, e.g. ``"NVIDIA H200"``.
    memory_nbytes : its memory; 0 where the driver does not say.
    capability : its architecture, e.g. ``(9, 0)``; None where the driver does not say.
    """

    name: str
    memory_nbytes: int = 0
    capability: tuple[int, int] | None = None


@record
class Driver:
    """A driver that answers.

    Parameters
    ----------
    version : of CUDA that it is for, e.g. ``"13.0"``; ``""``: it finds no device.
    gpus : in its order.
    """

    version: str
    gpus: tuple[Gpu, ...]


def find_driver() -> Driver | None:
    """The driver; None: there is none."""
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return None
    count, number = ctypes.c_int(), ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return Driver(version="", gpus=())
    library.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return Driver(version=version, gpus=tuple(_gpu(library, i) for i in range(count.value)))


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    nbytes = ctypes.c_size_t()
    total = getattr(library, "cuDeviceTotalMem_v2", None)
    if total is None or total(ctypes.byref(nbytes), device) != 0:
        nbytes.value = 0
    parts, ask = (ctypes.c_int(), ctypes.c_int()), getattr(library, "cuDeviceGetAttribute", None)
    said = ask is not None and all(ask(ctypes.byref(p), a, device) == 0 for p, a in zip(parts, CAPABILITY, strict=True))
    capability = (parts[0].value, parts[1].value) if said else None
    return Gpu(name=name.value.decode(errors="replace"), memory_nbytes=nbytes.value, capability=capability)


def missing(driver: Driver | None) -> str:
    """Why nothing can run on a GPU here, and the way out; ``""``: there is a driver and a GPU."""
    if driver is None:
        return f"there is no CUDA driver on this computer (libcuda was not found): {INSTALL}"
    if not driver.gpus:
        return "the CUDA driver of this computer finds no GPU: nvidia-smi says what it sees; in a container, pass one through"
    if int(driver.version.split(".")[0]) < OLDEST:
        return f"the driver of this computer is for CUDA {driver.version}, too old for kernels of CUDA {OLDEST}: {INSTALL}"
    return ""


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver; raises `DriverError` with its word for what went wrong. Uses NVIDIA's bindings."""
    from cuda.bindings import driver

    code, *found = getattr(driver, name)(*arguments)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise DriverError(f"{name}: {code.name}")
    return found[0] if found else None


def is_simulated() -> bool:
    """Whether kernels run in Numba's simulator in this process; imports Numba."""
    from numba.core import config

    return bool(config.ENABLE_CUDASIM)


def require_compiler(otherwise: str = "") -> None:
    """Raise `MissingCapability`, with the way out, unless there is what compiles kernels for GPUs; no GPU is needed for that.

    Parameters
    ----------
    otherwise : a further way out.
    """
    if find_spec("numba_cuda") is None:
        raise MissingCapability(f"kernels for GPUs are compiled by numba-cuda, which is not installed: {TOOLKIT}{otherwise}")


def require_gpu() -> Gpu:
    """The GPU that is used, the first; in the simulator what stands for one.

    Raises
    ------
    MissingCapability : no driver, no GPU, or no compiler for its kernels; with the way out.
    """
    if is_simulated():
        require_compiler(WITHOUT)
        return Gpu(name=SIMULATOR)
    driver = find_driver()
    if why := missing(driver):  # told before the compiler, which is of no use then
        raise MissingCapability(f"{why}; then {TOOLKIT}; trainscape doctor looks again{WITHOUT}")
    require_compiler(WITHOUT)
    assert driver is not None
    return driver.gpus[0]
