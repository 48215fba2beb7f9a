"""Every net of the zoo, in its tiny version, on the real kernels: a step as the interpreter does it, and a loss that falls."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.interpret import run as interpret
from graph.ir import Graph, Kind
from graph.op import Array
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.text import to_text
from graph.zoo import MODELS, NETS
from hw.kernels.record import Platform
from hw.lower import lower
from runtime import checkpoint
from runtime.data.dataset import Dataset
from runtime.data.stage import InputStage
from runtime.dist.launch import run
from runtime.evaluate import Evaluator, lower_forward
from runtime.executor import Executor, data_layout
from runtime.job import Block, Checkpoints, Job

BATCH, CLASSES = 16, 10
OPTIMIZER = Sgd(learning_rate=0.01, momentum=0.9, weight_decay=1e-4)


def model_of(name: str) -> Graph:
    return MODELS[name].build(BATCH, **{**MODELS[name].tiny, "classes": CLASSES})


def graph_of(name: str) -> Graph:
    return training_graph(model_of(name), OPTIMIZER)


def patterns(graph: Graph) -> Dataset:
    """Four samples of each class: its pattern, and noise."""
    rng = np.random.default_rng(0)
    shape = graph.type_of("x").shape[1:]
    labels = np.tile(np.arange(CLASSES), 4)
    images = rng.uniform(0, 200, (CLASSES, *shape))[labels] + rng.uniform(0, 55, (labels.size, *shape))
    return Dataset(name="patterns", images=images.astype(np.uint8), labels=labels, classes=CLASSES, scale=1 / 255)


@contextmanager
def executor_of(graph: Graph, data: Dataset) -> Iterator[Executor]:
    plan = data_parallel(graph, ranks=1, steps=1, micro_batches=1, bucket_bytes=8192)
    lowered = lower(plan, "worker", Platform.CPU)
    offsets, nbytes = data_layout(lowered)
    with InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, micro_batches=1, seed=0) as stage:
        executor = Executor(lowered, Rank("worker", (0,)), stage=stage, batch=BATCH)
        executor.touch()
        executor.load(init_parameters(graph, 0))
        yield executor


def after_a_step(graph: Graph, executor: Executor) -> Mapping[str, Array]:
    """Loss, parameters and state as the interpreter makes them of the batch that the executor has just used."""
    feeds: dict[str, Any] = {s.name: np.zeros(s.type.shape, np.float32) for s in graph.of_kind(Kind.STATE)}
    feeds |= init_parameters(graph, 0)
    feeds |= {v.name: executor.array(v.name).copy() for v in graph.of_kind(Kind.DATA)}
    found = interpret(graph, feeds)
    return {"loss": found[graph.outputs["loss"]], **{old: found[new] for old, new in graph.updates.items()}}


@pytest.mark.parametrize("model", NETS)
def test_a_step_is_that_of_the_interpreter(model: str) -> None:
    graph = graph_of(model)
    with executor_of(graph, patterns(graph)) as executor:
        loss = executor.step()
        want = after_a_step(graph, executor)
        assert loss == pytest.approx(float(want["loss"]), rel=1e-4)
        for name in graph.updates:
            scale = float(np.abs(want[name]).max())
            np.testing.assert_allclose(executor.array(name), want[name], rtol=0, atol=2e-3 * scale + 1e-6, err_msg=name)


@pytest.mark.parametrize("model", NETS)
def test_a_tiny_net_learns(model: str) -> None:
    """To nothing in 240 steps; and tested with running statistics and without neighbours, where it has those, it is right."""
    graph = graph_of(model)
    data = patterns(graph)
    with executor_of(graph, data) as executor:
        losses = [executor.step() for _ in range(240)]
        assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:5])
        held = {name: a.copy() for name, a in executor.persistent().items()}
    evaluator = Evaluator(lower_forward(model_of(model), OPTIMIZER, "cpu", {}))
    assert evaluator.accuracy(held, data) > 0.9


@pytest.mark.xdist_group("processes")
def test_two_workers_equal_one_with_two_micro_batches_bit_for_bit(tmp_path: Path) -> None:
    """Batch normalization sees the same 16 samples either way.

    Running statistics are left out: they are a worker's own, of its last micro-batch, so one worker keeps those of the second
    half of a batch, and the first of two workers those of the first half.
    """
    found = []
    for ranks, micro_batches in ((1, 2), (2, 1)):
        net = MODELS["resnet50"].build(BATCH, **{**MODELS["resnet50"].tiny, "image": (8, 8, 1)}, denominator=2 * BATCH)
        params = {"ranks": ranks, "micro_batches": micro_batches, "steps": 6, "bucket_bytes": 1 << 14}
        rest = {"folder": str(tmp_path / f"{ranks}"), "checkpoints": Checkpoints(), "evaluate": False}
        optimizer = {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
        job = Job(model=to_text(net), optimizer=optimizer, params=params, batch=2 * BATCH, blocks=(Block(steps=6),), **rest)
        result = run(job)
        assert result.checkpoint is not None
        values = checkpoint.load(result.checkpoint).values
        found.append((result.losses, {n: a.tobytes() for n, a in values.items() if not n.endswith((".mean", ".variance"))}))
        assert any(n.endswith(".variance") for n in values)
    assert found[0] == found[1]
