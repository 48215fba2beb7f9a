"""The GPU of this computer as the executor uses it: memory, copies, streams, events, steps captured as CUDA graphs.

`Device` is the first GPU, through Numba (arrays, streams, events) and NVIDIA's bindings (graphs). `Simulator` is its double where
kernels run in Numba's simulator: everything is done when it is asked for, and an event holds the computer's clock.

Memory is one flat array of bytes; a place in it is seen as a flat array of any type. Copies are asynchronous where the host's
side is `pinned`, and in the order of their stream.
"""

# mypy: disable-error-code="no-untyped-call"

import gc
import time
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.cuda.driver import SIMULATOR, call, find_driver, is_simulated, require_gpu
from runtime.errors import MissingCapability, RunError

Bytes = npt.NDArray[np.uint8]
ALIGN = 512
"""Bytes to which simulated memory is aligned; a driver's allocations are to at least 256 (CUDA C++ programming guide)."""
_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: inside a graph, an event that is seen from outside


class Device:
    """The first GPU of this computer.

    Raises
    ------
    MissingCapability : there is none, or it cannot be used; with the way out.
    """

    can_capture = True
    """Steps can be captured, and played again with one call."""
    captures = 0
    """How many have been."""

    def __init__(self) -> None:
        gpu = require_gpu()
        from numba import cuda

        self._cuda = cuda
        try:
            self._context = cuda.current_context()
        except Exception as e:
            raise MissingCapability(f"{gpu.name} is there, but cannot be used: {e}") from e
        self.name = gpu.name

    # ------------------------------------------------------------------------------------------------------ what it is

    def describe(self) -> dict[str, Any]:
        """What a profile says of it, besides its name."""
        device, driver = self._cuda.get_current_device(), find_driver()
        major, minor = device.compute_capability
        return {
            "driver": driver.version if driver else "",
            "capability": f"{major}.{minor}",
            "multiprocessors": int(device.MULTIPROCESSOR_COUNT),
            "memory_nbytes": int(self._context.get_memory_info().total),
        }

    def free_nbytes(self) -> int:
        """Memory that nobody uses, by the driver's own count."""
        return int(self._context.get_memory_info().free)

    def tidy(self) -> None:
        """Give back what this process no longer uses: Numba keeps it for a while."""
        gc.collect()
        self._context.memory_manager.deallocations.clear()
        self._context.deallocations.clear()

    # ---------------------------------------------------------------------------------------------- memory and copies

    def allocate(self, nbytes: int) -> Any:
        """Memory, as a flat array of bytes, aligned to `ALIGN`; what it holds is not known.

        Raises
        ------
        RunError : there is not so much.
        """
        try:
            return self._cuda.device_array(max(nbytes, 1), np.uint8)
        except Exception as e:
            raise RunError(f"{self.name}: {nbytes:,} bytes were asked for, {self.free_nbytes():,} are free: {e}") from e

    def address(self, memory: Any) -> int:
        """Where it begins, as kernels see it."""
        return int(memory.__cuda_array_interface__["data"][0])

    def clear(self, memory: Any) -> None:
        """Set all of its bytes to 0; done on return."""
        call("cuMemsetD8", self.address(memory), 0, int(memory.nbytes))
        self.synchronize()

    def pinned(self, nbytes: int) -> Bytes:
        """Memory of the host that the GPU copies from and to by itself, cleared."""
        found: Bytes = self._cuda.pinned_array(max(nbytes, 1), np.uint8)
        found[:] = 0
        return found

    def upload(self, to: Any, source: npt.NDArray[Any], stream: Any = 0) -> None:
        """Copy from the host. Without a stream it is done on return."""
        if source.size:
            to.copy_to_device(source, stream=stream)

    def download(self, to: npt.NDArray[Any], source: Any, stream: Any = 0) -> None:
        """Copy to the host. Without a stream it is done on return."""
        if to.size:
            source.copy_to_host(to, stream=stream)

    def copy(self, to: Any, source: Any, stream: Any = 0) -> None:
        """Copy within the device's memory."""
        to.copy_to_device(source, stream=stream)

    # ------------------------------------------------------------------------------------------------ streams and events

    def stream(self) -> Any:
        """A queue of work."""
        return self._cuda.stream()

    def event(self) -> Any:
        """A point in a stream, and when it was reached."""
        return self._cuda.event(timing=True)

    def mark(self, event: Any, stream: Any) -> None:
        """The event is what the stream holds now."""
        event.record(stream)

    def stamp(self, event: Any, stream: Any, *, in_graph: bool) -> None:
        """Note when the stream comes to this point; inside a captured step too, where `mark` only says what waits for what."""
        if in_graph:
            call("cuEventRecordWithFlags", int(event.handle), int(stream.handle), _EXTERNAL)
        else:
            event.record(stream)

    def wait(self, stream: Any, event: Any) -> None:
        """What the stream is given from now on begins after the event."""
        event.wait(stream)

    def is_over(self, event: Any) -> bool:
        """Whether the event has come."""
        return bool(event.query())

    def await_event(self, event: Any) -> None:
        """Block until the event has come."""
        event.synchronize()

    def await_stream(self, stream: Any) -> None:
        """Block until the stream is empty."""
        stream.synchronize()

    def nanoseconds(self, first: Any, second: Any) -> int:
        """From one event to another; both have come."""
        milliseconds: float = self._cuda.event_elapsed_time(first, second)
        return round(milliseconds * 1e6)

    def synchronize(self) -> None:
        """Block until nothing is under way."""
        self._cuda.synchronize()

    def is_broken(self) -> bool:
        """Whether nothing can be done any more: what failed stays an answer to every call."""
        try:
            self.synchronize()
        except Exception:
            return True
        return False

    # ----------------------------------------------------------------------------------------------------------- graphs

    def captured(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        """What `work` puts on the stream, and on streams that it has wait for it, as one thing that can be put there again.

        Nothing is carried out. Libraries must have been called before, so that nothing has to be loaded. The driver's
        memory for it is given back with what is returned.

        Raises
        ------
        Exception : of any kind: something in it cannot be captured, and nothing was put there.
        """
        from cuda.bindings import driver

        handle = int(stream.handle)
        with self._cuda.defer_cleanup():
            call("cuStreamBeginCapture", handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
            try:
                work()
            except BaseException:
                driver.cuStreamEndCapture(handle)  # whatever it says: the first error counts
                raise
            graph = call("cuStreamEndCapture", handle)
            try:
                made = call("cuGraphInstantiate", graph, 0)
            finally:
                call("cuGraphDestroy", graph)

        def launch() -> None:
            call("cuGraphLaunch", made, handle)

        weakref.finalize(launch, driver.cuGraphExecDestroy, made)
        self.captures += 1
        call("cuGraphUpload", made, handle)
        return launch


class _Event:
    """The computer's clock at a point of the program."""

    def __init__(self) -> None:
        self.at = 0


class Simulator(Device):
    """The double of a GPU: the host's memory, one thing after another, in the order of the program."""

    can_capture = False

    def __init__(self) -> None:
        from numba import cuda

        self._cuda, self.name, self._used = cuda, SIMULATOR, 0

    def describe(self) -> dict[str, Any]:
        return {"driver": "", "capability": "", "multiprocessors": 1, "memory_nbytes": _SIMULATED_NBYTES}

    def free_nbytes(self) -> int:
        return _SIMULATED_NBYTES - self._used

    def tidy(self) -> None:
        """Nothing is kept."""

    def clear(self, memory: Any) -> None:
        memory[:] = 0

    def allocate(self, nbytes: int) -> Any:
        from runtime.kernels.cuda.run import in_simulator

        if nbytes > self.free_nbytes():
            raise RunError(f"{self.name}: {nbytes:,} bytes were asked for, {self.free_nbytes():,} are free")
        self._used += nbytes
        memory = np.zeros(max(nbytes, 1) + ALIGN, np.uint8)
        first = -memory.ctypes.data % ALIGN
        return in_simulator(memory[first : first + max(nbytes, 1)])

    def address(self, memory: Any) -> int:
        return int(memory.__array_interface__["data"][0])

    def event(self) -> Any:
        return _Event()

    def mark(self, event: Any, stream: Any) -> None:
        event.at = time.monotonic_ns()

    def stamp(self, event: Any, stream: Any, *, in_graph: bool) -> None:
        event.at = time.monotonic_ns()

    def wait(self, stream: Any, event: Any) -> None:
        """Everything before has been done."""

    def is_over(self, event: Any) -> bool:
        return True

    def await_event(self, event: Any) -> None:
        """It has come."""

    def nanoseconds(self, first: Any, second: Any) -> int:
        return int(second.at - first.at)

    def captured(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        raise RunError("the simulator captures nothing")


_SIMULATED_NBYTES = 16 << 30


@cache
def device() -> Device:
    """This process's GPU, or its double; raises `MissingCapability` as `Device`."""
    return Simulator() if is_simulated() else Device()


class DeviceMemory:
    """What a rank's values take of a GPU's memory, by the driver's own count of what is free.

    It is what that falls by while they are allocated, and whatever it falls by later, while nothing is loaded. What the driver
    takes for itself is no matter of the plan: the context, code, which is loaded when launches are bound, and captured steps.
    What other processes take or give meanwhile is in it.

    Parameters
    ----------
    device : whose.
    """

    def __init__(self, device: Device) -> None:
        self._device, self.allocated = device, 0
        device.tidy()
        self._base, self._since, self._more, self._captures = device.free_nbytes(), 0, 0, -1

    def close(self) -> None:
        """All values have been allocated."""
        self.allocated = self._base - self._device.free_nbytes()

    def look(self) -> None:
        """Take a reading; the first one, and one after a step was captured, only says from where the next ones count."""
        free = self._device.free_nbytes()
        if self._captures != self._device.captures:
            self._since, self._captures = free + self._more, self._device.captures
        self._more = max(self._more, self._since - free)

    @property
    def grown(self) -> int:
        """Bytes of the peak."""
        return self.allocated + self._more
