"""Calibration of a GPU that is made up: fitted on the grid of sizes, it predicts the products of whole steps that it never saw.

Its rules are not those of the terms: blocks of a multiprocessor share its arithmetic, wait for their own steps when they are few,
and what is computed and what is read from memory go on at the same time.
"""

import math

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.op import Size
from graph.optimizer import Sgd
from graph.parallel.strategies.data_parallel import data_parallel
from graph.tensor_type import DType
from graph.zoo import MODELS
from hw.cost.calibrated import fit, predict
from hw.kernels import KERNELS
from hw.kernels.cuda_terms import PRODUCTS
from hw.kernels.record import Call, Platform
from hw.lower import lower
from runtime.calibration import call_of
from runtime.kernels.cuda.kernel import Launch, Place
from runtime.kernels.cuda.run import launches_of

PROCESSORS, THREADS = 132, 512
FMA_PER_SECOND = 128 * 1.7e9  # of a multiprocessor
BYTES_PER_SECOND = 3.6e12
LAUNCH_SECONDS, ROUND_SECONDS = 2.2e-6, 1.2e-6
NOISE = 0.01


def _product_seconds(launch: Launch) -> float:
    """Of a product's blocks: as many as fit stand on a multiprocessor at once, then the next ones."""
    _, _, k, chunk, *_ = launch.arguments[4]  # type: ignore[misc]
    side, slots = int(launch.kernel.name.split("_")[2].split("x")[0]), THREADS // launch.kernel.threads
    step = side * side / FMA_PER_SECOND * (1.0 if "4_" in launch.kernel.name else 1.6)
    wait = step * (1.35 if side == 128 else 2.6)
    full, last = divmod(math.ceil(math.prod(launch.grid) / PROCESSORS), slots)
    seconds = full * max(wait, slots * step) + (max(wait, last * step) if last else 0.0)
    return min(k, chunk) * seconds + (full + bool(last)) * ROUND_SECONDS  # type: ignore[no-any-return,type-var]


def seconds(call: Call) -> float:
    """Of a call."""
    record = KERNELS[call.kernel]
    made, outputs = call_of(record, Size(types=call.types, attrs=call.attrs))
    sizes = [*((t.dtype, t.size) for t in (*made.types, *outputs)), (DType.U8, made.workspace)]
    found = launches_of(made, [Place(index=i, address=0, dtype=d, size=n) for i, (d, n) in enumerate(sizes)])
    compute = sum(_product_seconds(launch) for launch in found if launch.kernel.name.startswith("gemm"))
    memory = record.terms(call.types, call.attrs)["bytes"] / BYTES_PER_SECOND
    return len(found) * LAUNCH_SECONDS + (compute**4 + memory**4) ** 0.25


@pytest.fixture(scope="module")
def fitted() -> dict[str, dict[str, float]]:
    """Record -> seconds of each of its terms."""
    rng, found = np.random.default_rng(7), {}
    for record in (KERNELS[f"cuda.{op}"] for op in PRODUCTS):
        calls = [call_of(record, s)[0] for s in record.sizes()]
        measured = [seconds(c) * float(rng.normal(1, NOISE)) for c in calls]
        made = fit([record.terms(c.types, c.attrs) for c in calls], measured)
        assert made.record.spread < 0.07, record.name
        found[record.name] = dict(made.coefficients)
    return found


@pytest.mark.parametrize(("model", "batch"), [("lenet", 64), ("alexnet", 32), ("alexnet", 128), ("resnet50", 64)])
def test_products_of_steps_are_predicted(fitted: dict[str, dict[str, float]], model: str, batch: int) -> None:
    graph = training_graph(MODELS[model].build(batch, image=MODELS[model].image), Sgd(learning_rate=0.1, momentum=0.9))
    plan = data_parallel(graph, ranks=1, steps=1, micro_batches=1, bucket_bytes=1 << 22)
    calls = [c for c in lower(plan, "worker", Platform.CUDA).calls if c.kernel in fitted]
    predicted = sum(predict(KERNELS[c.kernel].terms(c.types, c.attrs), fitted[c.kernel]) for c in calls)
    assert predicted == pytest.approx(sum(map(seconds, calls)), rel=0.05)
