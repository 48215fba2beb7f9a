"""Results that must not be lost: lines of JSON in a file, appended one by one; who begins again reads them first."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainscape.errors import RunFolderError
from trainscape.report.json_document import plain


class Store:
    """Lines of a file by their ``key``; use `opened`."""

    def __init__(self, fd: int, rows: dict[str, dict[str, Any]]) -> None:
        self._fd, self.rows = fd, rows

    def add(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Append a row; the whole line reaches the system at once."""
        found = plain({"key": key, **row})
        line = json.dumps(found, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]
        self.rows[key] = found
        return dict(found)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """The file as a store. A line that was cut off when a process ended is dropped; whoever wrote it lost no other.

    Raises `RunFolderError` when the file holds something else.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        os.ftruncate(fd, whole)
        yield Store(fd, _read(data[:whole], path))
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(data: bytes, path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = json.loads(line)
            found[str(row["key"])] = row
        except (ValueError, KeyError, TypeError) as e:
            raise RunFolderError(f"{path}:{number}: no line of results ({e}); remove it or choose another --out") from None
    return found
