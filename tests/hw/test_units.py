"""Units: the table of what is understood, the messages for what is not, and that formatting loses nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import HwError
from hw.units import Quantity, format, parse, units

GOOD = [
    ("25 GB/s", Quantity.BYTES_PER_SECOND, 25e9),
    ("200 Gb/s", Quantity.BYTES_PER_SECOND, 25e9),
    ("1 GiB/s", Quantity.BYTES_PER_SECOND, 2.0**30),
    ("50 us", Quantity.SECONDS, 50e-6),
    ("50us", Quantity.SECONDS, 50e-6),
    ("1.5 ms", Quantity.SECONDS, 1.5e-3),
    ("2 h", Quantity.SECONDS, 7200.0),
    ("32 KiB", Quantity.BYTES, 32768),
    ("32 kB", Quantity.BYTES, 32000),
    ("8 b", Quantity.BYTES, 1),
    ("19.5 Tflop/s", Quantity.FLOP_PER_SECOND, 19.5e12),
    ("1.41 GHz", Quantity.HERTZ, 1.41e9),
    ("700 W", Quantity.WATTS, 700.0),
    ("6.5 kW", Quantity.WATTS, 6500.0),
    ("3 pJ", Quantity.JOULES, 3e-12),
    ("65 nm", Quantity.METRES, 65e-9),
    ("3.02 mm2", Quantity.SQUARE_METRES, 3.02e-6),
    ("452 Gop/s", Quantity.OPERATIONS_PER_SECOND, 452e9),
    ("24.48 USD/h", Quantity.USD_PER_HOUR, 24.48),
    ("1_024", Quantity.COUNT, 1024),
    (8, Quantity.COUNT, 8),
    ("93 %", Quantity.FRACTION, 0.93),
    (0.5, Quantity.FRACTION, 0.5),
    ("1e3 B", Quantity.BYTES, 1000),
]

BAD = [
    ("450", Quantity.BYTES_PER_SECOND, "no unit; write '450 GB/s'"),
    (450, Quantity.SECONDS, "no unit; write '450 us'"),
    ("25 gb/s", Quantity.BYTES_PER_SECOND, "did you mean 'GB/s' or 'Gb/s'? (B is bytes, b is bits)"),
    ("25 GBps", Quantity.BYTES_PER_SECOND, "did you mean 'GB/s' or 'Gb/s'?"),
    ("25 KB", Quantity.BYTES, "did you mean 'kB' or 'kb'?"),
    ("5 GHz", Quantity.SECONDS, "'GHz' is a unit of hertz, but seconds is wanted; write '5 us'"),
    ("12 TFLOP/s", Quantity.FLOP_PER_SECOND, "did you mean 'Tflop/s'?"),
    ("25 Gbit/s", Quantity.BYTES_PER_SECOND, "did you mean 'GB/s' or 'Gb/s'?"),
    ("12 Tflop", Quantity.FLOP_PER_SECOND, "did you mean 'Tflop/s'?"),
    ("5 usec", Quantity.SECONDS, "did you mean 'us'?"),
    ("12 TFLOPS", Quantity.FLOP_PER_SECOND, "did you mean 'Tflop/s'?"),
    ("fast", Quantity.SECONDS, "does not begin with a number; write '25 us'"),
    ("3 b", Quantity.BYTES, "which is not a whole number"),
    ("1.5", Quantity.COUNT, "which is not a whole number"),
    ("3 cores", Quantity.COUNT, "a count has no unit, got 'cores'"),
    (True, Quantity.COUNT, "is not a quantity"),
]


@pytest.mark.parametrize(("text", "kind", "value"), GOOD)
def test_parse(text: str | float, kind: Quantity, value: float) -> None:
    """The number, exactly, and whole numbers as int."""
    got = parse(text, kind)
    assert got == value
    assert isinstance(got, int) == kind.is_whole


@pytest.mark.parametrize(("text", "kind", "message"), BAD)
def test_refused(text: str | float, kind: Quantity, message: str) -> None:
    """What is wrong, and what would be right."""
    with pytest.raises(HwError, match=re.escape(message)):
        parse(text, kind)


@given(st.floats(min_value=0, allow_infinity=False), st.sampled_from([k for k in Quantity if not k.is_whole]))
def test_format_loses_nothing(value: float, kind: Quantity) -> None:
    """parse(format(x)) == x for every float."""
    assert parse(format(value, kind), kind) == value


@given(st.integers(0, 2**70), st.sampled_from([Quantity.BYTES, Quantity.COUNT]))
def test_format_loses_no_byte(value: int, kind: Quantity) -> None:
    """parse(format(n)) == n for every whole number."""
    assert parse(format(value, kind), kind) == value


@given(st.sampled_from([(k, u) for k in Quantity for u in units(k)]), st.integers(1, 10**6))
def test_every_unit_is_understood(unit: tuple[Quantity, str], n: int) -> None:
    """Whatever the tables hold parses, and formats back to itself."""
    kind, name = unit
    if kind.is_whole and name.endswith("b"):
        n *= 8
    value = parse(f"{n} {name}", kind)
    assert parse(format(value, kind), kind) == value


@pytest.mark.parametrize(
    ("value", "kind", "digits", "text"),
    [
        (25e9, Quantity.BYTES_PER_SECOND, None, "25 GB/s"),
        (32768, Quantity.BYTES, None, "32 KiB"),
        (80 * 2**30, Quantity.BYTES, None, "80 GiB"),
        (32000, Quantity.BYTES, None, "32 kB"),
        (3.4567e-6, Quantity.SECONDS, 3, "3.46 us"),
        (0.0, Quantity.SECONDS, None, "0 s"),
        (15.7e12, Quantity.FLOP_PER_SECOND, 3, "15.7 Tflop/s"),
        (1234567, Quantity.COUNT, None, "1234567"),
        (0.25, Quantity.FRACTION, None, "0.25"),
        (3.02e-6, Quantity.SQUARE_METRES, None, "3.02 mm2"),
        (65e-9, Quantity.METRES, None, "65 nm"),
        (5.58e12, Quantity.OPERATIONS_PER_SECOND, None, "5.58 Top/s"),
    ],
)
def test_format(value: float, kind: Quantity, digits: int | None, text: str) -> None:
    """Units in which numbers are easy to read."""
    assert format(value, kind, digits) == text


def test_not_a_number_is_refused() -> None:
    """NaN and infinity are no quantities."""
    with pytest.raises(HwError, match="is not a quantity"):
        format(float("nan"), Quantity.SECONDS)
