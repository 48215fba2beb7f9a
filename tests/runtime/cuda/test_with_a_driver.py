"""The layers above a CUDA driver, with a double of the driver: what is asked for on a real one, without a GPU.

The double is C, compiled against the header that comes with the extra ``cuda``; a process must find it as libcuda as it starts.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cuda import pathfinder

SECONDS = 150
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="there is no C compiler for the double of a driver")
@pytest.mark.timeout(SECONDS + 20)
def test_steps_on_a_double_of_a_driver(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, header = root / "tests/runtime/cuda/driver", pathfinder.find_nvidia_header_directory("cudart")
    assert COMPILER is not None and header is not None
    flags = ["-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", f"-I{header}", "-o", str(tmp_path / "libcuda.so.1")]
    subprocess.run([COMPILER, *flags, str(folder / "double.c")], check=True, timeout=60)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path), prepend=os.pathsep)
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--durations=5", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
