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
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from runtime.data.dataset import Dataset
from runtime.executor import Executor
from runtime.native import call, native

RANK = Rank("worker", (0,))


def lower_forward(graph: Graph, optimizer: Optimizer, platform: str, algorithms: Mapping[str, str]) -> Lowered:
    """The forward pass of a model (or of its training graph), lowered: dropout is off, running statistics are used."""
    plan = inference(graph, optimizer, ranks=1, steps=1)
    return lower(plan, RANK.role, Platform(platform), algorithms=algorithms)


@native
def run_calls(functions: npt.NDArray[np.int64], arguments: npt.NDArray[np.int64]) -> None:
    """Call kernels one after another."""
    for k in range(functions.size):
        call(functions[k], arguments[k])


class Evaluator:
    """Tells how often a model is right.

    Parameters
    ----------
    lowered : what `lower_forward` made.
    """

    def __init__(self, lowered: Lowered) -> None:
        self._lowered = lowered

    @cached_property
    def _executor(self) -> Executor:
        made = Executor(self._lowered, RANK)
        made.touch()
        return made

    def accuracy(self, values: Mapping[str, npt.NDArray[Any]], data: Dataset) -> float:
        """Fraction of samples whose largest logit is that of their label.

        Parameters
        ----------
        values : whole parameters and state, by name; those that the forward pass does not read are passed over.
        data : the samples.
        """
        executor, graph = self._executor, self._lowered.graph
        executor.load({v.name: values[v.name] for kind in (Kind.PARAMETER, Kind.STATE) for v in graph.of_kind(kind)})
        x, logits = executor.array("x"), graph.outputs["logits"]
        size, right = len(x), 0
        pixels = data.images.reshape(len(data), -1)
        for first in range(0, len(data), size):
            which = np.arange(first, first + size) % len(data)
            x.reshape(size, -1)[...] = pixels[which] * np.float32(data.scale)
            run_calls(executor.table.function, executor.table.argument)
            found = executor.array(logits).argmax(axis=-1)[: len(data) - first]
            right += int((found == data.labels[which][: len(found)]).sum())
        return right / len(data)
