"""Run folders: ``runs/<name>/`` always holds the latest run; older ones are kept beside it as ``<name>.1``, ``<name>.2`` ...

A file appears whole or not at all: it is written under another name, synced, and renamed. Only folders that hold the
marker file of a run are ever moved; any other folder with something in it is refused. While a run is on, its folder is locked
(the folder itself, so that the lock leaves no file behind and goes along when the folder is renamed), and a second run refused.
"""

import fcntl
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trainscape
from trainscape.errors import RunFolderError
from trainscape.report.json_document import dumps

MARKER = "run.json"
SCHEMA = "trainscape.run/1"


class RunFolder:
    """A folder that one run writes into; use `create` or `reopen`.

    Parameters
    ----------
    path : the folder, which exists.
    lock : open file that holds the folder's lock; closed by `close`, or when the object goes; else by the system.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._unlock = weakref.finalize(self, os.close, lock)

    def close(self) -> None:
        """Give the lock back; another run may have the folder."""
        self._unlock()

    @classmethod
    def create(cls, path: Path, *, command: str, settings: Mapping[str, Any] | None = None) -> "RunFolder":
        """A fresh folder at `path`; a run that is there already is moved aside.

        Raises
        ------
        RunFolderError : something that is no run is in the way, another run is on there, or the folder cannot be made.
        """
        try:
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise RunFolderError(f"{path} is in the way: it is no folder; choose another --out")
            while not _is_empty(folder := cls(path, _locked(path, make=True))):
                if not (path / MARKER).is_file():
                    raise RunFolderError(f"{path} is not empty and holds no run (no {MARKER}); choose another --out")
                _move_aside(path)
        except OSError as e:
            raise RunFolderError(f"{path}: {e.strerror or e}") from e
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        about = {"schema": SCHEMA, "created": created, "command": command, "version": trainscape.__version__}
        folder.write_json(MARKER, {**about, "settings": settings})
        return folder

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """The folder of a run that goes on; raises `RunFolderError` when there is none, or another process is at it."""
        if not (path / MARKER).is_file():
            raise RunFolderError(f"there is no run in {path} to go on with (no {MARKER})")
        try:
            return cls(path, _locked(path))
        except OSError as e:
            raise RunFolderError(f"{path}: {e.strerror or e}") from e

    def write_json(self, name: str, document: Mapping[str, Any]) -> Path:
        """Write a JSON document."""
        return self.write_text(name, dumps(document))

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file."""
        target = self.path / name
        temporary = self.temporary(name)
        with temporary.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(target)
        return target

    def temporary(self, name: str) -> Path:
        """Where a writer of its own (a picture, a trace) may write before `publish`; the ending stays the same."""
        return self.path / f".tmp-{os.getpid()}-{name}"

    def publish(self, name: str) -> Path:
        """Give what was written to ``temporary(name)`` its name."""
        self.temporary(name).replace(self.path / name)
        return self.path / name


def _is_empty(folder: RunFolder) -> bool:
    return not any(folder.path.iterdir())


def _locked(path: Path, *, make: bool = False) -> int:
    """An open file that holds the lock of a folder; raises `RunFolderError` when another run holds it."""
    while True:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise RunFolderError(
                f"{path} is in use: another run is writing into it; wait for its end or choose another --out"
            ) from None
        except OSError:
            return lock  # a file system without locks: as good as it gets
        try:
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)  # another process has moved it aside meanwhile


def _move_aside(path: Path) -> None:
    """Rename a run to the next free number: the larger the number, the later the run."""
    prefix = path.name + "."
    taken = [int(p.name[len(prefix) :]) for p in path.parent.glob(f"{path.name}.*") if p.name[len(prefix) :].isdigit()]
    number = max(taken, default=0) + 1
    while True:
        aside = path.with_name(f"{path.name}.{number}")
        try:
            if not aside.exists():
                path.rename(aside)
                return
        except FileExistsError:
            pass
        except OSError as e:
            if e.errno != 39:  # ENOTEMPTY: another process was faster
                raise
        number += 1
