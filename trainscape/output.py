"""Where a command writes: results on stdout, all else on stderr; with ``--json`` one document on stdout and nothing besides."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from trainscape.errors import TrainscapeError
from trainscape.report.json_document import dumps

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress


class StdoutLost(TrainscapeError):
    """What a command has found cannot be written to stdout.

    Parameters
    ----------
    why : what the system said.
    """

    def __init__(self, why: OSError) -> None:
        self.is_unread = isinstance(why, BrokenPipeError)  # as by ``| head``: nobody wants to know more
        super().__init__(f"stdout cannot be written: {why.strerror or why}")


class Output:
    """The two streams of a command.

    Parameters
    ----------
    as_json : results go into one JSON document on stdout; what people read goes to stderr.
    verbosity : -1 only results, warnings and errors; 0 also what is going on; 1 also details.
    stdout, stderr : the streams; by default those of the process, looked up when they are used.
    """

    def __init__(
        self, *, as_json: bool = False, verbosity: int = 0, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json, self.verbosity = as_json, verbosity
        self._stdout, self._stderr = stdout, stderr
        self._has_document = False

    @property
    def stdout(self) -> TextIO:
        return self._stdout or sys.stdout

    @property
    def stderr(self) -> TextIO:
        return self._stderr or sys.stderr

    @cached_property
    def notes(self) -> "Console":
        """A console on stderr."""
        return _console(self.stderr)

    @cached_property
    def _results(self) -> "Console":
        return self.notes if self.as_json else _console(self.stdout)

    @property
    def width(self) -> int:
        """Columns that a table may take."""
        return self._results.width

    def show(self, what: "RenderableType") -> None:
        """A result for people: text, or a table."""
        if not (self.as_json and self.verbosity < 0):
            with self._writing():
                self._results.print(what, markup=False, highlight=False, soft_wrap=isinstance(what, str))

    def note(self, text: str) -> None:
        """What is going on."""
        if self.verbosity >= 0:
            self._line(text)

    def detail(self, text: str) -> None:
        """What only the curious want to know."""
        if self.verbosity >= 1:
            self._line(text)

    def warning(self, text: str) -> None:
        """Something that is probably not meant."""
        self._line(f"warning: {text}")

    def error(self, text: str) -> None:
        """Why the command failed."""
        self._line(text)

    def _line(self, text: str) -> None:
        self.notes.print(text, markup=False, highlight=False, soft_wrap=True)

    def emit(self, document: Mapping[str, Any]) -> None:
        """The command's document. Without ``--json`` nothing is written."""
        if not self.as_json:
            return
        if self._has_document:
            raise RuntimeError("a command writes one JSON document, and this is the second")
        self._has_document = True
        self.write(dumps(document))

    def write(self, text: str) -> None:
        """Text on stdout as it is, for other programs; raises `StdoutLost`."""
        with self._writing():
            self.stdout.write(text)
        self.flush()

    def flush(self) -> None:
        """Hand over what was written to stdout; raises `StdoutLost`."""
        with self._writing():
            self.stdout.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            with suppress(OSError):  # else the interpreter tries once more when it ends, and complains
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stdout.fileno())
                os.close(nowhere)
            raise StdoutLost(e) from e

    @contextmanager
    def progress(self) -> Iterator["Progress"]:
        """Progress bars on stderr; nothing is drawn when it is no terminal, or with ``-q``."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
        )
        hidden = self.verbosity < 0 or not self.notes.is_terminal
        with Progress(*columns, console=self.notes, transient=True, disable=hidden) as bars:
            yield bars


def _console(stream: TextIO) -> "Console":
    """A console; where the stream is no terminal, tables are as wide as they need, so that no column is cut."""
    from rich.console import Console

    return Console(file=stream, highlight=False, width=None if stream.isatty() else 160)
