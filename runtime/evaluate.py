"""Accuracy: the model's forward pass with whole parameters on one rank, whatever the strategy.

It has an arena of its own, so the training's is not touched.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Graph, Kind
from graph.optimizer import Optimizer
from graph.parallel.plan import Rank
from graph.parallel.strategies.inference import inference
from graph.passes.fixed_point import fixed_values
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from runtime.data.dataset import Dataset
from runtime.executors import AnyExecutor, executor_of

RANK = Rank("worker", (0,))


def lower_forward(
    graph: Graph, optimizer: Optimizer, platform: str, algorithms: Mapping[str, str], numerics: Mapping[str, Any] | None = None
) -> Lowered:
    """The forward pass of a model (or of its training graph), lowered: dropout is off, running statistics are used.

    `numerics` are options of `graph.parallel.strategies.inference`: in which fixed-point words it computes; None: in floats.
    """
    plan = inference(graph, optimizer, ranks=1, steps=1, **(numerics or {}))
    return lower(plan, RANK.role, Platform(platform), algorithms=algorithms)


class Evaluator:
    """Tells how often a model is right.

    Parameters
    ----------
    lowered : what `lower_forward` made.
    """

    def __init__(self, lowered: Lowered) -> None:
        self._lowered = lowered

    @property
    def graph(self) -> Graph:
        """The forward pass."""
        return self._lowered.graph

    @cached_property
    def _executor(self) -> AnyExecutor:
        made = executor_of(self._lowered, RANK)
        made.touch()
        return made

    def accuracy(self, values: Mapping[str, npt.NDArray[Any]], data: Dataset) -> float:
        """Fraction of samples whose largest logit is that of their label.

        Parameters
        ----------
        values : whole parameters and state, by name; those that the forward pass does not read are passed over.
        data : the samples.
        """
        return float((self.logits(values, data).argmax(axis=-1) == data.labels).mean())

    def logits(self, values: Mapping[str, npt.NDArray[Any]], data: Dataset) -> npt.NDArray[np.float32]:
        """Logits of all samples, f32 [samples, classes]; parameters as of `accuracy`, in floats also where words are read."""
        executor, graph = self._executor, self._lowered.graph
        held = fixed_values(graph, values)
        executor.load({v.name: held[v.name] for kind in (Kind.PARAMETER, Kind.STATE) for v in graph.of_kind(kind)})
        shape, logits = graph.type_of("x").shape, graph.outputs["logits"]
        size, parts = shape[0], []
        pixels = data.images.reshape(len(data), -1)
        for first in range(0, len(data), size):
            which = np.arange(first, first + size) % len(data)
            executor.load({"x": (pixels[which] * np.float32(data.scale)).reshape(shape)})
            executor.compute()
            parts.append(executor.array(logits)[: len(data) - first].copy())
        return np.concatenate(parts)
