"""What the operator families share: how types are checked, how work is counted, where sample numbers come from.

Counting rules, for every `Op.work`: an addition, multiplication, division or comparison of floats is one flop, and so is a
call of exp, log, tanh, a square root or a power; a multiply-add is two; sums start from zero, so adding n numbers takes n
additions; what is done with a padded border counts. Integer arithmetic and address arithmetic do not count. Bytes are compulsory
traffic: each operand is read once, each result is written once; views move nothing.
"""

from collections.abc import Sequence

import numpy as np

from graph.errors import TypeMismatch
from graph.op import Array, Attrs, Work
from graph.tensor_type import DType, TensorType

Types = Sequence[TensorType]


def need(condition: bool, op: str, types: Types, right: str) -> None:
    """Raise `TypeMismatch` unless `condition`; `right` says what would be right."""
    if not condition:
        raise TypeMismatch(f"{op}({', '.join(map(str, types))}): {right}")


def need_count(op: str, types: Types, n: int) -> None:
    """Raise `TypeMismatch` unless there are `n` operands."""
    need(len(types) == n, op, types, f"takes {n} operand{'s' * (n != 1)}, got {len(types)}")


def need_float(op: str, types: Types, n: int) -> None:
    """Raise `TypeMismatch` unless the operands are `n` and all of one floating type."""
    need_count(op, types, n)
    need(all(t.dtype.is_float and t.dtype is types[0].dtype for t in types), op, types, "wants operands of one floating type")


def integer(op: str, attrs: Attrs, name: str, least: int) -> int:
    """Attribute `name`, checked to be a whole number >= `least`."""
    value = attrs[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TypeMismatch(f"{op}: {name} must be a whole number >= {least}, got {value!r}")
    return value


def number(op: str, attrs: Attrs, name: str) -> float:
    """Attribute `name`, checked to be a number."""
    value = attrs[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeMismatch(f"{op}: {name} must be a number, got {value!r}")
    return float(value)


def like(t: TensorType, *shape: int) -> TensorType:
    """A type of the same element type and another shape."""
    return TensorType(shape=shape, dtype=t.dtype)


def traffic(flop: int, read: Types, written: Types) -> Work:
    """`Work` with compulsory traffic: every operand read once, every result written once."""
    return Work(flop=flop, bytes_read=sum(t.nbytes for t in read), bytes_written=sum(t.nbytes for t in written))


def type_of(array: Array) -> TensorType:
    """The type of an array; raises `TypeMismatch` when there is none."""
    for d in DType:
        if array.dtype == d.numpy:
            return TensorType(shape=array.shape, dtype=d)
    raise TypeMismatch(f"no tensor type for arrays of {array.dtype}; convert to one of {', '.join(DType)}")


def numbers(*shape: int, seed: int = 0) -> Array:
    """Sample float32 numbers in (-1, 1): shuffled and evenly spaced, so none is near zero and no two are near each other.

    Finite differences then never cross the kink of a relu or a maximum.
    """
    n = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(n)
    return ((order + 0.3) * 2 / max(n, 1) - 1).reshape(shape).astype(np.float32)
