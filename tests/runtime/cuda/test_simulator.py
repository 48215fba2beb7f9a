"""Plans and commands on a GPU in Numba's simulator, which a process must choose before it imports Numba."""

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 270
FILES = sorted(p.name for p in (Path(__file__).parent / "simulated").glob("test_*.py"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 10)
@pytest.mark.parametrize("file", FILES)
def test_plans_on_a_simulated_gpu(root: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--durations=10"]
    done = subprocess.run(
        [*command, f"tests/runtime/cuda/simulated/{file}"], cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
