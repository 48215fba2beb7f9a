"""What a GPU is asked for, as far as that can be told without one: the driver's functions are there, and are called in order."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from cuda.bindings import driver

from runtime.cuda.device import Device, DeviceMemory
from runtime.cuda.driver import DriverError
from runtime.cuda.step import Captured
from runtime.kernels.cuda.kernel import SIMULATED

OK, BAD = driver.CUresult.CUDA_SUCCESS, driver.CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
STREAM = SimpleNamespace(handle=7)


def device() -> Device:
    """One that was never opened."""
    found = Device.__new__(Device)
    found.name, found._cuda = "none", SimpleNamespace(defer_cleanup=nullcontext)
    return found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The driver's functions, which note that they were called; EndCapture, Instantiate give 1 and 2."""
    found: list[tuple[Any, ...]] = []
    gives = {"cuStreamEndCapture": (1,), "cuGraphInstantiate": (2,)}
    graphs = ("cuGraphInstantiate", "cuGraphDestroy", "cuGraphUpload", "cuGraphLaunch", "cuGraphExecDestroy")
    for name in ("cuStreamBeginCapture", "cuStreamEndCapture", *graphs, "cuEventRecordWithFlags", "cuMemsetD8"):
        assert callable(getattr(driver, name))

        def call(*arguments: Any, name: str = name) -> tuple[Any, ...]:
            found.append((name, *arguments))
            return OK, *gives.get(name, ())

        monkeypatch.setattr(driver, name, call)
    return found


def test_this_process_is_no_simulator() -> None:
    assert not SIMULATED


def test_a_step_is_captured_and_launched(calls: list[tuple[Any, ...]]) -> None:
    launch = device().captured(STREAM, lambda: calls.append(("work",)))
    relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    assert calls == [
        ("cuStreamBeginCapture", 7, relaxed), ("work",), ("cuStreamEndCapture", 7), ("cuGraphInstantiate", 1, 0),
        ("cuGraphDestroy", 1), ("cuGraphUpload", 2, 7),
    ]  # fmt: skip
    launch()
    assert calls[-1] == ("cuGraphLaunch", 2, 7)
    del launch
    assert calls[-1] == ("cuGraphExecDestroy", 2)


def test_a_capture_ends_also_when_it_fails(calls: list[tuple[Any, ...]]) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        device().captured(STREAM, fail)
    assert [c[0] for c in calls] == ["cuStreamBeginCapture", "cuStreamEndCapture"]


def test_what_the_driver_says_is_told(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "cuStreamEndCapture", lambda stream: (BAD, None))
    with pytest.raises(DriverError, match="cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        device().captured(STREAM, lambda: None)


def test_stamps_in_a_graph_are_seen_from_outside(calls: list[tuple[Any, ...]]) -> None:
    device().stamp(SimpleNamespace(handle=3), STREAM, in_graph=True)
    assert calls == [("cuEventRecordWithFlags", 3, 7, int(driver.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL))]


def test_the_first_step_is_never_captured() -> None:
    done: list[object] = []

    def captured(stream: object, work: Any) -> Any:
        work()
        return lambda: done.append("launched")

    queue: Any = SimpleNamespace(device=SimpleNamespace(captured=captured), origin=STREAM)
    graphs = Captured(queue)
    for slot in (0, 1, 0, 1, 0):
        graphs.put(slot, done.append, stamped=False)
    assert done == [False, True, "launched", True, "launched", "launched", "launched"]


def test_memory_is_that_of_values_and_of_what_comes_while_nothing_is_loaded() -> None:
    """Neither what was in use before, nor code that is loaded when it is first launched, nor captured steps."""
    free = iter((100, 70, 55, 60, 50, 58, 40, 37))
    on: Any = SimpleNamespace(free_nbytes=lambda: next(free), tidy=lambda: None, captures=0)
    memory = DeviceMemory(on)
    memory.close()
    assert memory.grown == 30
    for captures, grown in ((0, 30), (0, 30), (0, 35), (0, 35), (1, 35), (1, 38)):
        on.captures = captures
        memory.look()
        assert memory.grown == grown
