"""An NFU of the catalogue with `--set nfu.<field>=value` applied: every mistake at once, each with its setting."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, get_type_hints

from graph.errors import nearest
from graph.fixed_point import Fixed, Rounding
from hw.errors import HwError
from hw.nfu.config import Arithmetic, Cut, Lines, Nfu, Overflow, fixed
from hw.units import Quantity, parse
from trainscape.errors import Mistake, ScenarioError
from trainscape.yaml_reader import read_text

PREFIX = "nfu."
DEFAULT = "diannao"
FieldPath = tuple[str, ...]
"""To a field: ``("arithmetic", "cut")``."""
Changes = Mapping[FieldPath, Any]
_UNITS = {"_hz": Quantity.HERTZ, "_bytes_per_second": Quantity.BYTES_PER_SECOND, "_seconds": Quantity.SECONDS}


def devices() -> tuple[str, ...]:
    """Names of the catalogue's NFUs."""
    from hw.catalogue import Kind, device, names

    return tuple(n for n in names(Kind.DEVICE) if device(n).nfu is not None)


def nfu_of(name: str) -> Nfu:
    """The NFU that a device of the catalogue is; raises `ValueError` with the nearest one."""
    from hw.catalogue import Kind, device, names

    found = device(name).nfu if name in names(Kind.DEVICE) else None
    if found is None:
        raise ValueError(f"{name!r} is no NFU of the catalogue; {nearest(name, devices())} (list: trainscape hw list)")
    return found


def split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the NFU, and the others."""
    mine = [t for t in overrides if t.strip().startswith(PREFIX)]
    return mine, [t for t in overrides if t not in mine]


def configured(nfu: Nfu, overrides: Sequence[str]) -> Nfu:
    """The NFU with settings changed.

    Parameters
    ----------
    nfu : to begin with.
    overrides : each ``"nfu.<field>=value"``, a field of a part as ``nfu.arithmetic.cut``; rates and times also with their unit.

    Raises
    ------
    ScenarioError : unknown fields, values of another kind, and what `Nfu` refuses; all of them, with their settings.
    """
    changes: dict[FieldPath, Any] = {}
    mistakes: list[Mistake] = []
    for text in overrides:
        key, _, value_text = text.partition("=")
        path = tuple(key.strip().removeprefix(PREFIX).split("."))
        try:
            changes[path] = _value(nfu, path, value_text)
        except HwError as e:
            mistakes.append(_mistake(path, str(e)))
    try:
        found = _changed(nfu, changes)
    except HwError as e:
        mistakes += _refused(nfu, changes) or [_guilty(changes, str(e))]
    if mistakes:
        raise ScenarioError(mistakes)
    return found


def _refused(nfu: Nfu, changes: Changes) -> list[Mistake]:
    """What cannot be, whatever the other parts are: the settings of each part alone."""
    found = []
    for part in dict.fromkeys(path[0] for path in changes):
        mine = {path: value for path, value in changes.items() if path[0] == part}
        try:
            _changed(nfu, mine)
        except HwError as e:
            found.append(_guilty(mine, str(e)))
    return found


def _guilty(changes: Changes, message: str) -> Mistake:
    """A refusal at the setting that it names."""
    guilty = next((p for p in changes if message.startswith((f"{p[-1]} ", f"{p[0]}: "))), None)
    return _mistake(next(iter(changes)) if guilty is None and len(changes) == 1 else guilty, message)


def _mistake(path: FieldPath | None, message: str) -> Mistake:
    key = PREFIX + ".".join(path) if path else ""
    return Mistake(place=f"--set {key}" if key else "--set", path=key, message=message)


def _value(nfu: Nfu, path: FieldPath, text: str) -> Any:
    """The value for the field at a path; raises `HwError` when there is no such field, or it is of another kind."""
    kind, field = _kind(nfu, path), path[-1]
    doc = read_text(text, field)
    if not text.strip():
        raise HwError(f"no value; write --set {PREFIX}{'.'.join(path)}=value")
    if doc.mistakes:
        raise HwError(doc.mistakes[0].message)
    data = doc.data
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if data not in set(kind):
            raise HwError(f"must be {' or '.join(kind)}, got {text.strip()!r}")
        return kind(data)
    if kind is int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise HwError(f"must be a whole number, got {text.strip()!r}")
        return data
    if kind is float:
        unit = next((q for ending, q in _UNITS.items() if field.endswith(ending)), None)
        if isinstance(data, str) and unit is not None:
            return parse(data, unit)
        if not is_number:
            raise HwError(f"must be a number, got {text.strip()!r}")
        return float(data)
    if not isinstance(data, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in data):
        raise HwError(f"must be a list of whole numbers such as [3, 2, 3], got {text.strip()!r}")
    return tuple(data)


def _kind(nfu: Nfu, path: FieldPath) -> Any:
    holder: Any = nfu
    for i, part in enumerate(path):
        names = [f.name for f in fields(holder)]
        where = ".".join((PREFIX.rstrip("."), *path[:i]))
        if part not in names:
            raise HwError(f"{where} has no {part!r}; {nearest(part, names)}")
        inside = getattr(holder, part)
        if i == len(path) - 1:
            if is_dataclass(inside):
                raise HwError(f"it is a part of several fields: {', '.join(f'{part}.{f.name}' for f in fields(inside))}")
            return get_type_hints(type(holder))[part]
        if not is_dataclass(inside):
            raise HwError(f"{where}.{part} is {inside!r}, which has no fields")
        holder = inside
    raise HwError("no field is named")


def _changed(nfu: Nfu, changes: Changes) -> Nfu:
    parts: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for path, value in changes.items():
        if len(path) == 1:
            plain[path[0]] = value
        else:
            parts.setdefault(path[0], {})[path[1]] = value
    for name, inside in parts.items():
        old = getattr(nfu, name)
        if isinstance(old, Fixed):
            plain[name] = fixed(inside.get("bits", old.bits), inside.get("fraction", old.fraction), name)
        else:
            plain[name] = replace(old, **inside)
    return replace(nfu, **plain)


def document(nfu: Nfu) -> dict[str, Any]:
    """Every field, plain."""
    found: dict[str, Any] = {}
    for f in fields(nfu):
        value = getattr(nfu, f.name)
        found[f.name] = {g.name: getattr(value, g.name) for g in fields(value)} if is_dataclass(value) else value
    return found


def from_document(said: Mapping[str, Any]) -> Nfu:
    """The NFU that `document` wrote, also after it was JSON."""
    parts = {"neuron": Fixed(**said["neuron"]), "synapse": Fixed(**said["synapse"])}
    a = said["arithmetic"]
    words = {"cut": Cut(a["cut"]), "rounding": Rounding(a["rounding"]), "overflow": Overflow(a["overflow"])}
    lines, stages = Lines(said["lines"]), tuple(said["stage_cycles"])
    return Nfu(**{**said, **parts, "arithmetic": Arithmetic(**{**a, **words}), "lines": lines, "stage_cycles": stages})
