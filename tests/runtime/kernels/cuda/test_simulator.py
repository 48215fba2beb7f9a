"""The CUDA kernels in Numba's simulator, which a process must choose before it imports Numba: file by file, each in its own."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("simulated")
SECONDS = 240


def test_there_are_such_tests() -> None:
    assert (FOLDER / "test_against_reference.py").is_file()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("file", sorted(FOLDER.glob("test_*.py")), ids=lambda f: f.stem)
def test_kernels_in_the_simulator(file: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--durations=10", str(file)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
