"""A layer as text, ``kind:key=value,...``: read with all mistakes at once, each with its column, and written."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from graph.errors import nearest
from graph.record import record
from hw.errors import HwError
from hw.nfu.layer import Function, Kind, Layer, Pooling
from trainscape.errors import Mistake, ScenarioError

PLACE = "--shape"
KINDS: Mapping[str, Kind] = {"conv": Kind.CONV, "pool": Kind.POOL, "class": Kind.CLASSIFIER, "classifier": Kind.CLASSIFIER}
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


class _Wrong(Exception):
    """A value is none of what it should be."""


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or not int(text):
        raise _Wrong(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise _Wrong(f"must be true or false, got {text!r}")
    return text.lower() in _TRUE


def _border(text: str) -> tuple[int, int]:
    m = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", text)
    if m is None:
        raise _Wrong(f"must be rows, or rows x columns such as 1x2, got {text!r}")
    return int(m[1]), int(m[2] or m[1])


def _one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    def read(text: str) -> StrEnum:
        if text.lower() not in set(choices):
            raise _Wrong(f"must be {' or '.join(choices)}, got {text!r}")
        return choices(text.lower())

    return read


@record
class _Key:
    """A key of a shape.

    Parameters
    ----------
    field : of `Layer`.
    read : its value; raises `_Wrong`.
    kinds : that have it.
    """

    field: str
    read: Callable[[str], Any]
    kinds: tuple[Kind, ...] = tuple(Kind)


_IMAGES, _WEIGHED = (Kind.CONV, Kind.POOL), (Kind.CONV, Kind.CLASSIFIER)
_KEYS: Mapping[str, _Key] = {
    **{k: _Key(field=k, read=_whole, kinds=_IMAGES) for k in ("nx", "ny", "kx", "ky", "sx", "sy")},
    "ni": _Key(field="ni", read=_whole),
    "no": _Key(field="no", read=_whole),
    "groups": _Key(field="groups", read=_whole, kinds=(Kind.CONV,)),
    "private": _Key(field="is_private", read=_flag, kinds=(Kind.CONV,)),
    "batch": _Key(field="batch", read=_whole),
    "border": _Key(field="border", read=_border, kinds=_IMAGES),
    "bias": _Key(field="has_bias", read=_flag, kinds=_WEIGHED),
    "function": _Key(field="function", read=_one_of(Function)),
    "pooling": _Key(field="pooling", read=_one_of(Pooling), kinds=(Kind.POOL,)),
}
_NEEDED: Mapping[Kind, tuple[str, ...]] = {
    Kind.CONV: ("nx", "ny", "ni", "no"),
    Kind.POOL: ("nx", "ny", "ni"),
    Kind.CLASSIFIER: ("ni", "no"),
}


def read_shape(text: str, name: str = "layer") -> Layer:
    """The layer that a text describes.

    Parameters
    ----------
    text : ``kind:key=value,...`` with `Layer`'s extents, and ``private``, ``bias``, ``border``, ``function``, ``pooling``. What
        is left out is as `Layer` has it; windows of a pooling lie side by side, and it has as many maps out as in. A
        classifier's ``batch`` is its number of samples.
    name : of the layer.

    Raises
    ------
    ScenarioError : all mistakes, each with its column.
    """
    kind_text, colon, rest = text.partition(":")
    kind = KINDS.get(kind_text.strip().lower())
    if kind is None:
        near = nearest(kind_text.strip(), KINDS)
        raise ScenarioError([_mistake(text, 1, f"a shape begins with its kind, such as conv:, got {kind_text!r}; {near}")])
    if not colon:
        raise ScenarioError([_mistake(text, len(text) + 1, f"a shape goes on with its extents: {_example(kind)}")])
    found, mistakes = _fields(kind, kind_text, text, rest)
    there = {key for key, _ in found.values()} | {m.path for m in mistakes}
    missing = [k for k in _NEEDED[kind] if k not in there]
    if missing:
        mistakes.append(_mistake(text, len(text) + 1, f"{' and '.join(missing)} missing: {_example(kind)}"))
    if mistakes:
        raise ScenarioError(sorted(mistakes, key=lambda m: m.column))
    try:
        return Layer(name=name, kind=kind, **_completed(kind, {field: value for field, (_, value) in found.items()}))
    except HwError as e:
        raise ScenarioError([_mistake(text, 1, str(e).removeprefix(f"layer {name!r}: "))]) from None


def _fields(kind: Kind, kind_text: str, text: str, rest: str) -> tuple[dict[str, tuple[str, Any]], list[Mistake]]:
    """Field -> (key, value), and what is wrong."""
    found: dict[str, tuple[str, Any]] = {}
    mistakes: list[Mistake] = []
    at = len(kind_text) + 2
    known = [k for k, key in _KEYS.items() if kind in key.kinds]
    for part in rest.split(",") if rest.strip() else []:
        column, (key_text, equals, value) = at + len(part) - len(part.lstrip()), part.partition("=")
        at += len(part) + 1
        key = key_text.strip().lower()
        if not equals:
            mistakes.append(_mistake(text, column, f"{part.strip()!r} is not of the form key=value", key))
        elif key not in _KEYS:
            mistakes.append(_mistake(text, column, f"unknown key {key!r}; {nearest(key, known)}", key))
        elif kind not in _KEYS[key].kinds:
            mistakes.append(_mistake(text, column, f"a {kind} layer has none; it has {', '.join(known)}", key))
        elif _KEYS[key].field in found:
            mistakes.append(_mistake(text, column, "stands here twice", key))
        else:
            try:
                found[_KEYS[key].field] = key, _KEYS[key].read(value.strip())
            except _Wrong as e:
                mistakes.append(_mistake(text, column + len(part.strip()) - len(value.lstrip()), str(e), key))
    return found, mistakes


def _completed(kind: Kind, fields: dict[str, Any]) -> dict[str, Any]:
    if kind is Kind.CLASSIFIER and "batch" in fields:
        fields["nx"] = fields.pop("batch")
    if kind is Kind.POOL:
        fields = {"no": fields["ni"], "sx": fields.get("kx", 1), "sy": fields.get("ky", 1), **fields}
    return fields


def _mistake(text: str, column: int, message: str, key: str = "") -> Mistake:
    return Mistake(place=PLACE, path=key, message=message, source=text, line=1, column=column)


def _example(kind: Kind) -> str:
    return {
        Kind.CONV: "conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40",
        Kind.POOL: "pool:nx=32,ny=32,kx=2,ky=2,ni=48",
        Kind.CLASSIFIER: "class:ni=960,no=20",
    }[kind]


def shape_text(layer: Layer) -> str:
    """The layer as text that `read_shape` reads back; its name is not in it."""
    kind, plain = layer.kind, Layer(name="", kind=layer.kind, ni=layer.ni, no=layer.no)
    if kind is Kind.CLASSIFIER:
        parts = [f"ni={layer.ni}", f"no={layer.no}", *([f"batch={layer.nx}"] if layer.nx > 1 else [])]
    else:
        parts = [f"{k}={getattr(layer, k)}" for k in ("nx", "ny", "kx", "ky")]
        steps = (layer.kx, layer.ky) if kind is Kind.POOL else (1, 1)
        parts += [f"{k}={n}" for k, n, left_out in zip(("sx", "sy"), (layer.sx, layer.sy), steps) if n != left_out]
        parts += [f"ni={layer.ni}", *([f"no={layer.no}"] if kind is Kind.CONV else [])]
    rest = ("groups", "private", "batch", "border", "bias", "function", "pooling")
    for key in rest:
        value = getattr(layer, _KEYS[key].field)
        if value != getattr(plain, _KEYS[key].field):
            parts.append(f"{key}={_written(value)}")
    return f"{'class' if kind is Kind.CLASSIFIER else kind}:{','.join(parts)}"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
