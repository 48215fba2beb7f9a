"""Of which sources CUDA kernels are made: calibrated times are worth nothing when these change."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from runtime.errors import RunError
from runtime.kernels.build import file_hash

RECORDS = "hw.kernels.cuda"
"""The module with the kernels' terms."""


@cache
def source_hash(kernel: str) -> str:
    """Hash of the file that says what a kernel launches, of what it imports, and of the terms; 16 hexadecimal digits.

    Raises `UnknownName` when there is no such kernel.
    """
    from runtime.kernels.cuda.kernel import find

    files = [_file(name) for name in (find(kernel).launches.__module__, RECORDS)]
    return sha256(",".join(file_hash(f) for f in files).encode()).hexdigest()[:16]


def source_hashes() -> dict[str, str]:
    """Kernel name -> `source_hash`, for every CUDA kernel, and for the copy of a batch."""
    from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families

    load_families()
    return {name: source_hash(name) for name in CUDA_KERNELS}


def _file(module: str) -> Path:
    import importlib

    found = importlib.import_module(module).__file__
    if found is None:
        raise RunError(f"module {module} has no file to be hashed")
    return Path(found)
