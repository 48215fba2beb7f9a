"""Programs as text, there and back: one line an instruction, of each unit the operands that it needs.

::

    # a comment, up to the end of the line
    scale 0.25
    SB op=LOAD address=1024 size=16384  NBin op=LOAD address=0 words=1024  NFU nfu1=MULT neurons=16
    CP end=1  SB op=READ  NBin op=READ words=1024  NBout write_op=STORE address=0 words=16  NFU nfu1=MULT nfu2_in=NBOUT ...

A unit's name (`hw.nfu.isa.UNITS`) is followed by its operands, in any order. An operand that is left out has its neutral value:
the first of its operations (NOP; ADD, RESET and NBOUT of NFU), the least number that it can be, 0 or 1. What an operation cannot
do without (`NEEDS`) must be written. Numbers are decimal; ``_`` may group their digits. ``scale`` stands before the first
instruction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from re import finditer

import numpy as np
import numpy.typing as npt

from graph.errors import nearest
from hw.errors import HwError
from hw.nfu.isa import KEYS, OPERANDS, UNITS, Column, Op, Operand, Program

NEEDS: Mapping[tuple[str, Op], tuple[str, ...]] = {
    ("sb.op", Op.LOAD): ("sb.address", "sb.size"),
    ("nbin.op", Op.LOAD): ("nbin.address", "nbin.words"),
    ("nbin.op", Op.READ): ("nbin.words",),
    ("nbout.read_op", Op.LOAD): ("nbout.bias",),
    ("nbout.write_op", Op.STORE): ("nbout.address", "nbout.words"),
    ("nfu.nfu2_out", Op.NFU3): ("nfu.nfu3", "nfu.output_end"),
}
"""Operation of an operand -> operands that must be written with it."""

NEUTRAL: tuple[int, ...] = tuple(int(o.choices[0]) if o.choices else o.least for o in OPERANDS)
_AT = {key: i for i, key in enumerate(KEYS)}


@dataclass(frozen=True, slots=True)
class _Slot:
    """An operand, ready for reading."""

    index: int
    choices: dict[str, int] | None
    least: int
    most: int

    @classmethod
    def of(cls, o: Operand) -> "_Slot":
        return cls(_AT[o.key], {c.name: int(c) for c in o.choices} or None, o.least, o.most)


_SLOTS = {unit: {o.name: _Slot.of(o) for o in OPERANDS if o.unit == unit} for unit in UNITS}
_NEEDS = [(_AT[key], int(op), tuple(_AT[n] for n in needs)) for (key, op), needs in NEEDS.items()]


def assemble(text: str, name: str = "<text>") -> Program:
    """Read a program.

    Parameters
    ----------
    text : lines as above.
    name : of where it comes from, for messages.

    Raises
    ------
    HwError : one line for each mistake, ``name:line:column: what is wrong, and what would be right``.
    """
    r = _Reader(name)
    for number, line in enumerate(text.splitlines(), 1):
        r.read(number, line)
    r.finish()
    if r.mistakes:
        raise HwError("\n".join(f"{name}:{at[0]}:{at[1]}: {what}" for at, what in sorted(r.mistakes)))
    table = np.array(r.rows, np.int64)
    return Program({key: table[:, i] for i, key in enumerate(KEYS)}, r.scale)


@dataclass
class _Reader:
    """What was read so far, and what was wrong with it, each at (line, column)."""

    name: str
    rows: list[list[int]] = field(default_factory=list)
    scale: float = 1.0
    scale_line: int = 0
    end_line: int = 0
    last_line: int = 0
    mistakes: list[tuple[tuple[int, int], str]] = field(default_factory=list)

    def read(self, number: int, line: str) -> None:
        """One line."""
        words = line.partition("#")[0].split()
        if not words:
            return
        if words[0] == "scale":
            self._scale(number, line)
            return
        self.last_line = number
        if self.end_line:
            self._wrong(number, line, 0, f"an instruction after the last one (CP end=1 in line {self.end_line})")
        row = _row(words)
        if row is None:
            self.mistakes += [((number, column), what) for column, what in _mistakes(line)]
            row = list(NEUTRAL)
            row[0] = int(any(w.startswith("end=") and w != "end=0" for w in words))  # meant as the last one
        if row[0]:
            self.end_line = self.end_line or number
        self.rows.append(row)

    def finish(self) -> None:
        """What can be said of the whole alone."""
        if not self.last_line:
            self.mistakes.append(((1, 1), "no instruction; a program has at least one, the last of which has CP end=1"))
        elif not self.end_line:
            self.mistakes.append(((self.last_line, 1), "the last instruction needs CP end=1"))

    def _wrong(self, number: int, line: str, word: int, what: str) -> None:
        places = [m.start() + 1 for m in finditer(r"\S+", line)]
        self.mistakes.append(((number, places[word]), what))

    def _scale(self, number: int, line: str) -> None:
        words = line.partition("#")[0].split()
        if len(words) != 2:
            self._wrong(number, line, 0, "cannot read this; write scale NUMBER, e.g. scale 0.25")
            return
        if self.scale_line:
            self._wrong(number, line, 0, f"a second scale; the first is in line {self.scale_line}")
        elif self.rows:
            self._wrong(number, line, 0, "scale stands before the first instruction")
        self.scale_line = number
        try:
            scale = float(words[1])
        except ValueError:
            scale = 0.0
        if 0 < scale < inf:
            self.scale = scale
        else:
            self._wrong(number, line, 1, f"scale is a number above 0, got {words[1]!r}")


def _row(words: list[str]) -> list[int] | None:
    """An instruction's operands, or None when anything is wrong with it: the fast way through a line that is right."""
    row = list(NEUTRAL)
    fields: dict[str, _Slot] = {}
    seen: set[str | int] = set()
    try:
        for word in words:
            key, equals, value = word.partition("=")
            if equals:
                slot = fields[key]
                number = slot.choices[value] if slot.choices else int(value)
                if not slot.choices and not slot.least <= number <= slot.most:
                    return None
                row[slot.index] = number
                seen.add(slot.index)
            else:
                fields = _SLOTS[word]
                seen.add(word)
    except (KeyError, ValueError):
        return None
    if len(seen) != len(words):
        return None
    for index, op, needs in _NEEDS:
        if row[index] == op and not seen.issuperset(needs):
            return None
    return row


def _mistakes(line: str) -> list[tuple[int, str]]:
    """All that is wrong with an instruction: column, and what."""
    found: list[tuple[int, str]] = []
    units: dict[str, int] = {}
    operands: dict[int, tuple[int, int | None]] = {}
    unit: str | None = None
    for m in finditer(r"\S+", line.partition("#")[0]):
        column, word = m.start() + 1, m.group()
        key, equals, value = word.partition("=")
        if not equals:
            was_known = unit is not None or not units
            unit = word if word in UNITS else None
            if unit is None and was_known:
                found.append((column, f"unknown unit {word!r}; {nearest(word, (*UNITS, 'scale') if not units else UNITS)}"))
            elif unit in units:
                found.append((column, f"a second {unit}; a line has one field of each unit"))
            units[word] = column
        elif unit is None:
            if not units:
                found.append((column, f"operand {key!r} of no unit; write one of {', '.join(UNITS)} before it"))
                units[""] = column  # say it once
        elif key not in _SLOTS[unit]:
            found.append((column, f"{unit} has no operand {key!r}; {nearest(key, _SLOTS[unit])}"))
        else:
            slot = _SLOTS[unit][key]
            number, what = _value(slot, value)
            if what:
                found.append((column + len(key) + 1, f"{unit} {key}: {what}"))
            if slot.index in operands:
                found.append((column, f"{unit} {key} is written a second time"))
            operands[slot.index] = column, number
    return found + _missing(operands)


def _value(slot: _Slot, text: str) -> tuple[int | None, str]:
    """What is written behind the sign, and what is wrong with it."""
    if slot.choices:
        if text in slot.choices:
            return slot.choices[text], ""
        return None, f"unknown operation {text!r}; {nearest(text, slot.choices)}"
    try:
        number = int(text)
    except ValueError:
        return None, f"a whole number, got {text!r}"
    if not slot.least <= number <= slot.most:
        return None, f"must lie between {slot.least:,} and {slot.most:,}, got {text}"
    return number, ""


def _missing(operands: Mapping[int, tuple[int, int | None]]) -> list[tuple[int, str]]:
    found = []
    for index, op, needs in _NEEDS:
        column, value = operands.get(index, (0, None))
        absent = [OPERANDS[n].name for n in needs if n not in operands]
        if value == op and absent:
            o = OPERANDS[index]
            found.append((column, f"{o.unit} {o.name}={Op(op).name} needs {' and '.join(absent)}"))
    return found


def disassemble(program: Program) -> str:
    """The text of a program, which assembles to an equal one.

    Raises
    ------
    HwError : an operand that has no text: no such operation, or a number out of range.
    """
    table = program.table()
    _check(program)
    shown = table != np.array(NEUTRAL)
    for index, op, needs in _NEEDS:
        shown[np.ix_(table[:, index] == op, needs)] = True
    lines: list[list[str]] = [[] for _ in range(len(program))]
    rows, columns = np.nonzero(shown)
    unit_of = [o.unit for o in OPERANDS]
    unit = ""
    row_before = -1
    for row, column, word in zip(rows.tolist(), columns.tolist(), _words(table, shown), strict=True):
        if row != row_before or unit_of[column] != unit:
            row_before, unit = row, unit_of[column]
            lines[row].append(unit)
        lines[row][-1] += word
    head = [] if program.scale == 1.0 else [f"scale {float(program.scale)!r}"]
    return "\n".join([*head, *("  ".join(line) or "CP" for line in lines)]) + "\n"


def _words(table: Column, shown: npt.NDArray[np.bool_]) -> list[str]:
    """`` name=value`` of what is shown, row after row."""
    names = {int(op): op.name for op in Op}
    before = [f" {o.name}=" for o in OPERANDS]
    is_op = [bool(o.choices) for o in OPERANDS]
    _, columns = np.nonzero(shown)
    pairs = zip(columns.tolist(), table[shown].tolist(), strict=True)
    return [before[c] + (names[v] if is_op[c] else str(v)) for c, v in pairs]


def _check(program: Program) -> None:
    for o in OPERANDS:
        c = program[o.key]
        wrong = ~np.isin(c, o.choices) if o.choices else (c < o.least) | (c > o.most)
        if wrong.any():
            k = int(np.argmax(wrong))
            right = f"one of {', '.join(x.name for x in o.choices)}" if o.choices else f"between {o.least:,} and {o.most:,}"
            raise HwError(f"instruction {k}: {o.unit} {o.name} must be {right}, got {int(c[k])}")
    if not 0 < program.scale < inf:
        raise HwError(f"the scale of a program is a number above 0, got {program.scale}")
