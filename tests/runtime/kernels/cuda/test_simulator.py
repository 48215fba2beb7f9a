"""The source of the CUDA kernels in Numba's simulator, which a process must choose before it imports Numba.

The other tests beside this one have the emulator carry out what the compiler made of the kernels, or a GPU where there is one.
"""

import subprocess
import sys
from pathlib import Path

import pytest

MARK = "pytest.mark.simulated"
FILES = sorted(f for f in Path(__file__).parent.glob("test_*.py") if f.name != Path(__file__).name and MARK in f.read_text())
SECONDS = 240


def test_every_kernel_is_among_them() -> None:
    assert "test_against_reference.py" in {f.name for f in FILES}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_kernels_in_the_simulator(file: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-m",
        "simulated",
        "--durations=5",
        str(file),
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
