"""`record`: the one way in which descriptions are declared. Frozen, slotted, keyword-only, compared by value."""

from dataclasses import dataclass
from typing import dataclass_transform


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type) -> type:
    """Class decorator: a frozen, slotted, keyword-only dataclass."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)
