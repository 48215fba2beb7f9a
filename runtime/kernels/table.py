"""Kernels as rows of a table: the registry, argument blocks, and the loop that calls row after row.

A CPU kernel is a native function ``void(intp)``; its argument is the address of an int64 block that holds addresses, extents,
and floats as bit patterns. Everything that does not change from call to call is worked out in Python when the block is
packed, so a call allocates nothing, checks nothing and holds no interpreter lock.

    @kernel("cpu.relu", pack=lambda call, ptrs: [*ptrs, call.types[0].size])
    def relu(p): ...

Functions are compiled when their address is first asked for, and kept on disk (`runtime.kernels.cache`). Helpers are
native functions that kernels call by address, which `pack` puts into the block.
"""

# mypy: disable-error-code="no-untyped-def"

import struct
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numba import types

from graph.op import Array
from graph.record import record
from graph.registry import Registry
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels.cache import compile_native, compile_njit
from runtime.kernels.cpu import FAMILIES
from runtime.kernels.emit import call_address

Pack = Callable[[Call, Sequence[int]], Sequence[int]]


@record
class CpuKernel:
    """A kernel and how its arguments are packed.

    Parameters
    ----------
    name : name of its record in `hw.kernels`.
    function : Python source of the native function, ``void(intp)``.
    pack : (call, addresses of what it reads, then writes, then of its workspace) -> argument block. The workspace address is
        always there; it may be 0 when the call needs none.
    """

    name: str
    function: Callable[..., Any]
    pack: Pack


@record
class Helper:
    """A native function that kernels call by address."""

    name: str
    function: Callable[..., Any]
    params: tuple[Any, ...]


CPU_KERNELS: Registry[CpuKernel] = Registry("CPU kernel")
HELPERS: Registry[Helper] = Registry("kernel helper")
_ADDRESSES: dict[str, int] = {}
_KEEP: list[Any] = []  # compiled functions live as long as the process


def kernel(name: str, *, pack: Pack) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: registers a kernel. The function is compiled when it is first needed."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        CPU_KERNELS.add(name, CpuKernel(name=name, function=function, pack=pack))
        return function

    return register


def helper(*params: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: registers a native function with these parameters, named for the function."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"helper.{function.__name__}"
        HELPERS.add(name, Helper(name=name, function=function, params=params))
        return function

    return register


def load_families() -> None:
    """Import every family of kernels, so that the registries are full."""
    for family in FAMILIES:
        import_module(f"runtime.kernels.cpu.{family}")


def find(name: str) -> CpuKernel:
    """A kernel by name; loads the families the first time one is asked for."""
    if name not in CPU_KERNELS:
        load_families()
    return CPU_KERNELS[name]


def function_of(name: str) -> Callable[..., Any]:
    """The Python source of a kernel, helper or loop."""
    if name in LOOPS:
        return LOOPS[name][0]
    return HELPERS[name].function if name in HELPERS else find(name).function


def address(name: str) -> int:
    """Address of the native function of a kernel or helper; compiles or loads it the first time. 0 for a loop."""
    if name not in _ADDRESSES:
        if name in LOOPS:
            _loop(name)
            _ADDRESSES[name] = 0
        else:
            native = compile_native(function_of(name), HELPERS[name].params if name in HELPERS else (types.intp,))
            _KEEP.append(native)
            _ADDRESSES[name] = native.address
    return _ADDRESSES[name]


def whole(call: Call, name: str) -> int:
    """An attribute of the call that is a whole number."""
    value: Any = call.attrs[name]
    return int(value)


def number(call: Call, name: str) -> float:
    """An attribute of the call that is a number."""
    value: Any = call.attrs[name]
    return float(value)


def float_bits(x: float) -> int:
    """The bits of a float32, as they travel in an argument block."""
    return int(struct.unpack("<i", struct.pack("<f", x))[0])


def block(call: Call, ptrs: Sequence[int]) -> Array:
    """The argument block of a call, ready for its kernel; keep the array alive as long as the table that names it.

    Raises
    ------
    RunError : the number of addresses does not fit the call.
    """
    want = len(call.reads) + len(call.writes) + 1
    if call.nodes and len(ptrs) != want:
        raise RunError(f"{call.kernel}: wants {want} addresses (reads, writes, workspace), got {len(ptrs)}")
    return np.array(find(call.kernel).pack(call, ptrs), dtype=np.int64)


def _run_table(fn, arg):
    for i in range(fn.size):
        call_address(fn[i], arg[i])


def _run_rows(fn, arg, first, last):
    for i in range(first, last):
        call_address(fn[i], arg[i])


_TABLE = types.int64[::1]
LOOPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "loop.run_table": (_run_table, (_TABLE, _TABLE)),
    "loop.run_rows": (_run_rows, (_TABLE, _TABLE, types.intp, types.intp)),
}


@cache
def _loop(name: str) -> Callable[..., None]:
    return compile_njit(*LOOPS[name])


def run_table(fn: Array, arg: Array) -> None:
    """Call every row: function addresses and block addresses, both i64[rows]. Holds no interpreter lock."""
    _loop("loop.run_table")(fn, arg)


def run_rows(fn: Array, arg: Array, first: int, last: int) -> None:
    """Call rows ``first <= i < last``."""
    _loop("loop.run_rows")(fn, arg, first, last)
