"""The graph of a scenario's model, from the zoo."""

from functools import lru_cache
from typing import TYPE_CHECKING

from trainscape.scenario import ModelPart

if TYPE_CHECKING:
    from graph.ir import Graph


@lru_cache(maxsize=16)
def model_graph(model: ModelPart, *, batch: int, seed: int) -> "Graph":
    """The forward graph of a micro-batch of `batch` samples; the loss is divided by the whole batch.

    Raises `graph.errors.GraphError` when the options cannot be met, e.g. an image too small for the depth.
    """
    from graph.zoo import MODELS

    return MODELS[model.name].build(
        batch,
        image=model.input,
        classes=model.classes,
        width=model.width,
        depth=model.depth,
        activation=model.activation.value,
        dropout=model.dropout,
        denominator=model.batch,
        seed=seed,
    )
