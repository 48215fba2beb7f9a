"""Launches bound to arrays and carried out: by a device, in Numba's simulator, or emulated (`kernel.machine`).

An array is a flat device array (`numba.cuda`), in the simulator what stands for one (`in_simulator`), emulated a NumPy array. Of
a call there is one for each of its reads, writes and the workspace, in this order; where each lies decides what is launched.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numba import cuda

from graph.ops.common import type_of
from graph.tensor_type import DType
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels.cuda.arguments import address_of, part
from runtime.kernels.cuda.kernel import NUMBER, AnyLaunch, Argument, Machine, Operand, Place, find, machine
from runtime.kernels.cuda.library import LibraryLaunch, handle_of

Go = Callable[[Any], None]
"""Carries out a launch on a stream; 0: the default one."""


def in_simulator(array: np.ndarray[Any, Any]) -> Any:
    """A flat NumPy array as one of the simulator's, on the same memory: what kernels write is seen in it."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(array)


def upload(array: np.ndarray[Any, Any], to: Any = None) -> Any:
    """A copy of a NumPy array as one that launches take; over one that there is."""
    if machine() is Machine.EMULATOR:
        if to is None:
            return array.copy()
        to[...] = array
        return to
    return cuda.to_device(array, to=to)


def download(array: Any) -> np.ndarray[Any, Any]:
    """A copy of an array that launches take, when all that has been launched is done."""
    if machine() is Machine.EMULATOR:
        return np.array(array)
    cuda.synchronize()
    return np.asarray(array.copy_to_host())


def places_of(arrays: Sequence[Any]) -> list[Place]:
    """Where the arrays of a call lie."""
    return [Place(index=i, address=address_of(a), dtype=_dtype(a), size=int(a.size)) for i, a in enumerate(arrays)]


def launches_of(call: Call, places: Sequence[Place]) -> Sequence[AnyLaunch]:
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


def bound(launch: AnyLaunch, arrays: Sequence[Any]) -> Go:
    """A launch with the arrays and numbers that it passes; nothing is looked up when it is carried out."""
    if isinstance(launch, LibraryLaunch):
        return _called(launch, [part(o, arrays) for o in launch.operands])
    if machine() is Machine.DEVICE:
        return cast(Go, launch.kernel.compiled.bound(launch, arrays))
    made = [_made(a, kind, arrays) for a, kind in zip(launch.arguments, launch.kernel.types, strict=True)]
    if machine() is Machine.EMULATOR:
        from runtime.ptx.run import run_launch

        def emulated(stream: Any = 0) -> None:
            run_launch(launch, arrays)

        return emulated
    function, grid, threads = launch.kernel.compiled, launch.grid, launch.kernel.threads

    def simulated(stream: Any = 0) -> None:
        with warnings.catch_warnings():  # a device says nothing of infinities and numbers that are none
            warnings.simplefilter("ignore", RuntimeWarning)
            function[grid, threads](*made)

    return simulated


def _called(launch: LibraryLaunch, parts: Sequence[Any]) -> Go:
    """A call of a library, told of its operands; its double where there is no device."""
    if machine() is Machine.DEVICE:
        call = launch.bind([address_of(p) for p in parts])

        def go(stream: Any = 0) -> None:
            call(handle_of(stream))

        return go
    *operands, _ = parts

    def double(stream: Any = 0) -> None:
        copies = [download(p) for p in operands]
        launch.double(copies)
        upload(copies[-1], operands[-1])

    return double


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
    if isinstance(argument, Operand):
        return part(argument, arrays)
    return np.float32(argument) if kind is NUMBER else int(argument)
