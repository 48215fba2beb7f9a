"""Quantities with units, at the edge only: ``"25 GB/s"`` becomes ``25e9`` once, and everything inside is SI.

Case matters: B is bytes and b is bits, GiB is not GB. Text is parsed with `decimal`, so ``"50 us"`` is the float nearest to
5e-05 and `format` gives back text that parses to the very same number. Counts and bytes are whole numbers and stay `int`.
"""

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from enum import StrEnum
from functools import cache

from graph.errors import nearest
from hw.errors import HwError

_EXACT = Context(prec=800)  # enough for any float or whole number: parsing and formatting never round before the last step
_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")
_DECIMAL = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}


class Quantity(StrEnum):
    """Kinds of quantities. The value is what error messages call it."""

    BYTES = "bytes"
    BYTES_PER_SECOND = "bytes per second"
    SECONDS = "seconds"
    FLOP_PER_SECOND = "flop per second"
    OPERATIONS_PER_SECOND = "operations per second"
    HERTZ = "hertz"
    WATTS = "watts"
    JOULES = "joules"
    USD = "US dollars"
    USD_PER_HOUR = "US dollars per hour"
    COUNT = "count"
    FRACTION = "fraction"
    METRES = "metres"
    SQUARE_METRES = "square metres"

    @property
    def is_whole(self) -> bool:
        """Values are whole numbers."""
        return self in (Quantity.BYTES, Quantity.COUNT)


_EXAMPLE = {
    Quantity.BYTES: "GB",
    Quantity.BYTES_PER_SECOND: "GB/s",
    Quantity.SECONDS: "us",
    Quantity.FLOP_PER_SECOND: "Tflop/s",
    Quantity.OPERATIONS_PER_SECOND: "Gop/s",
    Quantity.HERTZ: "GHz",
    Quantity.WATTS: "W",
    Quantity.JOULES: "J",
    Quantity.USD: "USD",
    Quantity.USD_PER_HOUR: "USD/h",
    Quantity.METRES: "nm",
    Quantity.SQUARE_METRES: "mm2",
}


def _prefixed(base: str) -> dict[str, Decimal]:
    return {p + base: Decimal(10) ** e for p, e in _DECIMAL.items()}


@cache
def units(kind: Quantity) -> Mapping[str, Decimal]:
    """Every unit of a kind -> how many SI units it is. The first ones in each magnitude are those `format` writes."""
    data = _prefixed("B") | {p + "B": Decimal(2) ** e for p, e in _BINARY.items()}
    data |= {p + "b": Decimal(10) ** e / 8 for p, e in _DECIMAL.items()}
    match kind:
        case Quantity.BYTES:
            return data
        case Quantity.BYTES_PER_SECOND:
            return {u + "/s": f for u, f in data.items()}
        case Quantity.SECONDS:
            small = {p + "s": Decimal(10) ** e for p, e in {"": 0, "m": -3, "u": -6, "n": -9, "p": -12}.items()}
            return small | {"µs": Decimal("1e-6"), "min": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
        case Quantity.FLOP_PER_SECOND:
            return _prefixed("flop/s")
        case Quantity.OPERATIONS_PER_SECOND:
            return _prefixed("op/s")
        case Quantity.HERTZ:
            return _prefixed("Hz")
        case Quantity.WATTS:
            return {"mW": Decimal("1e-3")} | _prefixed("W")
        case Quantity.JOULES:
            small = {"pJ": Decimal("1e-12"), "nJ": Decimal("1e-9"), "uJ": Decimal("1e-6"), "mJ": Decimal("1e-3")}
            return small | _prefixed("J") | {"Wh": Decimal(3600), "kWh": Decimal(3_600_000)}
        case Quantity.USD:
            return {"USD": Decimal(1)}
        case Quantity.USD_PER_HOUR:
            return {"USD/h": Decimal(1)}
        case Quantity.COUNT:
            return {"": Decimal(1)}
        case Quantity.FRACTION:
            return {"": Decimal(1), "%": Decimal("0.01")}
        case Quantity.METRES:
            return {p + "m": Decimal(1).scaleb(e) for p, e in {"n": -9, "u": -6, "m": -3, "": 0}.items()}
        case Quantity.SQUARE_METRES:
            return {p + "m2": Decimal(1).scaleb(e) for p, e in {"u": -12, "m": -6, "": 0}.items()}


def parse(text: str | int | float, kind: Quantity) -> float:
    """The SI value of a quantity written with its unit.

    Parameters
    ----------
    text : e.g. ``"200 Gb/s"``. A bare number is taken only for counts and fractions.
    kind : what it must be.

    Returns
    -------
    SI units; an `int` for bytes and counts.

    Raises
    ------
    HwError
        Not a number, no unit, an unknown unit (with the likely one), or not whole where it must be.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise HwError(f"{text!r} is not a quantity; write {_example('25', kind)}")
    m = _NUMBER.fullmatch(str(text))
    if m is None:
        raise HwError(f"{text!r} does not begin with a number; write {_example('25', kind)}")
    number, unit = m[1], m[2]
    if unit not in units(kind):
        raise HwError(f"{text!r}: {_unit_error(number, unit, kind)}")
    value = _EXACT.multiply(Decimal(number.replace("_", "")), units(kind)[unit])
    if not kind.is_whole:
        return float(value)
    if value != value.to_integral_value():
        raise HwError(f"{text!r} is {value.normalize():f} {kind.value}, which is not a whole number")
    return int(value)


def format(value: float, kind: Quantity, digits: int | None = None) -> str:
    """Text with a unit in which the number is easy to read.

    Parameters
    ----------
    value : in SI units.
    kind : what it is.
    digits : significant digits; None: as many as it takes for ``parse(format(x)) == x``.
    """
    exact = Decimal(value) if isinstance(value, int) else Decimal(repr(float(value)))
    if not exact.is_finite():
        raise HwError(f"{value!r} is not a quantity")
    unit, factor = _unit_for(exact, kind)
    scaled = _EXACT.divide(exact, factor)
    if digits is not None and scaled:
        scaled = scaled.quantize(Decimal(1).scaleb(scaled.adjusted() - digits + 1), context=_EXACT)
    number = f"{scaled.normalize(_EXACT):f}"
    if len(number) > 24:
        number = str(scaled.normalize(_EXACT)).replace("E", "e")
    return f"{number} {unit}" if unit else number


def _unit_for(value: Decimal, kind: Quantity) -> tuple[str, Decimal]:
    """The largest power-of-ten unit not above the value; for bytes a power of 1024 when it divides the value."""
    if kind is Quantity.BYTES and value:
        for prefix, exponent in reversed(_BINARY.items()):
            if value % 2**exponent == 0 and value % 1000:
                return prefix + "B", Decimal(2) ** exponent
    plain = {u: f for u, f in units(kind).items() if u not in ("µs", "%") and "b" not in u}
    tens = [(f, u) for u, f in plain.items() if f == Decimal(1).scaleb(f.adjusted())]
    fitting = [(f, u) for f, u in tens if f <= abs(value)]
    factor, unit = max(fitting) if fitting else (min(tens) if value else (Decimal(1), next(u for f, u in tens if f == 1)))
    return unit, factor


def _example(number: str, kind: Quantity) -> str:
    unit = _EXAMPLE.get(kind, "")
    return repr(f"{number} {unit}" if unit else number)


def _unit_error(number: str, unit: str, kind: Quantity) -> str:
    """What is wrong with this unit, and what was probably meant."""
    if not unit:
        return f"no unit; write {_example(number, kind)}"
    known = units(kind)
    if not any(known):
        return f"a {kind.value} has no unit, got {unit!r}"
    hint = " (B is bytes, b is bits)" if kind in (Quantity.BYTES, Quantity.BYTES_PER_SECOND) else ""
    spelled = re.sub(r"(bit|byte)s?\b", "b", unit.lower()).replace("flops/s", "flop/s")
    if kind.value.endswith("per second"):
        spelled = re.sub(r"ps$", "/s", re.sub(r"flops$", "flop/s", spelled))
    near = [u for u in known if u and u.lower() in (unit.lower(), spelled)]
    if near:
        return f"unknown unit {unit!r}; did you mean {' or '.join(map(repr, near))}?{hint}"
    for other in Quantity:
        if unit in units(other):
            return f"{unit!r} is a unit of {other.value}, but {kind.value} is wanted; write {_example(number, kind)}"
    return f"unknown unit {unit!r}; {nearest(unit, [u for u in known if u])}{hint}"
