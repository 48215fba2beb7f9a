"""Run folders: ``runs/<name>/`` always holds the latest run; older ones are kept beside it as ``<name>.1``, ``<name>.2`` ...

A file appears whole or not at all: it is written under another name, synced, and renamed. Only folders that hold the
marker file of a run are ever moved; any other folder with something in it is refused.
"""

import os
import time
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
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, command: str, settings: Mapping[str, Any] | None = None) -> "RunFolder":
        """A fresh folder at `path`; a run that is there already is moved aside.

        Raises
        ------
        RunFolderError : something that is no run is in the way, or the folder cannot be made.
        """
        try:
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise RunFolderError(f"{path} is in the way: it is no folder; choose another --out")
            if path.is_dir() and any(path.iterdir()):
                if not (path / MARKER).is_file():
                    raise RunFolderError(f"{path} is not empty and holds no run (no {MARKER}); choose another --out")
                _move_aside(path)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise RunFolderError(f"{path}: {e.strerror or e}") from e
        folder = cls(path)
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        about = {"schema": SCHEMA, "created": created, "command": command, "version": trainscape.__version__}
        folder.write_json(MARKER, {**about, "settings": settings})
        return folder

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """The folder of a run that goes on; raises `RunFolderError` when there is none."""
        if not (path / MARKER).is_file():
            raise RunFolderError(f"there is no run in {path} to go on with (no {MARKER})")
        return cls(path)

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
