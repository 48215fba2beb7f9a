"""Known software stacks, one YAML file each in this folder, every number with its source; see `hw.stack` for what they mean.

A number that was fitted on measurements says so: ``fitted: [table/row ...]`` names the measurements, which then are never counted
as predicted.
"""

from functools import cache
from pathlib import Path
from typing import Any

from graph.errors import nearest
from graph.record import record
from hw.catalogue.reader import Row, Section, finish, read, read_sources
from hw.errors import HwError
from hw.stack import Stack
from hw.units import Quantity

FOLDER = Path(__file__).parent


@record
class Entry:
    """A stack with where its numbers come from.

    Parameters
    ----------
    stack : the stack.
    rows : its numbers with their sources.
    fitted : quantity -> the measurements that it was fitted on, ``"<table>/<row>"``.
    """

    stack: Stack
    rows: tuple[Row, ...]
    fitted: dict[str, tuple[str, ...]]


def names() -> tuple[str, ...]:
    """Names of the stacks."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


def stack(name: str) -> Stack:
    """A stack by name."""
    return entry(name).stack


@cache
def entry(name: str) -> Entry:
    """A stack with its sources; raises `HwError` when there is none of that name, or its file has mistakes."""
    if name not in names():
        raise HwError(f"no software stack {name!r}; {nearest(name, names())}")
    return read_file(FOLDER / f"{name}.yaml")


def read_file(path: Path) -> Entry:
    """A stack from its file."""
    top = read(path)
    sources = read_sources(top)
    if top.text("kind") != "stack":
        top.problem("kind must be stack")
    fields: dict[str, Any] = {"name": top.text("name"), "title": top.text("title")}
    for section, read_section in (("host", _host), ("devices", _devices), ("memory", _memory)):
        inside = top.section(section)
        if inside is not None:
            fields |= read_section(inside)
            inside.close()
    found = top.section("fitted")
    fitted = {key: found.texts(key) for key in found} if found is not None else {}
    rows = finish(top, sources)
    for quantity in fitted:
        if quantity not in {r.quantity for r in rows}:
            raise HwError(
                f"{path.name}: fitted: there is no number {quantity!r}; {nearest(quantity, [r.quantity for r in rows])}"
            )
    made = Stack(**fields)
    return Entry(stack=made, rows=rows, fitted=fitted)


def _host(s: Section) -> dict[str, Any]:
    return {
        "array_seconds": s.number("array", Quantity.SECONDS, 0.0),
        "copy_bytes_per_second": s.number("copies", Quantity.BYTES_PER_SECOND) if s.has("copies") else None,
        "decode_seconds": s.number("decode", Quantity.SECONDS) if s.has("decode") else None,
    }


def _devices(s: Section) -> dict[str, Any]:
    return {
        "is_numbered": _choice(s, "order", ("ring", "number")) == "number",
        "contention": s.number("contention", Quantity.FRACTION, 1.0),
    }


def _memory(s: Section) -> dict[str, Any]:
    return {
        "keeps_results": _choice(s, "keeps", ("planned", "results")) == "results",
        "reserved": s.number("reserved", Quantity.FRACTION, 0.0),
    }


def _choice(s: Section, key: str, choices: tuple[str, str]) -> str:
    """One of two words; the first is the default."""
    found = s.text(key, choices[0])
    if found not in choices:
        s.problem(f"{key} is {found!r}; choose {' | '.join(choices)}", s.line_of(key))
    return found
