"""The operator record: everything the project knows of an operator, except how to run it fast.

A missing part fails at import. Registering an operator (`graph.ops`) makes the common checks run on it: shapes, compulsory
bytes, gradients against finite differences, kernels against `reference`. Its flop are held against a counted loop in
``tests/graph/test_work.py``.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from graph.errors import GraphError, nearest
from graph.record import record
from graph.registry import Registry
from graph.tensor_type import TensorType

Attr = int | float | bool | str | tuple[int, ...]
Attrs = Mapping[str, Attr]
Array = np.ndarray[Any, np.dtype[Any]]
V = TypeVar("V", bound=Hashable)


class _Default(StrEnum):
    REQUIRED = "<required>"


REQUIRED: Final = _Default.REQUIRED
"""In `Op.attrs`: this attribute has no default."""


@record
class Work:
    """What an operator must do, counted exactly: a multiply-add is 2 flop; bytes are compulsory traffic (each operand once)."""

    flop: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def nbytes(self) -> int:
        return self.bytes_read + self.bytes_written

    def __add__(self, other: "Work") -> "Work":
        return Work(
            flop=self.flop + other.flop,
            bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written,
        )


@record
class Sample:
    """One application of an operator: input arrays (for checks) and attributes."""

    inputs: tuple[Array, ...]
    attrs: Attrs


@record
class Size:
    """One representative problem size, for benchmarks and calibration. None of them occurs in the zoo."""

    types: tuple[TensorType, ...]
    attrs: Attrs


class Evaluator(Protocol[V]):
    """What can apply operators: the symbolic builder (adds nodes), the tape (runs and records), any executor (runs).

    `vjp` rules are written against this, so one set of rules serves the symbolic and the imperative front end.
    """

    def apply(self, op: str, values: Sequence[V], **attrs: Attr) -> tuple[V, ...]:
        """Apply the operator named `op`; returns its outputs."""
        ...

    def type_of(self, value: V) -> TensorType: ...

    def scope(self, layer: str, phase: str) -> AbstractContextManager[None]:
        """While inside, whatever is applied belongs to this layer and phase."""
        ...


@record
class Applied(Generic[V]):
    """One application that happened: what `vjp` sees of it.

    `wanted` holds the inputs whose gradient somebody wants; ``None``: all. A `vjp` computes no other (`wants`).
    """

    op: "Op"
    inputs: tuple[V, ...]
    outputs: tuple[V, ...]
    attrs: Attrs
    layer: str = ""
    wanted: frozenset[int] | None = None

    def wants(self, index: int) -> bool:
        """Whether the gradient of this input is wanted."""
        return self.wanted is None or index in self.wanted


Vjp = Callable[[Evaluator[Any], Applied[Any], tuple[Any, ...]], tuple[Any, ...]]
Rule = Callable[[Sequence[TensorType], Attrs], V]
REMEMBERED = 1 << 16
"""Answers that an operator remembers at most, of each of its rules."""


def _remembered(rule: Rule[V]) -> Rule[V]:
    """The same rule, which is asked once for like operands: graphs repeat themselves, and every pass asks again."""
    known: dict[Hashable, V] = {}

    def answer(types: Sequence[TensorType], attrs: Attrs) -> V:
        key = tuple(types), tuple(attrs.items()), tuple(map(type, attrs.values()))  # True is no 1
        try:
            found = known.get(key)
        except TypeError:  # an attribute that no operator can have
            return rule(types, attrs)
        if found is None:
            if len(known) >= REMEMBERED:
                known.clear()
            found = known[key] = rule(types, attrs)
        return found

    return answer


@record
class Op:
    """An operator.

    Parameters
    ----------
    name : lower_case, unique.
    inputs, outputs : names of the operands, in order. Of a variadic operator the last input stands for one operand or more.
    attrs : attribute name -> default; ``REQUIRED`` where there is none.
    infer : (input types, attrs) -> output types; raises `TypeMismatch`.
    work : (input types, attrs) -> `Work`, exact.
    reference : (input arrays, attrs) -> output arrays; slow, clear NumPy: the living definition.
    vjp : (evaluator, applied, gradient of each output or None) -> gradient of each input or None, written with operators.
        ``None`` for an input: nothing flows there, or it is not wanted. ``None`` instead of a rule: not differentiable.
        The first output is the differentiable one; later ones are what it saves for its gradient.
    samples : small inputs, awkward ones included (1, odd, empty, strided).
    sizes : representative problem sizes, for benchmarks and calibration.
    aliases : output index -> input index whose memory the output may overwrite (functional state).
    is_view : the output is the first input's memory under another shape: nothing is computed.
    is_variadic : the last of `inputs` may be given any number of times, at least once.
    is_part : of its operand it reads no more than it writes; any other operator reads every operand once.

    What `infer` and `work` answer depends on their arguments alone, so it is remembered.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs
    infer: Callable[[Sequence[TensorType], Attrs], tuple[TensorType, ...]]
    work: Callable[[Sequence[TensorType], Attrs], Work]
    reference: Callable[[Sequence[Array], Attrs], tuple[Array, ...]]
    vjp: Vjp | None
    samples: Callable[[], Iterable[Sample]]
    sizes: Callable[[], Iterable[Size]]
    aliases: Mapping[int, int]
    is_view: bool = False
    is_variadic: bool = False
    is_part: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "infer", _remembered(self.infer))
        object.__setattr__(self, "work", _remembered(self.work))

    def operands(self, given: int) -> int:
        """How many of `given` values are its operands: all that it takes; further ones belong to a fused epilogue."""
        return given if self.is_variadic else min(given, len(self.inputs))

    def operand(self, index: int) -> str:
        """The name of the operand at a place; the last one's, of all that a variadic operator takes there."""
        return self.inputs[min(index, len(self.inputs) - 1)]

    def complete(self, attrs: Attrs) -> Attrs:
        """Every attribute in the record's order, defaults filled in; raises `GraphError` on unknown, missing or odd ones."""
        for name, value in attrs.items():
            if name not in self.attrs:
                raise GraphError(f"{self.name} has no attribute {name!r}; {nearest(name, self.attrs)}")
            if isinstance(value, float) and not math.isfinite(value):
                raise GraphError(f"{self.name}: {name} must be finite, got {value}")
        full: dict[str, Attr] = {}
        for name, default in self.attrs.items():
            value = attrs.get(name, default)
            if value is REQUIRED:
                raise GraphError(f"{self.name} needs its attribute {name!r}")
            full[name] = float(value) if isinstance(default, float) and isinstance(value, int) else value
        return full


OPS: Registry[Op] = Registry("operator")
