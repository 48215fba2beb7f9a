"""Programs as files: read with all mistakes at their places, checked against an NFU, written."""

import os
import re
from dataclasses import fields
from pathlib import Path

from hw.errors import HwError
from hw.nfu.asm import assemble, disassemble
from hw.nfu.config import Nfu
from hw.nfu.isa import Program
from hw.nfu.layer import Layer
from hw.nfu.lower import LONGEST, lower, places
from hw.nfu.nest import Nest, Schedule
from hw.nfu.schedule import best
from trainscape.errors import Mistake, RunFolderError, ScenarioError
from trainscape.nfu.schedules import schedule_text
from trainscape.nfu.shape import shape_text

MAX_BYTES = 64 << 20
"""Of a program's text: some hundred thousand instructions."""
MOST_LINES = 200_000
"""Instructions of a program that is written as text."""
ANYWHERE = 1 << 62
"""Words of a memory in which every address lies: a file does not say how much there is."""


def read(file: str) -> Program:
    """The program of a file; raises `ScenarioError` with all its mistakes, each with line and column."""
    return assembled(_text(file), file)


def _text(file: str) -> str:
    try:
        with Path(file).open("rb") as f:
            raw = f.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            why = f"too large; a program's text has at most {MAX_BYTES:,} bytes"
            raise ScenarioError([Mistake(place=file, path="", message=why)])
        return raw.decode("utf-8")
    except OSError as e:
        raise ScenarioError([Mistake(place=file, path="", message=f"cannot be read: {e.strerror or e}")]) from None
    except UnicodeDecodeError as e:
        raise ScenarioError([Mistake(place=file, path="", message=f"not UTF-8 text: {e.reason}")]) from None


def assembled(text: str, file: str) -> Program:
    """The program of a text; see `read`."""
    try:
        return assemble(text, file)
    except HwError as e:
        raise ScenarioError(_mistakes(str(e), text, file)) from None


def _mistakes(said: str, text: str, file: str) -> list[Mistake]:
    """The assembler's lines ``file:line:column: what``."""
    lines, found = text.splitlines(), []
    for one in said.split("\n"):
        m = re.fullmatch(r"(\d+):(\d+): (.*)", one.removeprefix(f"{file}:"))
        if m is None:
            found.append(Mistake(place=file, path="", message=one))
            continue
        line, column = int(m[1]), int(m[2])
        source = lines[line - 1] if line <= len(lines) else ""
        found.append(Mistake(place=f"{file}:{line}:{column}", path="", message=m[3], source=source, line=line, column=column))
    return found


def checked(file: str, nfu: Nfu) -> Program:
    """The program of a file, which the NFU can execute.

    Raises `ScenarioError` for a program that is malformed, asks for units in a way that does not go together, or does not fit.
    """
    from runtime.nfu.check import check

    text = _text(file)
    program = assembled(text, file)
    try:
        check(program, nfu, ANYWHERE)
    except HwError as e:
        raise ScenarioError([_refused(str(e), text, file)]) from None
    return program


def _refused(said: str, text: str, file: str) -> Mistake:
    """The checker's ``instruction k: what``, at its line; lines without an instruction do not count."""
    m = re.fullmatch(r"instruction (\d+): (.*)", said)
    lines = text.splitlines()
    there = [i for i, line in enumerate(lines, 1) if (words := line.partition("#")[0].split()) and words[0] != "scale"]
    if m is None or int(m[1]) >= len(there):
        return Mistake(place=file, path="", message=said)
    line = there[int(m[1])]
    source = lines[line - 1]
    column = len(source) - len(source.lstrip()) + 1
    return Mistake(place=f"{file}:{line}:{column}", path="", message=m[2], source=source, line=line, column=column)


def of_layer(layer: Layer, nfu: Nfu, schedule: Schedule | None = None) -> Program:
    """The program of a layer; None: under its best schedule.

    Raises `HwError` when the schedule does not fit, or the program is too long to be written out.
    """
    nest = Nest(layer, nfu, best(layer, nfu).schedule if schedule is None else schedule)
    if len(nest) > min(MOST_LINES, LONGEST):
        raise HwError(
            f"layer {layer.name!r} takes {len(nest):,} instructions, more than the {MOST_LINES:,} that are written out; "
            f"describe a smaller one with --shape"
        )
    return lower(nest, places(layer)[0])


def text_of(layer: Layer, nfu: Nfu, schedule: Schedule) -> str:
    """The same as text, which `nfu asm` and `nfu run` read back; what it is of stands above it."""
    program = of_layer(layer, nfu, schedule)
    plain = {f.name: getattr(schedule, f.name) for f in fields(schedule)}
    head = (
        f"# {layer.name}: {shape_text(layer)}\n"
        f"# Tn {nfu.tn}, Ti {nfu.ti}; {schedule_text(plain)}\n"
        f"# {len(program):,} instructions; addresses count words: inputs, synapses in the order of use, biases, outputs\n"
    )
    return head + disassemble(program)


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; raises `RunFolderError` when that cannot be done."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe: nothing to put a file in the place of
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # what a link leads to, not the link
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as e:
        raise RunFolderError(f"{path} cannot be written: {e.strerror or e}") from e
