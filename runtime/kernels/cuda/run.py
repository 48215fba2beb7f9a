"""Launches bound to arrays and carried out, on a device or in the simulator.

An array is a flat device array (`numba.cuda`), in the simulator what stands for one (`in_simulator`). Of a call there is one for
each of its reads, writes and the workspace, in this order; where each lies decides what is launched.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graph.ops.common import type_of
from graph.tensor_type import DType
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels.cuda.kernel import NUMBER, SIMULATED, Argument, Launch, Operand, Place, find

Go = Callable[[Any], None]
"""Carries out a launch on a stream; 0: the default one."""


def in_simulator(array: np.ndarray[Any, Any]) -> Any:
    """A flat NumPy array as one of the simulator's, on the same memory: what kernels write is seen in it."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(array)


def address_of(array: Any) -> int:
    """Where an array begins, in the memory that kernels see."""
    return int((array.__array_interface__ if SIMULATED else array.__cuda_array_interface__)["data"][0])


def places_of(arrays: Sequence[Any]) -> list[Place]:
    """Where the arrays of a call lie."""
    return [Place(index=i, address=address_of(a), dtype=_dtype(a), size=int(a.size)) for i, a in enumerate(arrays)]


def launches_of(call: Call, places: Sequence[Place]) -> Sequence[Launch]:
    """What a call launches.

    Parameters
    ----------
    places : of its reads, writes and workspace.

    Raises
    ------
    RunError : the number of places does not fit the call.
    """
    want = len(call.reads) + len(call.writes) + 1
    if len(places) != want:
        raise RunError(f"{call.kernel}: wants {want} places (reads, writes, workspace), got {len(places)}")
    return find(call.kernel).launches(call, places)


def bound(launch: Launch, arrays: Sequence[Any]) -> Go:
    """A launch with the arrays and numbers that it passes; nothing is looked up when it is carried out."""
    made = [_made(a, kind, arrays) for a, kind in zip(launch.arguments, launch.kernel.types, strict=True)]
    function, grid, threads = launch.kernel.compiled, launch.grid, launch.kernel.threads

    def go(stream: Any = 0) -> None:
        function[grid, threads, stream](*made)

    def simulated(stream: Any = 0) -> None:
        with warnings.catch_warnings():  # a device says nothing of infinities and numbers that are none
            warnings.simplefilter("ignore", RuntimeWarning)
            go()

    return simulated if SIMULATED else go


def run_call(call: Call, arrays: Sequence[Any], stream: Any = 0) -> None:
    """Launch what a call launches, in order; on a device it returns before that is done.

    Parameters
    ----------
    arrays : flat, of its reads, writes and workspace.
    """
    for launch in launches_of(call, places_of(arrays)):
        bound(launch, arrays)(stream)


def _dtype(array: Any) -> DType:
    return type_of(array).dtype


def _made(argument: Argument, kind: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(argument, tuple):
        return tuple(map(int, argument))
    if not isinstance(argument, Operand):
        return np.float32(argument) if kind is NUMBER else int(argument)
    array, dtype = arrays[argument.index], argument.dtype.numpy
    if array.dtype != dtype:
        array = array.view(dtype)
    last = argument.first + argument.size
    if last > array.size:
        raise RunError(f"a launch passes elements {argument.first} to {last} of an array of {array.size}")
    return array if (argument.first, last) == (0, array.size) else array[argument.first : last]
