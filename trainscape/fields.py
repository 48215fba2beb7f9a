"""Types of a scenario's settings: text with units, which becomes SI numbers, and names of open sets, which are looked up."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from hw.errors import HwError
from hw.units import Quantity, format, parse
from trainscape.names import one_of, strategy


def _quantity(kind: Quantity, unit: str) -> Callable[[Any], Any]:
    """A validator: text with a unit to SI; a bare number is refused with an example in `unit`."""

    def read(value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"{value} has no unit; write {value} {unit}")
        try:
            return parse(value, kind)
        except HwError as e:
            raise ValueError(str(e)) from None

    return read


def _fraction(value: Any) -> Any:
    try:
        return parse(value, Quantity.FRACTION)
    except HwError:
        raise ValueError(f"{value!r} is no fraction; write 10 % or 0.1") from None


def _text(kind: Quantity) -> PlainSerializer:
    return PlainSerializer(lambda x: format(x, kind), return_type=str)


def _schema(kind: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": kind, "examples": [example]})


Bytes = Annotated[
    int, BeforeValidator(_quantity(Quantity.BYTES, "KiB")), _text(Quantity.BYTES), _schema("bytes, with a unit", "32 KiB")
]
Seconds = Annotated[
    float, BeforeValidator(_quantity(Quantity.SECONDS, "s")), _text(Quantity.SECONDS), _schema("a time, with a unit", "60 s")
]
Rate = Annotated[
    float,
    BeforeValidator(_quantity(Quantity.BYTES_PER_SECOND, "MB/s")),
    _text(Quantity.BYTES_PER_SECOND),
    _schema("bytes per second, with a unit", "500 MB/s"),
]
Fraction = Annotated[
    float,
    BeforeValidator(_fraction),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["10 %", 0.1]}),
]


def _algorithm(value: Any) -> Any:
    """The shape alone: which names there are depends on where ranks stand (`trainscape.algorithms`)."""
    names = [value] if isinstance(value, str) else [*value, *value.values()] if isinstance(value, dict) and value else [None]
    if not all(isinstance(n, str) and n for n in names):
        raise ValueError("write the name of an algorithm, or {operator: algorithm, ...}")
    return value


Algorithm = Annotated[str | dict[str, str], BeforeValidator(_algorithm)]
"""One name for all operators that have it, or operator -> name."""

# Names of open sets (registries, catalogue) are looked up when a file is read, and are not in the JSON Schema: adding a
# device or a model must not touch another file.
ModelName = Annotated[str, AfterValidator(one_of("model", "trainscape model list"))]
SystemName = Annotated[str, AfterValidator(one_of("system", "trainscape hw list"))]
StrategyName = Annotated[str, AfterValidator(strategy)]
NetworkName = Annotated[str, AfterValidator(one_of("network", "trainscape hw list"))]
CollectiveName = Annotated[str, AfterValidator(one_of("collective", ""))]
