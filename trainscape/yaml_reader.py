"""Reads YAML 1.2 with the position of every key and value, and reports all mistakes of a file at once.

Scalars follow the core schema of YAML 1.2.2 (section 10.3.2) less its traps: only ``true`` and ``false`` are booleans, ``017`` is
seventeen, ``1e-6`` is a number, and infinity, NaN, hexadecimal and octal numbers are refused by name. Quoted text stays text.
The library (ruamel.yaml) supplies the events; composing them here costs a page and gives duplicates, limits and positions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainscape.errors import Mistake, ScenarioError

Loc = tuple[str | int, ...]
MAX_BYTES, MAX_DEPTH, MAX_ALIASES, MAX_NODES, MAX_MISTAKES = 1_000_000, 32, 100, 20_000, 100

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_REFUSED = (
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), "infinity is not a value that a scenario can hold"),
    (re.compile(r"\.(nan|NaN|NAN)"), "NaN is not a value that a scenario can hold"),
    (re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+"), "write numbers in decimal"),
)
_REWORDED = {
    "mapping values are not allowed here": "a second 'key: value' begins inside a value; "
    "quote the value, or indent the key like its neighbours",
    "found unexpected end of stream": "a quoted text is not closed before the end of the file",
    "expected <block end>, but found '<scalar>'": "more text follows a complete value; quote the whole value",
    "found character '\\t' that cannot start any token": "a tab cannot indent a line; use spaces",
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in the file; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """A file that was read.

    Parameters
    ----------
    file : its name, as the user gave it.
    text : its content.
    data : plain dicts, lists, text, numbers; None for an empty document.
    values, keys : path -> where the value, or its key, stands.
    mistakes : what is wrong with it as YAML.
    """

    file: str
    text: str
    data: Any = None
    values: dict[Loc, Position] = field(default_factory=dict)
    keys: dict[Loc, Position] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, at: Position, path: Loc, message: str) -> Mistake:
        """A mistake at a place of this file, with its line for the caret."""
        lines = self.text.splitlines()
        source = lines[at.line - 1] if at.line <= len(lines) else ""
        place = f"{self.file}:{at.line}:{at.column}"
        return Mistake(place=place, path=dotted(path), message=message, source=source, line=at.line, column=at.column)


def dotted(path: Loc) -> str:
    """The path as it is shown, e.g. ``"model.input.0"``."""
    return ".".join(map(str, path))


def read_bytes(raw: bytes, file: str) -> Document:
    """Read the content of a file; syntax errors and misuse end in ``Document.mistakes``.

    Raises
    ------
    ScenarioError : it is too large, or no UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise ScenarioError([Mistake(place=file, path="", message=f"too large; a scenario has at most {MAX_BYTES} bytes")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        doc = Document(file, raw.decode("utf-8-sig", errors="replace"))
        where = _position(doc.text, len(raw[: e.start].decode("utf-8-sig")))
        raise ScenarioError([doc.mistake(where, (), f"not UTF-8 text: byte {raw[e.start]:#04x}")]) from None
    return read_text(text, file)


def read_text(text: str, file: str) -> Document:
    """Read a text; see `read_bytes`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    doc = Document(file, text)
    try:
        _Composer(doc, iter(YAML(typ="safe", pure=True).parse(text))).document()
    except _Stop as stop:
        doc.mistakes.append(stop.mistake)
    except MarkedYAMLError as e:
        doc.mistakes.append(_syntax(doc, e))
    except YAMLError as e:
        at = getattr(e, "position", None)
        where = _position(text, at) if isinstance(at, int) else Position(1, 1)
        doc.mistakes.append(doc.mistake(where, (), f"not valid YAML: {str(e).splitlines()[0]}"))
    return doc


def _position(text: str, offset: int) -> Position:
    before = text[:offset]
    return Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _syntax(doc: Document, e: Any) -> Mistake:
    """The library's syntax error in our words."""
    mark = e.problem_mark or e.context_mark
    at = Position(mark.line + 1, mark.column + 1)
    problem = str(e.problem or e.context)
    lines = doc.text.splitlines()
    here = lines[mark.line] if mark.line < len(lines) else ""
    if here[mark.column : mark.column + 1] == "\t":
        return doc.mistake(at, (), "not valid YAML: a tab cannot indent a line; use spaces")
    if problem == "found unexpected end of stream" and e.context_mark is not None:
        at = Position(e.context_mark.line + 1, e.context_mark.column + 1)
    unclosed = re.fullmatch(r"expected ',' or '([]}])', but got .*", problem)
    if unclosed and e.context_mark is not None:
        start = Position(e.context_mark.line + 1, e.context_mark.column + 1)
        opening = {"]": "[", "}": "{"}[unclosed[1]]
        noticed = f"(noticed on line {min(at.line, len(lines))})"
        return doc.mistake(start, (), f"not valid YAML: {opening!r} is not closed by {unclosed[1]!r} {noticed}")
    return doc.mistake(at, (), f"not valid YAML: {_REWORDED.get(problem, problem)}")


class _Stop(Exception):
    """Composition cannot go on."""

    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake


@dataclass(slots=True)
class _Node:
    """A composed value before aliases are expanded: a scalar, a list of nodes, or (key, position of the key, node) entries."""

    at: Position
    content: Any
    is_mapping: bool = False


class _Composer:
    """Events to plain data, with the limits that keep a hostile file harmless."""

    def __init__(self, doc: Document, events: Iterator[Any]) -> None:
        self._doc, self._events = doc, events
        self._anchors: dict[str, _Node] = {}
        self._aliases = self._read = self._nodes = 0

    def document(self) -> None:
        next(self._events)  # start of the stream
        if type(first := next(self._events)).__name__ == "StreamEndEvent":
            self._wrong(Position(1, 1), (), "the file is empty; a scenario has the keys name, model, system, parallel, run")
            return
        if first.version is not None and tuple(first.version) != (1, 2):
            self._wrong(Position(1, 1), (), "scenario files are YAML 1.2; remove the %YAML directive")
        root = self._node(next(self._events), (), 0)
        next(self._events)  # end of the document
        if type(more := next(self._events)).__name__ != "StreamEndEvent":
            self._wrong(self._at(more), (), "a second document begins here; one file holds one scenario")
        self._doc.data = self._expand(root, ())
        if self._doc.data is None:
            self._wrong(root.at, (), "the file is empty; a scenario has the keys name, model, system, parallel, run")

    def _wrong(self, at: Position, path: Loc, message: str) -> None:
        self._doc.mistakes.append(self._doc.mistake(at, path, message))
        if len(self._doc.mistakes) == MAX_MISTAKES:
            raise self._stop(at, path, f"more than {MAX_MISTAKES} mistakes; the rest of the file was not read")

    def _stop(self, at: Position, path: Loc, message: str) -> _Stop:
        return _Stop(self._doc.mistake(at, path, message))

    @staticmethod
    def _at(event: Any) -> Position:
        return Position(event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, path: Loc, depth: int) -> _Node:
        at, kind = self._at(event), type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event, at, path)
        if depth > MAX_DEPTH:
            raise self._stop(at, path, f"nested more than {MAX_DEPTH} deep")
        self._read += 1
        if self._read > MAX_NODES:
            raise self._stop(at, path, f"more than {MAX_NODES} values")
        if event.tag is not None and str(event.tag) != "!":
            self._wrong(at, path, f"tags are not used here; remove {event.tag}")
        if kind == "ScalarEvent":
            node = _Node(at, self._scalar(event, at, path))
        elif kind == "SequenceStartEvent":
            node = _Node(at, [])
            while type(item := next(self._events)).__name__ != "SequenceEndEvent":
                node.content.append(self._node(item, (*path, len(node.content)), depth + 1))
        else:
            node = _Node(at, self._entries(path, depth), is_mapping=True)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, at: Position, path: Loc) -> _Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._stop(at, path, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:  # also an alias inside its own anchor: that one is not complete yet
            raise self._stop(at, path, f"alias '*{event.anchor}' has no complete anchor '&{event.anchor}' before it")
        return _Node(at, self._anchors[event.anchor].content, self._anchors[event.anchor].is_mapping)

    def _entries(self, path: Loc, depth: int) -> list[tuple[str, Position, _Node]]:
        found: list[tuple[str, Position, _Node]] = []
        seen: dict[str, Position] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            at = self._at(event)
            key = self._key(event, at, path, depth)
            value = self._node(given := next(self._events), (*path, key or "?"), depth + 1)
            if getattr(given, "value", None) == "" and value.content is None:
                value.at = at  # nothing stands there; the library says where the next thing begins
            if key is None:
                continue
            if key in seen:
                self._wrong(at, (*path, key), f"key {key!r} is given twice (first on line {seen[key].line})")
                continue
            seen[key] = at
            found.append((key, at, value))
        return found

    def _key(self, event: Any, at: Position, path: Loc, depth: int) -> str | None:
        if type(event).__name__ != "ScalarEvent":
            self._wrong(at, path, "a key must be plain text")
            self._node(event, path, depth + 1)
            return None
        key = self._scalar(event, at, path)
        if isinstance(key, str):
            return key
        self._wrong(at, path, f"a key must be text, got {event.value or 'nothing'}; write it in quotes")
        return None

    def _scalar(self, event: Any, at: Position, path: Loc) -> str | int | float | bool | None:
        text = str(event.value)
        if event.style is not None or (event.tag is not None and str(event.tag) == "!"):
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "false"):
            return text == "true"
        for pattern, why in _REFUSED:
            if pattern.fullmatch(text):
                self._wrong(at, path, f"{text}: {why}")
                return 0
        if _INT.fullmatch(text):
            if len(text) > 30:
                self._wrong(at, path, f"a number of {len(text)} digits is too long")
                return 0
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number in (float("inf"), float("-inf")):
                self._wrong(at, path, f"{text} is too large for a number")
                return 0
            return number
        return text

    def _expand(self, node: _Node, path: Loc) -> Any:
        """Plain data, aliases written out; records the positions."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._stop(node.at, path, f"more than {MAX_NODES} values once aliases are written out")
        self._doc.values[path] = node.at
        if node.is_mapping:
            for key, at, _ in node.content:
                self._doc.keys[(*path, key)] = at
            return {key: self._expand(value, (*path, key)) for key, _, value in node.content}
        if isinstance(node.content, list):
            return [self._expand(value, (*path, i)) for i, value in enumerate(node.content)]
        return node.content
