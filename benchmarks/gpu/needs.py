"""The packages that a run needs: what is missing is told, each in a line with the way out."""

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

WHEELS = Path(__file__).with_name("wheels.txt")
ACTIVE = "_numba_cuda_redirector"
"""Module that makes ``numba.cuda`` that of numba-cuda; a line in a site folder imports it."""
NEEDS = {
    "numpy": "numpy>=2.0",
    "scipy": "scipy>=1.13",
    "networkx": "networkx>=3.3",
    "numba": "numba>=0.61",
    "numba_cuda": "numba-cuda>=0.30",
    "cuda.bindings": "cuda-bindings>=13.0",
    "cuda.core": "cuda-core>=0.5.1",
    "cuda.pathfinder": "cuda-pathfinder>=1.4",
    "simpy": "simpy>=4.1",
    "pydantic": "pydantic>=2.9",
    "ruamel.yaml": "ruamel.yaml>=0.18.6",
    "platformdirs": "platformdirs>=4.2",
}
"""Module -> package that has it."""
OF_DEVICE = {"cuda.bindings", "cuda.core", "cuda.pathfinder"}
LIBRARIES = {"nvvm": "nvidia-nvvm==13.0.*", "nvrtc": "nvidia-cuda-nvrtc==13.0.*", "nvJitLink": "nvidia-nvjitlink==13.*"}
"""Libraries of the CUDA toolkit that compile kernels -> package that has it."""


def numbers(text: str) -> tuple[int, ...]:
    """``"0.30.4"`` is (0, 30, 4); what follows is not looked at."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def missing(simulated: bool) -> list[str]:
    """What is missing or too old, a line each; empty: the run can begin."""
    wanted = {m: p for m, p in NEEDS.items() if not (simulated and m in OF_DEVICE)}
    lines = [line for module, package in wanted.items() if (line := _lack(module, package))]
    if lines or (lines := _redirected()) or simulated:
        return lines
    return [*_libraries(), *_driver()]


def _lack(module: str, package: str) -> str:
    name, _, least = package.partition(">=")
    way = f"pip install '{package}' (a GPU machine without a network: {WHEELS.name}, docs/gpu.md)"
    if not _is_there(module):
        return f"{name} is not installed: {way}"
    try:
        has = version(name)
    except PackageNotFoundError:
        return ""  # it is there without saying what it is
    return f"{name} {has} is too old: {way}" if numbers(has) < numbers(least) else ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that holds it
        return False


def _redirected() -> list[str]:
    """Where numba-cuda lies on PYTHONPATH only, nobody reads the line that puts it in its place."""
    from numba import cuda

    if "numba_cuda" in str(cuda.__file__):
        return []
    return [f"numba-cuda is there, but in no site folder, where {ACTIVE}.pth would be read: pip install it into the environment"]


def _libraries() -> list[str]:
    from cuda import pathfinder

    lines = []
    for name, package in LIBRARIES.items():
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except Exception:
            lines.append(f"the CUDA toolkit's {name} is not found: pip install '{package}', or set CUDA_HOME to a toolkit 13.0")
    return lines


def _driver() -> list[str]:
    from runtime.cuda.driver import find_driver
    from runtime.cuda.driver import missing as lacking

    why = lacking(find_driver())
    return [f"{why}; without a GPU: --simulate"] if why else []
