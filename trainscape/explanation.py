"""What an explanation is made of: sections of lines, each a symbol, its formula, this scenario's numbers, and the result."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph.parallel.plan import Role
from graph.record import record
from trainscape.report.tables import decimal, nbytes, seconds

UNITS = {"s": "_s", "B": "_bytes", "flop": "_flop", "": ""}


@record
class Line:
    """One equation.

    Parameters
    ----------
    symbol : what is computed, e.g. ``"t_forward"``.
    value : the result, in SI units.
    unit : ``"s"``, ``"B"``, ``"flop"``, ``"B/s"``, ``"flop/s"``, ``"%"`` (of a fraction) ...; ``""`` for a count.
    formula : in symbols; empty for a number that is given.
    numbers : the formula with this scenario's numbers.
    source : where a given number comes from, or what a result rests on.
    """

    symbol: str
    value: float
    unit: str
    formula: str = ""
    numbers: str = ""
    source: str = ""

    def text(self) -> str:
        """The line without its source."""
        parts = [self.symbol, self.formula, self.numbers, shown(self.value, self.unit)]
        return " = ".join(dict.fromkeys(p for p in parts if p))

    def document(self) -> dict[str, Any]:
        """Plain data."""
        return {k: getattr(self, k) for k in ("symbol", "formula", "numbers", "value", "unit", "source")}


@record
class Section:
    """A part of an explanation.

    Parameters
    ----------
    title : what it explains.
    lines : in the order in which they follow from one another.
    header, rows : of a table above the lines; empty: none.
    notes : sentences below.
    """

    title: str
    lines: Sequence[Line] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """Plain data."""
        table = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return {"title": self.title, "lines": [line.document() for line in self.lines], "table": table, "notes": list(self.notes)}


def shown(value: float, unit: str) -> str:
    """A number with its unit, with three or four digits."""
    if unit == "s":
        return seconds(value)
    if unit == "B":
        return nbytes(value)
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "":
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    if unit in ("flop", "flop/s", "B/s", "J", "W", "Hz"):
        return decimal(value, unit)
    return f"{value:,.4g} {unit}"


def one(role: Role) -> str:
    """A rank of a role, in words."""
    return role.name if role.name.endswith("s") else f"a {role.name}"


def total(symbol: str, terms: Mapping[str, float], unit: str, source: str = "") -> Line:
    """The line of a sum: its terms by name."""
    return Line(
        symbol=symbol,
        value=sum(terms.values()),
        unit=unit,
        formula=" + ".join(terms),
        numbers=" + ".join(shown(v, unit) for v in terms.values()),
        source=source,
    )
