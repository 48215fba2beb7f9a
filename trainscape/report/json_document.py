"""JSON documents: one schema, SI units in the key names, no NaN, plain data only."""

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

SCHEMA = "trainscape.result/1"
"""Version of the result documents; it changes when a key changes its meaning or goes away."""


def plain(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite become null, arrays and tuples lists, paths text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no place in a JSON document: {value!r}")


def dumps(document: Mapping[str, Any]) -> str:
    """The document as text, ending in a newline; equal documents give equal text."""
    return json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def result(command: str, **fields: Any) -> dict[str, Any]:
    """A result document: schema and command, then `fields`."""
    return {"schema": SCHEMA, "command": command, **fields}
