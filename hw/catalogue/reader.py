"""Reads one catalogue file: YAML 1.2 with positions, every number a unit string with its source, all mistakes at once.

A file is a mapping. A number is written ``{value: "25 GB/s", source: key}``, where `key` names an entry of the file's
`sources`, or is the source itself in words. What is not asked for is an unknown key, which is a mistake.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from graph.errors import nearest
from graph.record import record
from hw import units
from hw.errors import HwError
from hw.units import Quantity

E = TypeVar("E", bound=StrEnum)


@record
class Row:
    """One number of a catalogue entry, as `trainscape hw show` lists it.

    Parameters
    ----------
    quantity : its path in the file, e.g. ``"memory.bandwidth"``.
    value : in SI units.
    kind : what it is.
    text : as written.
    source : in words.
    line : in the file.
    """

    quantity: str
    value: float
    kind: Quantity
    text: str
    source: str
    line: int

    @property
    def unit(self) -> str:
        """The unit as written; empty for counts and plain fractions."""
        return self.text.partition(" ")[2].strip()


@dataclass
class File:
    """What all sections of a file share.

    Parameters
    ----------
    name : for messages.
    problems : mistakes so far.
    rows : numbers so far.
    sources : key -> source in words.
    cited : keys of sources that some number named.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    cited: set[str] = field(default_factory=set)


class Section:
    """A mapping of the file, and what was already asked of it.

    Parameters
    ----------
    node : the YAML mapping node.
    path : keys that lead here.
    file : shared by all sections.
    """

    def __init__(self, node: Any, path: tuple[str, ...], file: File) -> None:
        self.path, self.file = path, file
        self.line = _line_of(node)
        self._nodes: dict[str, Any] = {}
        self._lines: dict[str, int] = {}
        self._asked: set[str] = set()
        if not _is(node, "mapping"):
            self.problem(f"{self._say()} must be a mapping", self.line)
            return
        for key, value in node.value:
            if key.value in self._nodes:
                self.problem(f"key {key.value!r} is given twice (first on line {self._lines[key.value]})", _line_of(key))
            self._nodes[key.value], self._lines[key.value] = value, _line_of(key)

    def _say(self, key: str = "") -> str:
        return ".".join((*self.path, key) if key else self.path) or "the file"

    def problem(self, what: str, line: int | None = None) -> None:
        """Note a mistake; `close` of the whole file raises."""
        self.file.problems.append(f"{self.file.name}:{line or self.line}: {what}")

    def has(self, key: str) -> bool:
        """The key is there."""
        self._asked.add(key)
        return key in self._nodes

    def __iter__(self) -> Iterator[str]:
        """All keys, in order."""
        return iter(tuple(self._nodes))

    def line_of(self, key: str) -> int:
        """Line of a key."""
        return self._lines.get(key, self.line)

    def text(self, key: str, default: str | None = None) -> str:
        """A string; a missing one without default is a mistake."""
        if not self.has(key):
            if default is None:
                self.problem(f"{self._say(key)} is missing")
            return default or ""
        node = self._nodes[key]
        if not _is(node, "scalar"):
            self.problem(f"{self._say(key)} must be text", self._lines[key])
            return default or ""
        return " ".join(node.value.split())

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; a missing one is a mistake."""
        if not self.has(key):
            self.problem(f"{self._say(key)} is missing")
            return ()
        node = self._nodes[key]
        if not _is(node, "sequence") or not all(_is(n, "scalar") for n in node.value):
            self.problem(f"{self._say(key)} must be a list of text", self._lines[key])
            return ()
        return tuple(str(n.value) for n in node.value)

    def section(self, key: str) -> "Section | None":
        """A mapping inside; None when the key is absent."""
        if not self.has(key):
            return None
        return Section(self._nodes[key], (*self.path, key), self.file)

    def sections(self, key: str) -> tuple["Section", ...]:
        """A list of mappings inside; empty when the key is absent."""
        if not self.has(key):
            return ()
        node = self._nodes[key]
        if not _is(node, "sequence"):
            self.problem(f"{self._say(key)} must be a list", self._lines[key])
            return ()
        return tuple(Section(n, (*self.path, f"{key}[{i}]"), self.file) for i, n in enumerate(node.value))

    def number(self, key: str, kind: Quantity, default: float | None = None) -> float:
        """A number with its source, in SI units; a missing one without default is a mistake."""
        inside = self.section(key)
        if inside is None:
            if default is None:
                self.problem(f"{self._say(key)} is missing; write {key}: {{value: ..., source: ...}}")
            return 1 if default is None else default
        text, source = inside.text("value"), inside.text("source")
        inside.close()
        if not text or not source:
            return 1
        try:
            value = units.parse(text, kind)
        except HwError as e:
            self.problem(f"{self._say(key)}: {e}", inside.line_of("value"))
            return 1
        self.file.cited.add(source)
        source = self.file.sources.get(source, source)
        if " " not in source:
            self.problem(
                f"{self._say(key)}: source {source!r} is not in sources; {nearest(source, self.file.sources)}", inside.line
            )
        row = Row(quantity=self._say(key), value=value, kind=kind, text=text, source=source, line=self._lines[key])
        self.file.rows.append(row)
        return value

    def whole(self, key: str, kind: Quantity, default: int | None = None) -> int:
        """Like `number`, for bytes and counts."""
        return int(self.number(key, kind, default))

    def close(self) -> None:
        """Every key that nobody asked for is a mistake."""
        for key in self._nodes:
            if key not in self._asked:
                self.problem(f"unknown key {self._say(key)!r}; {nearest(key, self._asked)}", self._lines[key])


def _line_of(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _is(node: Any, kind: str) -> bool:
    return bool(getattr(node, "id", None) == kind)


def choice(s: Section, key: str, choices: type[E], default: E) -> E:
    """One of a closed set; another is a mistake."""
    text = s.text(key, default.value)
    if text not in set(choices):
        s.problem(f"{key} is {text!r}; choose {' | '.join(choices)}", s.line_of(key))
        return default
    return choices(text)


def read(path: Path) -> Section:
    """Open a catalogue file; raises `HwError` when it is no YAML mapping."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    yaml: Any = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise HwError(f"{path.name}:{line}: not valid YAML: {e.problem}") from e
    if node is None or not _is(node, "mapping"):
        raise HwError(f"{path.name}:1: a catalogue file is a mapping that begins with `kind: device | link | system`")
    return Section(node, (), File(path.name))


def read_sources(top: Section) -> Section | None:
    """Read the `sources` of a file; must be done before its numbers."""
    sources = top.section("sources")
    if sources is not None:
        top.file.sources.update({key: sources.text(key) for key in sources})
    return sources


def finish(top: Section, sources: Section | None) -> tuple[Row, ...]:
    """Raise `HwError` with all mistakes of the file, or return its numbers."""
    top.close()
    for key in sources or ():
        if key not in top.file.cited:
            top.problem(f"no number cites source {key!r}", sources.line_of(key) if sources else None)
    if top.file.problems:
        raise HwError("\n".join(sorted(top.file.problems, key=_line)))
    return tuple(top.file.rows)


def _line(problem: str) -> int:
    return int(problem.split(":")[1])
