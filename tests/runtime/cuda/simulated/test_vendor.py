"""A plan whose products and convolutions are calls of libraries, played on a simulated GPU by their doubles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.zoo import MODELS
from hw.kernels import KERNELS, chosen
from hw.kernels.record import VENDOR, Call, Platform
from hw.lower import lower
from runtime.cuda import bound
from runtime.cuda.executor import GpuExecutor
from runtime.data.dataset import load
from runtime.data.stage import InputStage
from runtime.executor import Executor, data_layout
from runtime.job import Source
from runtime.kernels.cuda.kernel import Place
from runtime.kernels.cuda.run import launches_of

BATCH, RANK = 4, Rank("worker", (0,))


@pytest.mark.usefixtures("references")
def test_steps_equal_those_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    others = bound.launches_of

    def launches(call: Call, places: Sequence[Place]) -> Any:
        return (launches_of if call.kernel.endswith(VENDOR) else others)(call, places)

    monkeypatch.setattr(bound, "launches_of", launches)
    net = MODELS["lenet"].build(BATCH, image=(8, 8, 1), classes=10, width=0.3, denominator=BATCH, seed=4)
    plan = data_parallel(training_graph(net, Sgd(learning_rate=0.1)), ranks=1, steps=1, micro_batches=1, bucket_bytes=1024)
    losses: dict[Platform, list[float]] = {}
    values: dict[Platform, dict[str, Any]] = {}
    for platform, make in ((Platform.CPU, Executor), (Platform.CUDA, GpuExecutor)):
        asked = chosen(VENDOR, platform)
        low = lower(plan, "worker", platform, algorithms=asked)
        assert {KERNELS[c.kernel].op for c in low.calls if c.kernel.endswith(VENDOR)} == set(asked)
        data, _ = load(Source(), low.graph.type_of("x").shape[1:], 10)
        offsets, nbytes = data_layout(low)
        with InputStage(data, offsets=offsets, nbytes=nbytes, batch=BATCH, micro_batches=1, seed=3) as stage:
            x: Any = make(low, RANK, stage=stage, batch=BATCH)
            x.touch()
            x.load(init_parameters(low.graph, 0))
            losses[platform], values[platform] = [x.step() for _ in range(2)], x.persistent()
    assert losses[Platform.CUDA] == pytest.approx(losses[Platform.CPU], rel=1e-5)
    for name, a in values[Platform.CPU].items():
        assert np.allclose(values[Platform.CUDA][name], a, rtol=1e-4, atol=1e-6), name
