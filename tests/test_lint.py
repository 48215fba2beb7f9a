"""The linter and the strict type checker are tests, so that one command checks everything."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(root: Path, *command: str) -> None:
    """Run a tool in the checkout; its own words are the failure's message."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff(root: Path) -> None:
    run(root, "ruff", "check", "--output-format=concise", ".")


def test_ruff_format(root: Path) -> None:
    run(root, "ruff", "format", "--check", ".")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_mypy_strict(root: Path) -> None:
    run(root, "mypy")
