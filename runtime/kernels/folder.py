"""Where compiled code is kept: the first place that can be written to.

A module of its own, so that a change here leaves the hashes of kernels (`runtime.kernels.build`) as they are.
"""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

import platformdirs


@cache
def folder() -> Path:
    """``__pycache__`` beside the kernels, else the user's cache folder, else a folder of this user's among the temporary ones."""
    for at in (Path(__file__).parent / "__pycache__", Path(platformdirs.user_cache_dir("trainscape")) / "kernels"):
        try:
            at.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=at).close()
        except OSError:
            continue
        return at
    return _temporary()


def _temporary() -> Path:
    """One for all processes of this user, so that workers load what their parent has compiled.

    Machine code is loaded from it, so it must be this user's alone; where another user was faster to take the name, each process
    gets a folder that nobody could foresee, and compiles for itself.
    """
    at = Path(tempfile.gettempdir()) / f"trainscape-{os.getuid()}"
    try:
        at.mkdir(mode=0o700, exist_ok=True)
        found = at.lstat()
        tempfile.TemporaryFile(dir=at).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="trainscape-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return at
    return Path(tempfile.mkdtemp(prefix="trainscape-"))
