"""The nets whose steps are timed and predicted, and a step of ours: the executor of a worker, alone in its process."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Kind
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies import STRATEGIES
from graph.record import record
from graph.zoo import MODELS
from hw.kernels import Platform, chosen
from hw.lower import lower
from hw.lowered import Lowered
from runtime.cuda.executor import GpuExecutor
from runtime.executor import LocalBoard, data_layout
from runtime.kernels.cuda.kernel import SIMULATED

Array = npt.NDArray[Any]
RANK = Rank("worker", (0,))
RATE, MOMENTUM, DECAY = 1e-4, 0.9, 1e-4
BUCKET = 64 << 20
"""Bytes of a bucket of gradients: PyTorch's optimizer is one call over all parameters, and ours hardly more."""


@record
class Case:
    """A net with a batch.

    Parameters
    ----------
    net : of the zoo.
    batch : images.
    algorithm : of its matrix products and convolutions; ``""``: f32.
    tiny : as small as the simulator needs.
    """

    net: str
    batch: int
    algorithm: str = ""
    tiny: bool = False

    def __str__(self) -> str:
        return f"{self.net} {self.batch} {self.algorithm or 'f32'}"

    @property
    def options(self) -> dict[str, Any]:
        """Of `graph.zoo.model.Model.build`."""
        model = MODELS[self.net]
        if self.tiny:
            return {"image": (2, 2, 1), "classes": 3, "width": 0.05, "depth": 0}
        return {"image": model.image, "classes": model.classes}


BATCHES = {"mlp": (64, 256, 1024), "lenet": (64, 256, 1024), "alexnet-owt": (64, 128, 256), "resnet50": (16, 32, 64)}
"""Net -> the three batches whose steps are predicted."""


def f32_cases(simulated: bool) -> list[Case]:
    """Every net with every batch, in f32."""
    if simulated:
        return [Case(net="mlp", batch=b, tiny=True) for b in (2, 3, 4)]
    return [Case(net=net, batch=b) for net, batches in BATCHES.items() for b in batches]


@lru_cache(maxsize=4)
def lowered_of(case: Case) -> Lowered:
    """The training step of one rank."""
    net = MODELS[case.net].build(case.batch, **case.options)
    sgd = Sgd(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    plan = STRATEGIES["data_parallel"](net, sgd, ranks=1, steps=1, bucket_bytes=BUCKET)
    return lower(plan, RANK.role, Platform.CUDA, algorithms=chosen(case.algorithm or None, Platform.CUDA))


class OneBatch:
    """An input stage whose only batch is always there."""

    def __init__(self, x: Array, labels: Array, lowered: Lowered) -> None:
        offsets, nbytes = data_layout(lowered)
        self._slot = np.zeros(nbytes, np.uint8)
        for name, a in (("x", x), ("labels", labels)):
            self._slot[offsets[name] : offsets[name] + a.nbytes] = np.frombuffer(a.tobytes(), np.uint8)

    def look(self) -> npt.NDArray[np.uint8]:
        return self._slot

    def give_back(self) -> None:
        """It stays."""


class OurStep:
    """A training on the GPU, step by step.

    Parameters
    ----------
    case : of what.
    lowered : what is run; by default that of `lowered_of`.
    initial : what parameters and state begin with; None: the arena's zeros.
    """

    def __init__(self, case: Case, *, lowered: Lowered | None = None, initial: Mapping[str, Array] | None = None) -> None:
        self.lowered = lowered or lowered_of(case)
        graph, rng = self.lowered.graph, np.random.default_rng(0)
        self.x = rng.random(graph.type_of("x").shape, np.float32)
        self.labels = rng.integers(0, case.options["classes"], case.batch)
        self.parameters = [v.name for v in graph.of_kind(Kind.PARAMETER)]
        stage: Any = OneBatch(self.x, self.labels, self.lowered)
        self.executor = GpuExecutor(self.lowered, RANK, stage=stage, batch=case.batch)
        self.executor.touch()
        if initial is not None:
            self.executor.load(initial)

    def first_step(self) -> tuple[float, Iterator[tuple[str, Array]]]:
        """The first step's loss, and the momentum after it: the gradient with weight decay, as it was zero before."""
        loss = self.executor.step()
        return loss, ((p, self.executor.array(f"{p}.momentum")) for p in self.parameters)

    def steps(self, count: int) -> npt.NDArray[np.int64]:
        """Do so many; returns when each ended, in nanoseconds."""
        first = self.executor.next_step
        board = LocalBoard(count, self.executor.table.losses)
        self.executor.play(first, first + count, board=board.board, origin=first)
        return board.ends


def compile_steps(cases: list[Case]) -> None:
    """Compile the kernels of these steps."""
    from benchmarks.gpu.bound import compile_calls
    from hw.model import INPUT
    from runtime.cuda.arena import outputs_of

    if SIMULATED:
        return
    for case in cases:
        segments = lowered_of(case).segments
        compile_calls((call, outputs_of(call)) for name, calls in segments.items() if name != INPUT for call in calls)
