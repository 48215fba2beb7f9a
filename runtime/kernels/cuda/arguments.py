"""What a launch passes to a compiled kernel: the parameters that its PTX declares, and a value for each.

The same for a device (`runtime.kernels.cuda.loaded`) and emulated (`runtime.ptx`), of arrays of either.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graph.record import record
from runtime.errors import RunError
from runtime.kernels.cuda.kernel import Argument, Launch, Operand

UNSIGNED: dict[int, type[np.generic]] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
"""Bits of a parameter -> its kind here."""


@record
class Entry:
    """A kernel as its PTX declares it.

    Parameters
    ----------
    name : under which it is found in the code made of it.
    parameters : (name, kind), in order, e.g. ``("f_param_0", "u64")``.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]


def entry_of(text: str) -> Entry:
    """The one kernel of a PTX text; raises `RunError` where there is none, or several."""
    found = re.findall(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)", re.sub(r"//[^\n]*", "", text))
    if len(found) != 1:
        raise RunError("not the PTX of one kernel")
    ((name, declared),) = found
    return Entry(name=name, parameters=tuple((n, kind) for kind, n in re.findall(r"\.param\s+\.(\w+)\s+([\w$]+)", declared)))


def address_of(array: Any) -> int:
    """Where an array begins, in the memory that kernels see."""
    seen = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(seen["data"][0])


def part(operand: Operand, arrays: Sequence[Any]) -> Any:
    """The elements that an operand is, of the arrays of a call; raises `RunError` where an array has fewer."""
    array, dtype = arrays[operand.index], operand.dtype.numpy
    if array.dtype != dtype:
        array = array.view(dtype)
    last = operand.first + operand.size
    if last > array.size:
        raise RunError(f"a launch passes elements {operand.first} to {last} of an array of {array.size}")
    return array if (operand.first, last) == (0, array.size) else array[operand.first : last]


def values(launch: Launch, parts: Sequence[Any], entry: Entry) -> list[np.generic]:
    """What a launch passes, as the compiled kernel takes it: a number for each of its parameters, of its kind.

    Parameters
    ----------
    parts : of its arguments that are operands (`part`), in order.
    entry : of the kernel.

    Raises
    ------
    RunError : the kernel takes more or fewer.
    """
    rest = iter(parts)
    flat = [v for a in launch.arguments for v in _flat(a, rest)]
    if len(flat) != len(entry.parameters):
        raise RunError(f"{launch.kernel.name}: {len(entry.parameters)} parameters, {len(flat)} arguments")
    return [_typed(v, kind) for v, (_, kind) in zip(flat, entry.parameters, strict=True)]


def _flat(argument: Argument, parts: Any) -> Sequence[int | float]:
    """As Numba passes it: of an array who owns it, elements, bytes of one, where it begins, shape and strides."""
    if isinstance(argument, tuple):
        return argument
    if not isinstance(argument, Operand):
        return (argument,)
    array = next(parts)
    size, itemsize = int(array.size), int(array.dtype.itemsize)
    return 0, 0, size, itemsize, address_of(array), size, itemsize


def _typed(value: int | float, kind: str) -> np.generic:
    if kind == "f32":
        return np.float32(value)
    bits = int(kind[1:])
    return UNSIGNED[bits](int(value) & ((1 << bits) - 1))
