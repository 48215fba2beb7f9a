"""What a GPU is asked for, held to the driver's rules."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.cuda.device import Device, DeviceMemory
from runtime.cuda.driver import DriverError
from runtime.errors import RunError


def test_memory_of_any_type_goes_there_and_back(gpu: Device) -> None:
    memory, stream = gpu.allocate(1 << 12), gpu.stream()
    gpu.clear(memory)
    place = memory[512:1024].view(np.float32)
    host = gpu.pinned(512).view(np.float32)
    host[:] = np.arange(128)
    gpu.upload(place, host, stream)
    back = gpu.pinned(512).view(np.float32)
    gpu.download(back, memory[512:1024].view(np.float32), stream)
    gpu.await_stream(stream)
    assert back.tolist() == list(range(128)) and gpu.address(place) == gpu.address(memory) + 512
    everything = np.empty(1 << 12, np.uint8)
    gpu.download(everything, memory)
    assert not everything[:512].any() and not everything[1024:].any()
    assert memory[:0].view(np.int64).size == 0
    assert gpu.describe()["capability"] == "9.0" and gpu.describe()["multiprocessors"] == 132


def test_too_much_memory_says_how_much_is_free(gpu: Device) -> None:
    with pytest.raises(RunError, match=r"9,999,999,999 bytes were asked for, [0-9,]+ are free"):
        gpu.allocate(9_999_999_999)


def test_what_is_captured_is_done_again_and_given_back(gpu: Device, calls: Callable[[str], int]) -> None:
    stream, other, begun, ended = gpu.stream(), gpu.stream(), gpu.event(), gpu.event()
    memory, host = gpu.allocate(64), gpu.pinned(64)

    def work() -> None:
        gpu.mark(begun, stream)
        gpu.wait(other, begun)
        gpu.upload(memory, host, other)
        gpu.mark(ended, other)
        gpu.wait(stream, ended)

    launch = gpu.captured(stream, work)
    for value in (3, 5):
        host[:] = value
        launch()
        assert np.unique(memory.copy_to_host()).tolist() == [value]
    assert calls("cuGraphLaunch") == 2
    del launch
    assert calls("cuGraphExecDestroy") == 1


def _begin(gpu: Device, stream: Any, other: Any) -> None:
    begun = gpu.event()
    gpu.mark(begun, stream)
    gpu.wait(other, begun)


FORBIDDEN: dict[str, tuple[Callable[[Device, Any, Any, Any], object], str]] = {
    "waiting": (lambda gpu, stream, other, memory: gpu.synchronize(), "CAPTURE_UNSUPPORTED"),
    "waiting for a stream": (lambda gpu, stream, other, memory: gpu.await_stream(stream), "CAPTURE_UNSUPPORTED"),
    "allocating": (lambda gpu, stream, other, memory: gpu.allocate(8), "CAPTURE_UNSUPPORTED"),
    "copying at once": (lambda gpu, stream, other, memory: gpu.download(np.empty(64, np.uint8), memory), "CAPTURE_IMPLICIT"),
    "what is outside": (lambda gpu, stream, other, memory: gpu.wait(stream, gpu.event()), "CAPTURE_ISOLATION"),
    "a stream that is not joined": (
        lambda gpu, stream, other, memory: (_begin(gpu, stream, other), gpu.copy(memory[:8], memory[8:16], other)),
        "CAPTURE_UNJOINED",
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_a_capture_forbids(gpu: Device, what: str) -> None:
    work, error = FORBIDDEN[what]
    stream, other, memory = gpu.stream(), gpu.stream(), gpu.allocate(64)
    with pytest.raises(Exception, match=error):
        gpu.captured(stream, lambda: work(gpu, stream, other, memory))
    assert not gpu.is_broken()
    gpu.captured(stream, lambda: None)()


def test_a_stamp_is_seen_from_outside_and_another_event_of_a_capture_is_not(gpu: Device) -> None:
    stream, since, stamp, mark = gpu.stream(), gpu.event(), gpu.event(), gpu.event()
    gpu.mark(since, stream)

    def work() -> None:
        gpu.stamp(stamp, stream, in_graph=True)
        gpu.mark(mark, stream)

    launch = gpu.captured(stream, work)
    launch()
    first = gpu.nanoseconds(since, stamp)
    launch()
    assert gpu.nanoseconds(since, stamp) > first > 0
    with pytest.raises(Exception, match="CAPTURED_EVENT"):
        gpu.is_over(mark)
    with pytest.raises(DriverError, match="ILLEGAL_STATE"):
        gpu.stamp(stamp, stream, in_graph=True)


def test_memory_of_values_is_not_that_of_graphs_nor_what_was_given_back_before(gpu: Device) -> None:
    gpu.allocate(1 << 20)  # and let go: Numba frees it later
    memory = DeviceMemory(gpu)
    kept = gpu.allocate(6 << 20)
    memory.close()
    memory.look()
    graph = gpu.captured(gpu.stream(), lambda: None)
    memory.look()
    assert memory.grown == 6 << 20
    more = gpu.allocate(1 << 20)
    memory.look()
    assert memory.grown == 7 << 20 and kept is not more and graph is not None
