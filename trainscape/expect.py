"""`expect:` blocks: what results are held to. Keys are dotted paths into a result document; units follow from their endings."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph.record import record
from hw.errors import HwError
from hw.units import Quantity, parse
from trainscape.result_keys import without_index
from trainscape.scenario import Expectation


def quantity_of(key: str) -> Quantity | None:
    """The quantity that a key holds, by its ending; None: a bare number."""
    last = without_index(key).rpartition(".")[2]
    if ".kinds_s." in key or (last.endswith("_s") and not last.endswith("_per_s")):
        return Quantity.SECONDS
    if "bytes" in last:
        return Quantity.BYTES
    if key.startswith("error.") or last == "accuracy":
        return Quantity.FRACTION
    return None


def bound(key: str, given: float | str) -> float:
    """The number that an expectation gives for a key: SI, from a number or from text with a unit; raises `HwError`."""
    if not isinstance(given, str):
        return float(given)
    quantity = quantity_of(key)
    if quantity is None:
        raise HwError(f"{given!r}: {key} is a bare number")
    return parse(given, quantity)


@record
class Outcome:
    """One expectation held against a result.

    Parameters
    ----------
    key : of the result.
    low, high : bounds, in SI units; None: open.
    got : what the result holds; None where it holds no number.
    source : of the expectation.
    """

    key: str
    low: float | None
    high: float | None
    got: float | None
    source: str

    @property
    def is_met(self) -> bool:
        low, high = float("-inf") if self.low is None else self.low, float("inf") if self.high is None else self.high
        return self.got is not None and low <= self.got <= high

    def document(self) -> dict[str, Any]:
        """Plain data for the result."""
        return {"key": self.key, "low": self.low, "high": self.high, "got": self.got, "met": self.is_met, "source": self.source}


def find(document: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    """Whether a document has a dotted key, and what is there."""
    at: Any = document
    for part in key.split("."):
        if isinstance(at, Mapping) and part in at:
            at = at[part]
        elif isinstance(at, Sequence) and not isinstance(at, str) and part.isdigit() and int(part) < len(at):
            at = at[int(part)]
        else:
            return False, None
    return True, at


def outcomes(expect: Mapping[str, Expectation], document: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Hold a result against the expectations whose keys it has; the others belong to other commands."""
    found = []
    for key, e in expect.items():
        there, got = find(document, key)
        if not there:
            continue
        lows = [] if e.at_least is None else [bound(key, e.at_least)]
        highs = [] if e.at_most is None else [bound(key, e.at_most)]
        if e.value is not None and e.tolerance is not None:
            value = bound(key, e.value)
            lows.append(value - abs(value) * e.tolerance)
            highs.append(value + abs(value) * e.tolerance)
        number = float(got) if isinstance(got, int | float) and not isinstance(got, bool) else None
        found.append(Outcome(key=key, low=max(lows, default=None), high=min(highs, default=None), got=number, source=e.source))
    return tuple(found)
