"""The executor against the interpreter: same numbers from the arena as from NumPy; and a step that allocates nothing."""

import ctypes
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.interpret import run as interpret
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from runtime.data.dataset import load
from runtime.data.stage import InputStage
from runtime.errors import DataError, InvalidJob, StepFailed
from runtime.evaluate import Evaluator, lower_forward
from runtime.executor import Executor, data_layout
from runtime.job import Source
from runtime.measure import anonymous_bytes

BATCH = 16
RANK = Rank("worker", (0,))


def graph_of(model: str, micro_batches: int = 1, dropout: float = 0.3) -> Graph:
    image, width = ((64,), 0.25) if model == "mlp" else ((8, 8, 1), 0.5)
    net = MODELS[model].build(
        BATCH // micro_batches, image=image, classes=10, width=width, dropout=dropout, denominator=BATCH, seed=4
    )
    return training_graph(net, Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-3))


def lowered_of(graph: Graph, micro_batches: int = 1) -> Lowered:
    plan = data_parallel(graph, ranks=1, steps=1, micro_batches=micro_batches, bucket_bytes=8192)
    return lower(plan, "worker", Platform.CPU)


def stage_of(lowered: Lowered, micro_batches: int = 1, seed: int = 0) -> InputStage:
    data, _ = load(Source(), lowered.graph.type_of("x").shape[1:], 10)
    offsets, nbytes = data_layout(lowered)
    return InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, micro_batches=micro_batches, seed=seed)


@pytest.fixture
def lenet() -> Iterator[Executor]:
    lowered = lowered_of(graph_of("lenet"))
    with stage_of(lowered) as stage:
        executor = Executor(lowered, RANK, stage=stage, batch=BATCH)
        executor.touch()
        executor.load(init_parameters(lowered.graph, 0))
        yield executor


@pytest.mark.parametrize("model", ["mlp", "lenet"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_steps_equal_the_interpreter(model: str, micro_batches: int) -> None:
    graph = graph_of(model, micro_batches)
    lowered = lowered_of(graph, micro_batches)
    state = init_parameters(graph, 0)
    with stage_of(lowered, micro_batches) as stage, stage_of(lowered, micro_batches) as again:
        executor = Executor(lowered, RANK, stage=stage, batch=BATCH)
        executor.touch()
        executor.load(state)
        feeds = {**{n: np.zeros_like(a) for n, a in executor.persistent().items()}, **state}
        for step in range(3):
            losses, sums = [], {}
            for m in range(micro_batches):
                x, labels = again.take()
                given = {"x": x.reshape(graph.type_of("x").shape), "labels": labels, "step": np.int64(step)}
                given["sample"] = np.int64(m * BATCH // micro_batches)
                found = interpret(graph, {**feeds, **{k: np.asarray(v) for k, v in given.items()}})
                losses.append(float(found[graph.outputs["loss"]]))
                for role, name in graph.outputs.items():
                    if role.startswith("grad:"):
                        sums[role[5:]] = sums.get(role[5:], 0) + found[name]
            assert executor.step() == pytest.approx(sum(losses), rel=2e-5)
            for p, g in sums.items():
                feeds[f"{p}.momentum"] = (0.9 * feeds[f"{p}.momentum"] + (g + 1e-3 * feeds[p])).astype(np.float32)
                feeds[p] = (feeds[p] - 0.1 * feeds[f"{p}.momentum"]).astype(np.float32)
                assert np.allclose(executor.array(p), feeds[p], rtol=1e-4, atol=1e-5), p


def lone(executor: Executor) -> None:
    """Some steps, then the input stage ends: the ring holds enough batches, and only the step is left to allocate anything."""
    for _ in range(3):
        executor.step()
    assert executor.stage is not None
    executor.stage.wait_until_full()
    executor.stage.stop()


def test_a_step_allocates_nothing_in_python(lenet: Executor) -> None:
    lone(lenet)
    tracemalloc.start()
    try:
        lenet.step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            lenet.step()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 1000  # the last results of the interpreter's own bookkeeping, not 50 of anything


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (n, ctypes.c_size_t)
        for n in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def test_a_step_allocates_nothing_in_native_code(lenet: Executor) -> None:
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("the C library has no mallinfo2")
    mallinfo.restype = _Mallinfo
    lone(lenet)
    lenet.step()

    def in_use() -> int:
        m = mallinfo()
        return int(m.uordblks + m.hblkhd)

    anonymous_bytes()  # the first reading has its own files and buffers
    resident, before = anonymous_bytes(), in_use()
    for _ in range(50):
        lenet.step()
    assert in_use() - before < 4096
    assert anonymous_bytes() - resident < 16 << 10


def test_looking_into_the_arena(lenet: Executor) -> None:
    lenet.step()
    assert lenet.array("conv1.weight").shape == lenet.lowered.graph.type_of("conv1.weight").shape
    assert np.abs(lenet.array("conv1.weight.momentum")).max() > 0
    assert lenet.array("x").max() == 1.0  # pixels of 16, scaled
    assert set(lenet.persistent()) == set(init_parameters(lenet.lowered.graph, 0))
    bucket = lenet.lowered.plan.role["worker"].buffers["w.b0"]
    assert lenet.buffer("w.b0").size == bucket.size
    with pytest.raises(InvalidJob, match="no value 'nothing' in the arena"):
        lenet.array("nothing")


def test_a_dead_stage_is_told() -> None:
    lowered = lowered_of(graph_of("mlp"))

    def broken(n: int, seed: int, epoch: int) -> np.ndarray:
        raise OSError("no such tape")

    data, _ = load(Source(), (64,), 10)
    offsets, nbytes = data_layout(lowered)
    with InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, order=broken) as stage:
        executor = Executor(lowered, RANK, stage=stage, batch=BATCH)
        executor.touch()
        with pytest.raises(DataError, match="the input stage failed: OSError: no such tape"):
            executor.step()


def test_a_step_without_input_times_out_by_name() -> None:
    lowered = lowered_of(graph_of("mlp"))
    data, _ = load(Source(), (64,), 10)
    offsets, nbytes = data_layout(lowered)
    stage = InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH)  # never started
    executor = Executor(lowered, RANK, stage=stage, batch=BATCH, peer_timeout=0.05)
    executor.touch()
    with pytest.raises(StepFailed, match=r"worker\[0\]: step 0: nothing could go on for 0.05 s, waiting at 0/input/0"):
        executor.step()


def test_accuracy_is_that_of_the_net_without_dropout(lenet: Executor) -> None:
    _, held_out = load(Source(), (8, 8, 1), 10)
    for _ in range(30):
        lenet.step()
    evaluator = Evaluator(lower_forward(lenet.lowered.graph, Sgd(learning_rate=0.1), "cpu", {}))
    found = evaluator.accuracy(lenet.persistent(), held_out)
    plain = graph_of("lenet", dropout=0.0)
    feeds = {n: lenet.array(n).copy() for n in lenet.persistent()}
    right = 0
    for first in range(0, len(held_out) - BATCH + 1, BATCH):
        x = held_out.images[first : first + BATCH] * np.float32(held_out.scale)
        labels = held_out.labels[first : first + BATCH]
        logits = interpret(plain, {**feeds, "x": x.astype(np.float32), "labels": labels})[plain.outputs["logits"]]
        right += int((logits.argmax(axis=-1) == labels).sum())
    assert abs(found * len(held_out) - right) <= len(held_out) % BATCH + 1
    assert evaluator.accuracy(lenet.persistent(), held_out) == found  # testing changes nothing
