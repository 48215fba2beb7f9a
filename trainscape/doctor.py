"""What this computer has, what is missing, and what to do about it. Imports neither Numba nor matplotlib; starts nothing."""

import os
import platform
import sys
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graph.record import record
from trainscape.report.tables import nbytes


class Status(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@record
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : what.
    status : ok, a warning, or missing.
    text : what was found, in words.
    values : the same as plain data, units in the names.
    advice : what to do about it, or ``""``.
    """

    name: str
    status: Status
    text: str
    values: dict[str, Any]
    advice: str = ""

    def document(self) -> dict[str, Any]:
        """Plain data for the JSON document."""
        return {"name": self.name, "status": self.status.value, "text": self.text, "advice": self.advice or None, **self.values}


def examine(*, is_gpu: bool = False) -> list[Finding]:
    """Look at everything; `is_gpu`: also at the profile of this computer's GPU, for which Numba is imported."""
    found = [_versions(), _cores(), _memory(), _shared_memory(), _cuda(), _kernels(), _profile(), _extras(is_gpu)]
    return [*found, _gpu_profile()] if is_gpu else found


_PACKAGES = ("numpy", "numba", "llvmlite", "simpy", "networkx", "scipy", "pydantic", "ruamel.yaml", "click", "rich", "matplotlib")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> Finding:
    import trainscape

    found = {"python": platform.python_version(), "trainscape": trainscape.__version__, **{p: _version(p) for p in _PACKAGES}}
    missing = [p for p, v in found.items() if v is None]
    text = ", ".join(f"{p} {v}" for p, v in found.items() if v)
    if missing:
        advice = f"reinstall trainscape; {', '.join(missing)} not found"
        return Finding(name="versions", status=Status.MISSING, text=text, values={"versions": found}, advice=advice)
    return Finding(name="versions", status=Status.OK, text=text, values={"versions": found})


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float | None:
    """Cores' worth of time that the control group allows; None: no limit."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return None


def _cores() -> Finding:
    from hw.profile import cpu_name

    cores, quota = free_cores(), _quota()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    text = f"{cores} of {os.cpu_count()} cores of {cpu_name()}, load {load:.1f}"
    values = {"cores": cores, "cores_of_host": os.cpu_count(), "core_quota": quota, "load_1min": load, "cpu": cpu_name()}
    if quota is not None and quota < cores:
        advice = f"the control group allows {quota:g} cores' worth of time: workers will be held up"
    elif load > 0.3 * cores:
        advice = "other programs are running: timings will be noisy, and a calibration made now would be too"
    elif cores < 2:
        advice = "two workers would take turns on one core"
    else:
        return Finding(name="cores", status=Status.OK, text=text, values=values)
    return Finding(name="cores", status=Status.WARNING, text=text, values=values, advice=advice)


def _memory() -> Finding:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        total, free = (int(lines[k].split()[0]) * 1024 for k in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Finding(name="memory", status=Status.WARNING, text="cannot be read", values={})
    text, values = f"{nbytes(free)} of {nbytes(total)} free", {"memory_bytes": total, "memory_free_bytes": free}
    if free < 1 << 30:
        advice = "less than 1 GiB is free: compiling kernels needs about that"
        return Finding(name="memory", status=Status.WARNING, text=text, values=values, advice=advice)
    return Finding(name="memory", status=Status.OK, text=text, values=values)


def _shared_memory() -> Finding:
    if not hasattr(os, "memfd_create"):
        advice = "training with more than one worker needs Linux"
        return Finding(name="shared memory", status=Status.MISSING, text=f"none on {sys.platform}", values={}, advice=advice)
    try:
        fd = os.memfd_create("trainscape-doctor")
        try:
            os.ftruncate(fd, 1 << 20)
        finally:
            os.close(fd)
    except OSError as e:
        advice = "workers cannot share memory here"
        return Finding(name="shared memory", status=Status.MISSING, text=f"refused: {e.strerror}", values={}, advice=advice)
    return Finding(name="shared memory", status=Status.OK, text="anonymous files (memfd)", values={"kind": "memfd"})


def _cuda() -> Finding:
    from runtime.cuda.driver import TOOLKIT, find_driver, missing

    found = find_driver()
    values: dict[str, Any] = {"driver": None, "devices": []}
    advice = f"{missing(found)}; then {TOOLKIT}" if missing(found) else ""
    if found is None:
        text = "no driver (looked for libcuda): GPUs are predicted, not used"
        return Finding(name="cuda", status=Status.MISSING, text=text, values=values, advice=advice)
    if not found.gpus:
        text = "a driver that finds no device"
        return Finding(name="cuda", status=Status.WARNING, text=text, values=values, advice=advice)
    names = [g.name for g in found.gpus]
    values = {"driver": found.version, "devices": names}
    text = f"driver for CUDA {found.version}: {', '.join(names)}"
    if not _version("numba-cuda"):
        advice = f"kernels for it are compiled by numba-cuda, which is not installed: {TOOLKIT}"
        return Finding(name="cuda", status=Status.WARNING, text=text, values=values, advice=advice)
    return Finding(name="cuda", status=Status.OK, text=text, values=values)


def compiled_kernels() -> tuple[Path, int]:
    """Where compiled kernels are kept, and how many of them there are for any source."""
    from platformdirs import user_cache_dir

    spec = find_spec("runtime")
    beside = Path(spec.origin).parent / "kernels" / "__pycache__" if spec is not None and spec.origin else Path("__pycache__")
    places = [beside, Path(user_cache_dir("trainscape")) / "kernels"]
    counts = [(p, sum(1 for _ in p.glob("*.nbc"))) for p in places if p.is_dir()]
    return max(counts, key=lambda c: c[1], default=(places[0], 0))


def _kernels() -> Finding:
    folder, count = compiled_kernels()
    values = {"compiled": count, "folder": str(folder)}
    if not count:
        text = "none compiled yet: the first run compiles them, for about half a minute"
        return Finding(name="kernels", status=Status.WARNING, text=text, values=values)
    return Finding(name="kernels", status=Status.OK, text=f"{count} compiled in {folder}", values=values)


def _profile() -> Finding:
    from hw.profile import default_path
    from trainscape.host_profile import Status as ProfileStatus
    from trainscape.host_profile import state

    found = state()
    values = {"profile": found.status.value, "file": str(default_path())}
    status = {ProfileStatus.PRESENT: Status.OK, ProfileStatus.STALE: Status.WARNING}.get(found.status, Status.MISSING)
    advice = "" if found.status is ProfileStatus.PRESENT else "run trainscape calibrate; it takes up to 3 minutes"
    return Finding(name="profile", status=status, text=f"{found.status}: {found.text}", values=values, advice=advice)


def _gpu_profile() -> Finding:
    from runtime.errors import MissingCapability
    from trainscape.gpu_profile import state
    from trainscape.host_profile import Status as ProfileStatus

    try:
        found = state()
    except MissingCapability:  # `_cuda` says which
        return Finding(name="GPU profile", status=Status.MISSING, text="no GPU that could be calibrated", values={})
    values, text = {"profile": found.status.value, "gpu": found.gpu}, f"{found.gpu}, {found.status}: {found.text}"
    status = Status.OK if found.status is ProfileStatus.PRESENT else Status.WARNING
    return Finding(name="GPU profile", status=status, text=text, values=values)


_EXTRAS = {"notebook": ("jupytext", "nbclient", "ipykernel"), "cuda": ("numba-cuda",)}


def _extras(is_gpu: bool) -> Finding:
    from runtime.cuda.driver import TOOLKIT

    found = {extra: all(_version(p) for p in packages) for extra, packages in _EXTRAS.items()}
    text = ", ".join(f"{extra} {'yes' if there else 'no'}" for extra, there in found.items())
    is_lacking = is_gpu and not found["cuda"]
    status, advice = (Status.MISSING, TOOLKIT) if is_lacking else (Status.OK, "")
    return Finding(name="extras", status=status, text=text, values={"extras": found}, advice=advice)
