"""Compiled kernels as a driver gets them: loaded once, with the parameters that the emulator gives them."""

import ctypes
import math
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest

from hw.kernels import KERNELS
from runtime.cuda.device import Device
from runtime.cuda.driver import DriverError
from runtime.errors import MissingCapability
from runtime.kernels.cuda import compile
from runtime.kernels.cuda.arguments import entry_of, part, values
from runtime.kernels.cuda.check import Case, cases
from runtime.kernels.cuda.kernel import DeviceKernel, Launch, Operand
from runtime.kernels.cuda.loaded import Loaded
from runtime.kernels.cuda.run import bound, launches_of, places_of
from runtime.ptx.machine import Threads
from runtime.ptx.memory import Global
from runtime.ptx.run import code_of

DOUBLE = ctypes.CDLL("libcuda.so.1")
ARCHITECTURE = (9, 0)


def seen(array: Any) -> np.ndarray[Any, Any]:
    """A device array of the double, whose memory is the host's."""
    place = (ctypes.c_uint8 * array.nbytes).from_address(array.__cuda_array_interface__["data"][0])
    return np.frombuffer(place, array.dtype)


def placed(gpu: Device, case: Case) -> list[Any]:
    """Operands of a case on the double's device."""
    arrays = []
    for a in (*case.inputs, *case.want, np.empty(case.call.workspace, np.uint8)):
        memory = gpu.allocate(a.nbytes)[: a.nbytes].view(a.dtype)
        if a.size and len(arrays) < len(case.inputs):
            gpu.upload(memory, np.ascontiguousarray(a).reshape(-1))
        arrays.append(memory)
    return arrays


def heard(launch: Launch, arrays: list[Any], stream: Any) -> list[int]:
    """Parameters that the driver finds when it launches."""
    entry = entry_of(compile.ptx(launch.kernel, ARCHITECTURE))
    DOUBLE.double_listen(len(entry.parameters))
    DOUBLE.double_word.restype, DOUBLE.double_name.restype = ctypes.c_uint64, ctypes.c_char_p
    bound(launch, arrays)(stream)
    assert DOUBLE.double_name().decode() == entry.name
    assert [DOUBLE.double_shape(k) for k in range(4)] == [*launch.grid, launch.kernel.threads]
    return [int(DOUBLE.double_word(k)) for k in range(len(entry.parameters))]


@pytest.mark.parametrize("name", ["cuda.softmax_cross_entropy", "cuda.transpose", "cuda.scale"])
def test_what_the_driver_finds_carried_out_by_the_emulator_gives_the_results(gpu: Device, name: str) -> None:
    case = next(c for c in cases(KERNELS[name]) if all(a.size for a in c.inputs))
    arrays = placed(gpu, case)
    for launch in launches_of(case.call, places_of(arrays)):
        assert isinstance(launch, Launch)
        code, words = code_of(launch.kernel, ARCHITECTURE), heard(launch, arrays, gpu.stream())
        mine = [part(a, [seen(b) for b in arrays]) for a in launch.arguments if isinstance(a, Operand)]
        own = values(launch, mine, code.program.entry)
        assert words == [int.from_bytes(v.tobytes(), "little") for v in own]
        kinds = [(n, v.dtype) for (n, _), v in zip(code.program.entry.parameters, own, strict=True)]
        given = {n: np.frombuffer(w.to_bytes(8, "little"), t)[0] for (n, t), w in zip(kinds, words, strict=True)}
        with np.errstate(all="ignore"):
            Threads(code, launch.grid, launch.kernel.threads, range(math.prod(launch.grid)), given, Global(mine)).run()
    for got, want in zip(arrays[len(case.inputs) :], case.want, strict=False):
        assert np.allclose(seen(got).reshape(want.shape), want, rtol=1e-5, atol=1e-6)


def scaled(gpu: Device) -> tuple[Launch, list[Any]]:
    """A launch, and the arrays that it passes."""
    case = next(c for c in cases(KERNELS["cuda.scale"]) if all(a.size for a in c.inputs))
    arrays = placed(gpu, case)
    launch = launches_of(case.call, places_of(arrays))[0]
    assert isinstance(launch, Launch)
    return launch, arrays


def test_code_is_loaded_once_when_a_launch_is_bound_and_never_in_a_capture(gpu: Device, calls: Callable[[str], int]) -> None:
    launch, arrays = scaled(gpu)
    first, second = bound(launch, arrays), bound(launch, arrays)
    loads = "cuModuleLoadData", "cuFuncLoad", "assembly"
    before = [calls(name) for name in loads]
    stream = gpu.stream()
    graph = gpu.captured(stream, lambda: (first(stream), second(stream)))  # type: ignore[func-returns-value, arg-type]
    graph()
    assert before == [calls(name) for name in loads] and calls("cuLaunchKernel") == 2
    fresh = copy(launch.kernel)
    fresh.__dict__.pop("compiled", None)
    with pytest.raises(DriverError, match="cuModuleLoadData: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        gpu.captured(stream, lambda: fresh.compiled)


def test_where_there_is_no_assembler_the_driver_gets_the_text(
    gpu: Device, monkeypatch: pytest.MonkeyPatch, calls: Callable[[str], int]
) -> None:
    monkeypatch.setattr(compile, "assembles", lambda device: False)
    before = calls("assembly")
    Loaded(scaled(gpu)[0].kernel)
    assert calls("assembly") == before + 1
    monkeypatch.undo()
    assert compile.assembles(ARCHITECTURE) and not compile.assembles((99, 0))


def test_an_older_gpu_is_refused_when_a_launch_is_bound(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, arrays = scaled(gpu)
    newer = DeviceKernel("newer", launch.kernel.function, launch.kernel.types, least=(9, 1))
    with pytest.raises(MissingCapability, match=r"kernel 'newer' needs a GPU of compute capability 9.1, this one has 9.0"):
        bound(Launch(kernel=newer, grid=(1, 1, 1), arguments=launch.arguments), arrays)
    stand_in = DeviceKernel("newer", launch.kernel.function, launch.kernel.types, least=(9, 1), older=launch.kernel)
    assert stand_in.compiled is launch.kernel.compiled


def test_what_a_driver_refuses_is_named(gpu: Device) -> None:
    launch, arrays = scaled(gpu)
    go = bound(Launch(kernel=launch.kernel, grid=(1, 65_536, 1), arguments=launch.arguments), arrays)
    with pytest.raises(DriverError, match=f"cuLaunchKernel of '{launch.kernel.name}': CUDA_ERROR_INVALID_VALUE"):
        go(0)
