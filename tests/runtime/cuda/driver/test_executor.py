"""Steps of a net, compiled for a GPU and put on it as on a real one. Kernels do nothing here: copies are looked at."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.tensor_type import f32
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.model import GPU_PAGE
from runtime.cuda import calibration
from runtime.cuda.ahead import launched
from runtime.cuda.calibration import INPUT_COPY, Size, launch_seconds, measure, memory_bytes_per_second
from runtime.cuda.device import Device
from runtime.cuda.executor import GpuExecutor
from runtime.data.dataset import load
from runtime.data.stage import InputStage
from runtime.executor import LocalBoard, data_layout
from runtime.job import Source
from runtime.kernels.cuda.kernel import DeviceKernel
from runtime.scheduler import Outcome

BATCH, RANK = 8, Rank("worker", (0,))
Calls = Callable[[str], int]


@pytest.fixture(scope="module")
def stage_and_plan() -> Iterator[tuple[InputStage, Lowered]]:
    net = MODELS["mlp"].build(BATCH, image=(64,), classes=10, width=0.1, dropout=0.3, denominator=BATCH, seed=4)
    graph = training_graph(net, Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-3))
    lowered = lower(data_parallel(graph, ranks=1, steps=1, micro_batches=1, bucket_bytes=1024), "worker", Platform.CUDA)
    data, _ = load(Source(), (64,), 10)
    offsets, nbytes = data_layout(lowered)
    with InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, micro_batches=1, seed=3) as stage:
        yield stage, lowered


def made(stage_and_plan: tuple[InputStage, Lowered], **options: object) -> GpuExecutor:
    stage, lowered = stage_and_plan
    x = GpuExecutor(lowered, RANK, stage=stage, batch=BATCH, **options)  # type: ignore[arg-type]
    x.touch()
    x.load(init_parameters(x.lowered.graph, 0))
    return x


def test_steps_are_captured_for_each_slot_and_launched_with_one_call(
    stage_and_plan: tuple[InputStage, Lowered], calls: Calls
) -> None:
    x = made(stage_and_plan)
    x.play(0, 6, board=LocalBoard(6, x.table.losses).board)
    assert (calls("cuStreamBeginCapture"), calls("cuGraphLaunch"), x.why_not_captured) == (2, 5, "")
    assert calls("cuLaunchKernel") % 3 == 0  # of the first step, and of two captures
    batches = [x.array("x").copy()]
    x.play(6, 7, board=LocalBoard(1, x.table.losses).board, origin=6)
    batches.append(x.array("x").copy())
    assert all(0 < b.max() <= 1 for b in batches) and not np.array_equal(*batches)
    memory = x.meter()
    memory.look()
    assert memory.grown == -(-x.arena_nbytes // GPU_PAGE) * GPU_PAGE


def test_what_is_made_ahead_is_what_is_bound(stage_and_plan: tuple[InputStage, Lowered], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DeviceKernel] = []
    monkeypatch.setattr("runtime.cuda.bound.bound", lambda launch, arrays: asked.append(launch.kernel))
    made(stage_and_plan)
    assert set(launched([stage_and_plan[1]], (9, 0))) == set(asked)


def test_stamps_of_captured_steps_follow_each_other(stage_and_plan: tuple[InputStage, Lowered], calls: Calls) -> None:
    x, steps = made(stage_and_plan), 4
    stamps = np.zeros((steps, len(x.table.leaves), 3), np.int64)
    board = LocalBoard(steps, x.table.losses)
    assert x.play(0, steps, board=board.board, timers=stamps.ctypes.data) is Outcome.DONE
    assert calls("cuGraphLaunch") == steps - 1 and x.why_not_captured == ""
    ready, start, end = np.moveaxis(stamps, -1, 0)
    assert (ready <= start).all() and (start < end).all()
    assert (end.max(axis=1) <= np.array(board.ends)).all() and (np.diff(board.ends) > 0).all()


def test_a_careful_run_waits_after_every_action_and_captures_nothing(
    stage_and_plan: tuple[InputStage, Lowered], calls: Calls
) -> None:
    x = made(stage_and_plan, is_careful=True)
    x.play(0, 2, board=LocalBoard(2, x.table.losses).board)
    assert calls("cuStreamBeginCapture") == 0 and x.why_not_captured == "every action is waited for"


def test_kernels_and_copies_are_timed(gpu: Device, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    sizes = {INPUT_COPY: [Size(types=(f32(n),), attrs={}) for n in (700, 300)]}
    own = [Size(types=(f32(n), f32(n)), attrs={}) for n in (8, 1024, 65_536)]
    monkeypatch.setattr(calibration, "grid_of", lambda kernel, device: sizes.get(kernel.name, own))
    rows = list(measure(gpu, [INPUT_COPY, calibration.ACCUMULATE], seconds=0.1, seed=1))
    assert [r.call.types[0].size for r in rows] == [700, 300, 8, 1024, 65_536] and all(r.seconds > 0 for r in rows)
    assert calls("cuGraphExecDestroy") == calls("cuStreamBeginCapture") > 0
    asked: list[DeviceKernel] = []
    monkeypatch.setattr(calibration, "bound", lambda launch, arrays: asked.append(launch.kernel) or (lambda stream: None))
    list(measure(gpu, [INPUT_COPY, calibration.ACCUMULATE], seconds=0.0, seed=1))
    assert set(calibration.launched(gpu, [INPUT_COPY, calibration.ACCUMULATE], (9, 0))) == set(asked)
    assert memory_bytes_per_second(gpu) > 0 and launch_seconds(gpu) > 0
