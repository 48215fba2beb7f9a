"""Scores of a predictor on a table."""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from graph.record import record
from trainscape.published.table import Bar, Row, Table, What


@record
class Guess:
    """A row with its prediction.

    Parameters
    ----------
    row : the row.
    predicted : in the row's unit; NaN when it could not be predicted.
    is_fitted : the predictor's constants were fitted on it, so it is not scored.
    """

    row: Row
    predicted: float
    is_fitted: bool = False

    def error(self, what: What) -> float:
        """Signed: relative, or the difference of efficiencies; 0 or 1 for right or wrong."""
        if what is What.SCALING:
            return self.predicted - self.row.published
        if what is What.FITS:
            return float(self.predicted != self.row.published)
        return self.predicted / self.row.published - 1


@record
class Constant:
    """A number of a predictor that was fitted on whole models.

    Parameters
    ----------
    name : ``"<stack>: <quantity>"``.
    text : as its file has it.
    rows : of this table that it was fitted on.
    """

    name: str
    text: str
    rows: tuple[str, ...]


@record
class Score:
    """A predictor on a table.

    Parameters
    ----------
    table : the table.
    predictor : ``kernels``, or the names of the stacks.
    guesses : all rows, fitted ones included.
    constants : fitted on whole models.
    is_held : the table's bar is this predictor's; it is shown for the other.
    """

    table: Table
    predictor: str
    guesses: tuple[Guess, ...]
    constants: tuple[Constant, ...]
    is_held: bool

    @property
    def scored(self) -> tuple[Guess, ...]:
        """Rows that were not fitted."""
        return tuple(g for g in self.guesses if not g.is_fitted)

    def errors(self) -> list[float]:
        """Signed errors of the scored rows."""
        return [g.error(self.table.what) for g in self.scored]

    @property
    def mape(self) -> float:
        """Mean of the absolute errors."""
        return fmean(map(abs, self.errors()))

    @property
    def median(self) -> float:
        """Median of the absolute errors."""
        return median(map(abs, self.errors()))

    @property
    def p90(self) -> float:
        """90th percentile of the absolute errors: the least that a tenth of them reach or exceed."""
        ordered = sorted(map(abs, self.errors()))
        return ordered[min(math.ceil(0.9 * len(ordered)), len(ordered)) - 1]

    @property
    def most(self) -> float:
        """Greatest absolute error."""
        return max(map(abs, self.errors()))

    @property
    def bias(self) -> float:
        """Mean error: above 0 the predictions are too high."""
        return fmean(self.errors())

    @property
    def classes(self) -> dict[str, tuple[int, int]]:
        """Class -> (rows that are right, rows), where rows fit or do not."""
        found = {}
        for name, is_in in (("fits", 1.0), ("does not fit", 0.0)):
            members = [g for g in self.scored if g.row.published == is_in]
            found[name] = sum(g.predicted == is_in for g in members), len(members)
        return found

    @property
    def is_frugal(self) -> bool:
        """At most one fitted constant for every five scored rows."""
        return 5 * len(self.constants) <= len(self.scored)

    @property
    def is_ok(self) -> bool:
        """Whether the table's bar is met, with few enough constants."""
        return self.meets(self.table.bar) and self.is_frugal

    def meets(self, bar: Bar) -> bool:
        """Whether a bar is met; a row that could not be predicted meets none."""
        if not self.scored or any(math.isnan(g.predicted) for g in self.scored):
            return False
        return (
            (bar.mape is None or self.mape <= bar.mape)
            and (bar.median is None or self.median <= bar.median)
            and (bar.most is None or self.most <= bar.most)
            and (bar.right is None or all(n and right >= bar.right * n for right, n in self.classes.values()))
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        what = self.table.what
        found: dict[str, Any] = {
            "name": self.table.name,
            "what": what.value,
            "predictor": self.predictor,
            "n": len(self.scored),
            "fitted": len(self.guesses) - len(self.scored),
            "mape": self.mape,
            "median": self.median,
            "p90": self.p90,
            "max": self.most,
            "bias": self.bias,
            "bar": str(self.table.bar),
            "ok": self.is_ok,
            "held": self.is_held,
            "constants": [{"name": c.name, "value": c.text, "fitted_on": list(c.rows)} for c in self.constants],
        }
        if what is What.FITS:
            found["classes"] = {name: {"right": right, "n": n} for name, (right, n) in self.classes.items()}
        return found


def worst(guesses: Sequence[Guess], what: What, count: int) -> list[Guess]:
    """The guesses that are furthest off."""
    return sorted(guesses, key=lambda g: -abs(g.error(what)))[:count]
