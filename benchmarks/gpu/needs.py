"""The packages that a run needs: what is missing is told, each in a line with the way out. Needs none of them itself."""

import importlib.util
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

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


class Lack(NamedTuple):
    """Something that is missing: a sentence, and the package that it is in, where it is in one."""

    line: str
    package: str = ""


def numbers(text: str) -> tuple[int, ...]:
    """``"0.30.4"`` is (0, 30, 4); what follows is not looked at."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def missing(simulated: bool) -> list[Lack]:
    """What is missing or too old; empty: the run can begin."""
    found = [lack for module, package in _wanted(simulated).items() if (lack := _lack(module, package))]
    if found or (found := _redirected()) or simulated:
        return found
    return [*_libraries(), *_driver()]


def told(lacks: Sequence[Lack]) -> list[str]:
    """What is missing, a line each, and the one command that installs all of it."""
    packages = [f"'{x.package}'" for x in lacks if x.package]
    return [*(x.line for x in lacks), *(["all of it at once:", f"  pip install {' '.join(packages)}"] if packages[1:] else [])]


def versions(simulated: bool) -> str:
    """What is there, with its version, and whether PyTorch is."""
    names = [package.partition(">=")[0] for package in _wanted(simulated).values()]
    theirs = _version("torch") or "is not there: nothing will be compared"
    return ", ".join([*(f"{n} {_version(n) or 'of an unknown version'}" for n in names), f"PyTorch {theirs}"])


def _wanted(simulated: bool) -> dict[str, str]:
    return {m: p for m, p in NEEDS.items() if not (simulated and m in OF_DEVICE)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _lack(module: str, package: str) -> Lack | None:
    name, _, least = package.partition(">=")
    way = f"pip install '{package}' (a GPU machine without a network: {WHEELS.name}, docs/gpu.md)"
    if not _is_there(module):
        return Lack(f"{name} is not installed: {way}", package)
    has = _version(name)  # none: it is there without saying what it is
    return Lack(f"{name} {has} is too old: {way}", package) if has and numbers(has) < numbers(least) else None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that holds it
        return False


def _redirected() -> list[Lack]:
    """Where numba-cuda lies on PYTHONPATH only, nobody reads the line that puts it in its place."""
    from numba import cuda

    if "numba_cuda" in str(cuda.__file__):
        return []
    way = "pip install it into the environment"
    return [Lack(f"numba-cuda is there, but in no site folder, where {ACTIVE}.pth would be read: {way}")]


def _libraries() -> list[Lack]:
    from cuda import pathfinder

    found = []
    for name, package in LIBRARIES.items():
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except Exception:
            way = f"pip install '{package}', or set CUDA_HOME to a toolkit 13.0"
            found.append(Lack(f"the CUDA toolkit's {name} is not found: {way}", package))
    return found


def _driver() -> list[Lack]:
    from runtime.cuda.driver import find_driver
    from runtime.cuda.driver import missing as lacking

    why = lacking(find_driver())
    return [Lack(f"{why}; without a GPU: --simulate")] if why else []
