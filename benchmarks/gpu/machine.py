"""The machine: its GPU as the driver has it, clocks, processor, versions, and which sources these are."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context
from hw.profile import cpu_name
from trainscape import __version__
from trainscape.calibrate import versions

PACKAGES = (
    "numpy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder", "nvidia-nvvm",
    "nvidia-cuda-nvrtc", "nvidia-nvjitlink", "torch", "triton", "nvidia-cublas", "nvidia-cudnn-cu13", "scipy", "networkx",
    "simpy", "pydantic",
)  # fmt: skip
ASKED = (
    "name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem",
    "power.limit", "persistence_mode", "ecc.mode.current", "mig.mode.current",
)  # fmt: skip


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    yield "gpu", lambda: {"name": c.device.name, **c.device.describe(), "free_nbytes": c.device.free_nbytes()}
    yield "nvidia-smi", nvidia_smi
    yield "host", host
    yield "versions", lambda: {"python": sys.version.split()[0], "trainscape": __version__, **versions(PACKAGES)}


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() if done.returncode == 0 else ""


def nvidia_smi() -> Mapping[str, Any]:
    """What ``nvidia-smi`` says of the first GPU, and of whoever else uses it."""
    said = _said("nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader")
    if not said:
        return {"nvidia-smi": "is not there, or says nothing"}
    others = _said("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader").split()
    first = (x.strip() for x in said.splitlines()[0].split(","))
    return {**dict(zip(ASKED, first, strict=False)), "processes on it": len(others)}


def host() -> Mapping[str, Any]:
    """The computer around it, and the sources."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    commit, changed = _said("git", "rev-parse", "HEAD"), _said("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "processor": cpu_name(), "cores": cores, "system": platform.platform(),
        "commit": (commit or "unknown") + (", with changes" if changed else ""),
    }  # fmt: skip
