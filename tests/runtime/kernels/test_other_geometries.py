"""The kernels on register tiles of other shapes than this host's, emulated by its compiler."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys
import pytest
import hw.kernels.geometry as geometry
geometry._features = lambda: frozenset({features!r})
geometry.host_geometry.cache_clear()
assert geometry.host_geometry() == geometry.{name}
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *{files!r}, "-o", "addopts=--import-mode=importlib"]))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "features"), [("AVX2", ["AVX2", "FMA3"])])
def test_kernels_are_right(name: str, features: list[str], root: Path) -> None:
    files = [f"tests/runtime/kernels/{f}.py" for f in ("test_against_reference", "test_terms", "test_mathematics")]
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(name=name, features=features, files=files)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
