"""Kernels as a device runs them: the PTX that is checked and emulated, loaded into the driver, and launched.

Nothing of a launch is made when it is carried out: what it passes is packed when it is bound, and the code is on the device then,
so that it can be captured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda

from runtime.cuda.driver import DriverError, call
from runtime.kernels.cuda.arguments import entry_of, part, values
from runtime.kernels.cuda.compile import image, source_architecture
from runtime.kernels.cuda.compile import ptx as ptx_of
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Operand
from runtime.kernels.cuda.library import handle_of


class Loaded:
    """A kernel on this process's device, as long as the process lives.

    Parameters
    ----------
    kernel : which; the device has its instructions.

    Raises
    ------
    DriverError : the driver does not take its code.
    """

    def __init__(self, kernel: DeviceKernel) -> None:
        cuda.current_context()  # Numba's own: arrays and streams are of it
        architecture = capability()
        self.kernel, self.entry = kernel, entry_of(ptx_of(kernel, source_architecture(architecture)))
        self._module = call("cuModuleLoadData", image(kernel, architecture))
        self.function = call("cuModuleGetFunction", self._module, self.entry.name.encode())
        call("cuFuncLoad", self.function)  # else the driver loads it at the first launch

    def bound(self, launch: Launch, arrays: Sequence[Any]) -> "BoundLaunch":
        """A launch with the arrays and numbers that it passes."""
        return BoundLaunch(self, launch, [part(a, arrays) for a in launch.arguments if isinstance(a, Operand)])


class BoundLaunch:
    """A launch with what it passes, put on streams by calling it with them.

    Parameters
    ----------
    loaded : what is launched.
    launch : its grid and numbers.
    parts : its arrays, in order; they are kept.
    """

    def __init__(self, loaded: Loaded, launch: Launch, parts: Sequence[Any]) -> None:
        from cuda.bindings import driver

        self._put, self._fine = driver.cuLaunchKernel, driver.CUresult.CUDA_SUCCESS
        self._loaded, self._parts, self._words = loaded, parts, packed(values(launch, parts, loaded.entry))
        self._places = self._words.ctypes.data + np.arange(len(self._words), dtype=np.uint64) * np.uint64(self._words.itemsize)
        self._shape, self._passed = (*launch.grid, launch.kernel.threads, 1, 1, 0), int(self._places.ctypes.data)

    def __call__(self, stream: Any = 0) -> None:
        """Raises `DriverError` where the driver refuses."""
        (code,) = self._put(self._loaded.function, *self._shape, handle_of(stream), self._passed, 0)
        if code != self._fine:
            raise DriverError(f"cuLaunchKernel of {self._loaded.kernel.name!r}: {code.name}")


def capability() -> tuple[int, int]:
    """Of this process's device."""
    major, minor = cuda.get_current_device().compute_capability
    return int(major), int(minor)


def packed(numbers: Sequence[np.generic]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Each number in the first bytes of a word."""
    words = np.zeros(len(numbers), np.uint64)
    for word, n in zip(words.view(np.uint8).reshape(-1, words.itemsize), numbers, strict=True):
        word[: n.nbytes] = np.frombuffer(n.tobytes(), np.uint8)
    return words
