"""Points worth having: those that no other beats, or equals, in everything that is wanted less of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LESS = ("time_s", "energy_J", "area_m2")
"""What is wanted less of."""


def front(values: npt.NDArray[np.float64]) -> list[int]:
    """Rows of `values` [points, quantities] that no other row is as good as in every quantity; of equal rows the first."""
    order = np.lexsort([np.arange(len(values)), *values.T[::-1]])
    kept: list[int] = []
    best = np.zeros((0, values.shape[1]))
    for k in order:  # whatever beats a row stands before it
        if not (best <= values[k]).all(axis=1).any():
            kept.append(int(k))
            best = values[kept]
    return kept


def front_of(rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = LESS) -> list[int]:
    """The same of results: of ``accuracy``, where it is named, more is wanted."""
    if not rows:
        return []
    return front(np.array([[-r[k] if k == "accuracy" else r[k] for k in keys] for r in rows], np.float64))


def beaten_by(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """How many of `rows` are better in all of `LESS` and, where that is known, at least as accurate."""
    least = row.get("accuracy", 0.0)
    return sum(all(r[k] < row[k] for k in LESS) and r.get("accuracy", 0.0) >= least for r in rows)
