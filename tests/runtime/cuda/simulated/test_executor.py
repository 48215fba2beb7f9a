"""The executor on a simulated GPU against that of the processor: the same numbers, with kernels that are the references."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.ir import Kind
from graph.optimizer import Sgd
from graph.parallel.plan import Plan, Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.zoo import MODELS
from hw.kernels.record import Call, Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.model import GPU_PAGE
from runtime.cuda import bound
from runtime.cuda.arena import what_fits
from runtime.cuda.device import Simulator
from runtime.cuda.executor import GpuExecutor
from runtime.data.dataset import load
from runtime.data.readers import CIFAR10
from runtime.data.stage import InputStage
from runtime.errors import DataError, DeviceFailed, MissingCapability, RunError, StepFailed
from runtime.evaluate import Evaluator, lower_forward
from runtime.executor import Executor, LocalBoard, data_layout
from runtime.job import Source
from runtime.kernels.cuda.kernel import CUDA_KERNELS, Place
from runtime.measured import records
from runtime.native import write_word
from runtime.scheduler import Outcome

BATCH = 8
RANK = Rank("worker", (0,))
pytestmark = pytest.mark.usefixtures("references")


def plan_of(model: str, micro_batches: int = 1, **options: Any) -> Plan:
    image, width = ((64,), 0.1) if model == "mlp" else ((8, 8, 1), 0.5)
    size = BATCH // micro_batches
    options = {"image": image, "width": width, "dropout": 0.3, **options}
    net = MODELS[model].build(size, classes=10, denominator=BATCH, seed=4, **options)
    graph = training_graph(net, Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-3))
    return data_parallel(graph, ranks=1, steps=1, micro_batches=micro_batches, bucket_bytes=1024)


def stage_of(lowered: Lowered, micro_batches: int = 1, source: Source | None = None) -> InputStage:
    data, _ = load(source or Source(), lowered.graph.type_of("x").shape[1:], 10)
    offsets, nbytes = data_layout(lowered)
    return InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, micro_batches=micro_batches, seed=3)


@contextmanager
def made(
    plan: Plan, micro_batches: int = 1, on_core: bool = False, source: Source | None = None, **options: Any
) -> Iterator[Any]:
    lowered = lower(plan, "worker", Platform.CPU if on_core else Platform.CUDA)
    with stage_of(lowered, micro_batches, source) as stage:
        x = (Executor if on_core else GpuExecutor)(lowered, RANK, stage=stage, batch=BATCH, **options)
        x.touch()
        x.load(init_parameters(lowered.graph, 0))
        yield x


@pytest.mark.parametrize(("model", "micro_batches"), [("mlp", 1), ("lenet", 1), ("mlp", 2)])
def test_steps_equal_those_of_a_core(model: str, micro_batches: int) -> None:
    train_alike(plan_of(model, micro_batches), micro_batches)


def train_alike(plan: Plan, micro_batches: int = 1, source: Source | None = None, steps: int = 3) -> None:
    """Losses, parameters and state are those of a core."""
    with made(plan, micro_batches, True, source) as core, made(plan, micro_batches, False, source) as gpu:
        for _ in range(steps):
            assert gpu.step() == pytest.approx(core.step(), rel=1e-5)
        ours, theirs = gpu.persistent(), core.persistent()
        assert ours.keys() == theirs.keys()
        for name in ours:
            scale = max(float(np.abs(theirs[name]).max()), 1e-2)
            assert np.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4 * scale), name


def test_resnet20_on_files_in_the_format_of_cifar10(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in CIFAR10.names:
        (tmp_path / name).write_bytes(b"".join(bytes([k]) + rng.bytes(3 * 32 * 32) for k in range(4)))
    plan = plan_of("resnet20", image=(32, 32, 3), width=0.1, dropout=0.0)
    train_alike(plan, source=Source(name="cifar10", path=str(tmp_path)), steps=2)


def test_memory_that_is_not_there_says_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered = lower(plan_of("lenet"), "worker", Platform.CUDA)
    on = Simulator()
    monkeypatch.setattr(on, "free_nbytes", lambda: 1 << 20)
    said = r"worker\[0\]: simulator: 2,097,152 bytes were asked for, 1,048,576 are free; micro-batches of about \d+ samples would"
    with pytest.raises(RunError, match=said):
        GpuExecutor(lowered, RANK, on=on)
    fixed = 3 * sum(v.type.nbytes for v in lowered.graph.of_kind(Kind.PARAMETER))  # with gradients and momenta
    assert what_fits(lowered, fixed + (lowered.layout.nbytes - fixed) // 2).startswith("micro-batches of about 4 samples")
    assert "not even one sample" in what_fits(lowered, fixed)


def test_many_steps_in_one_call_are_those_one_by_one() -> None:
    plan, board = plan_of("mlp"), LocalBoard(5, 1)
    with made(plan) as one, made(plan) as many:
        losses = [one.step() for _ in range(5)]
        assert many.play(0, 5, board=board.board) is Outcome.DONE and many.next_step == 5
        assert board.losses[:, 0].tolist() == losses
        assert np.all(np.diff(board.ends) > 0) and board.words[24] == 5  # progress
        assert all(np.array_equal(a, many.array(n)) for n, a in one.persistent().items())


def test_it_stops_and_aborts_between_steps() -> None:
    board = LocalBoard(4, 1)
    with made(plan_of("mlp")) as x:
        write_word(board.board.stop_at, 2)
        assert x.play(0, 4, board=board.board) is Outcome.STOPPED and x.next_step == 2
        write_word(board.board.abort, 1)
        assert x.play(2, 4, board=board.board) is Outcome.ABORTED and x.next_step == 2


def test_timers_say_when_each_action_was_at_work() -> None:
    board = LocalBoard(2, 1)
    with made(plan_of("mlp")) as x:
        n = len(x.table.leaves)
        stamps = np.zeros((2, n, 3), np.int64)
        x.play(0, 2, board=board.board, timers=stamps.ctypes.data)
        assert np.all(stamps > 0) and np.all(np.diff(stamps, axis=2) >= 0)
        for i, needs in enumerate(x._queue.needs):
            assert all(stamps[k, i, 0] >= stamps[k, d, 2] for k in range(2) for d in needs)
        assert stamps[0, :, 2].max() <= stamps[1, :, 1].min()
        assert board.ends[0] >= stamps[0, :, 2].max() - 1_000_000
        found = list(records(x.lowered, RANK, 0, stamps, int(stamps.min())))
        assert {r.stream for r in found} == {"input", "compute"} and len(found) == 2 * n


@pytest.mark.parametrize("is_careful", [False, True])
def test_an_error_is_that_of_its_action(monkeypatch: pytest.MonkeyPatch, is_careful: bool) -> None:
    plain: Callable[[Call, list[Place]], Any] = bound.launches_of

    def broken(call: Call, places: list[Place]) -> Any:
        found = plain(call, places)
        if call.kernel != "cuda.softmax_cross_entropy":
            return found

        def function(*arrays: Any) -> None:
            raise IndexError("beyond the end")

        found[0].kernel.function = function
        return found

    monkeypatch.setattr(bound, "launches_of", broken)
    said = r"worker\[0\]: step 0: 0/forward/loss/0 failed on simulator: IndexError.*beyond"
    with made(plan_of("mlp"), is_careful=is_careful) as x, pytest.raises(StepFailed, match=said):
        x.step()


def test_a_device_that_fails_late_is_not_blamed_on_an_action(monkeypatch: pytest.MonkeyPatch) -> None:
    board = LocalBoard(1, 1)
    with made(plan_of("mlp")) as x:
        x.step()

        def fail(event: object) -> None:
            if event is not x._anchor:
                raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

        monkeypatch.setattr(x.device, "await_event", fail)
        with pytest.raises(DeviceFailed, match=r"step 1: simulator failed, at an action that it does not tell.*ILLEGAL_ADDRESS"):
            x.play(1, 2, board=board.board, origin=1)


def test_a_stage_that_fails_is_told() -> None:
    lowered = lower(plan_of("mlp"), "worker", Platform.CUDA)
    data, _ = load(Source(), (64,), 10)

    def order(n: int, seed: int, epoch: int) -> Any:
        raise RuntimeError("no order")

    offsets, nbytes = data_layout(lowered)
    with InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, order=order) as stage:
        x = GpuExecutor(lowered, RANK, stage=stage, batch=BATCH)
        with pytest.raises(DataError, match="no order"):
            x.step()


def test_waiting_too_long_says_for_what() -> None:
    lowered = lower(plan_of("mlp"), "worker", Platform.CUDA)
    x = GpuExecutor(lowered, RANK, stage=stage_of(lowered), batch=BATCH, peer_timeout=0.05)  # a stage that was not started
    with pytest.raises(StepFailed, match=r"step 0: nothing could go on for 0.05 s, waiting at its batch"):
        x.step()


class Capturing(Simulator):
    """Captures a step as the calls that made it up, and plays them again."""

    can_capture = True

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.captures, self.launches, self.refuses = 0, 0, refuses

    def captured(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        if self.refuses:
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        self.captures += 1

        def launch() -> None:
            self.launches += 1
            work()

        return launch


def test_a_step_is_captured_once_for_each_place_of_its_batches() -> None:
    plan, on, board = plan_of("mlp"), Capturing(), LocalBoard(7, 1)
    with made(plan) as plain, made(plan, on=on) as x:
        want = [plain.step() for _ in range(7)]
        x.play(0, 7, board=board.board)
        assert board.losses[:, 0].tolist() == want
        assert (on.captures, on.launches, x.why_not_captured) == (2, 6, "")


def test_why_a_step_is_not_captured() -> None:
    plan = plan_of("mlp")
    for options, why in (
        ({}, "simulator captures nothing"),
        ({"captures": False}, "it is switched off"),
        ({"on": Capturing(), "is_careful": True}, "every action is waited for"),
    ):
        with made(plan, **options) as x:
            assert x.why_not_captured == why
    with made(plan, on=Capturing(refuses=True)) as x, made(plan) as plain:
        assert [x.step() for _ in range(3)] == [plain.step() for _ in range(3)]
        assert x.why_not_captured == "a step could not be captured: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"


def test_memory_is_that_of_the_arena() -> None:
    with made(plan_of("mlp"), on=Simulator()) as x:
        assert x.meter().grown == -(-x.arena_nbytes // GPU_PAGE) * GPU_PAGE


def test_accuracy_is_that_of_a_core() -> None:
    _, held_out = load(Source(held_out=0.01), (64,), 10)
    net = MODELS["mlp"].build(BATCH, image=(64,), classes=10, width=0.1, seed=4)
    values = init_parameters(training_graph(net, Sgd(learning_rate=0.1)), 1)
    forward = [lower_forward(net, Sgd(learning_rate=0.1), platform, {}) for platform in ("cpu", "cuda")]
    core, gpu = (Evaluator(lowered).logits(values, held_out) for lowered in forward)
    assert np.allclose(core, gpu, rtol=1e-4, atol=1e-6)


def test_a_model_without_kernels_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(bound, "CUDA_KERNELS", {n: k for n, k in CUDA_KERNELS.items() if n != "cuda.matmul"})
    with pytest.raises(MissingCapability, match=r"no CUDA kernel for matmul \(in fc1, .*--device cpu"):
        GpuExecutor(lower(plan_of("mlp"), "worker", Platform.CUDA), RANK)
