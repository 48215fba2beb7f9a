"""Registries hold the open sets (operators, kernels, collectives, schedules, strategies): explicit, ordered, no duplicates."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from graph.errors import GraphError, UnknownName, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """An insertion-ordered mapping that refuses duplicates and answers an unknown name with the nearest known one.

    Parameters
    ----------
    what : the singular noun for error messages, e.g. ``"operator"``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register `item`; raises `GraphError` when the name is taken."""
        if name in self._items:
            raise GraphError(f"{self.what} {name!r} is registered twice")
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise UnknownName(f"unknown {self.what} {name!r}; {nearest(name, self._items)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
