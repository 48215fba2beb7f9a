"""Optimizers, as descriptions: what state a parameter needs, which operator makes the step. See `graph.ops.update`."""

from collections.abc import Sequence
from typing import Any, Protocol

from graph.errors import GraphError
from graph.op import Evaluator
from graph.record import record


class Optimizer(Protocol):
    """What `graph.autodiff.training_graph` asks of an optimizer."""

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the values kept for each parameter, of its type and zero at first, e.g. ``("momentum",)``."""
        ...

    def apply(self, ev: Evaluator[Any], parameter: Any, gradient: Any, states: Sequence[Any]) -> tuple[Any, ...]:
        """One step: (new parameter, new state, ...)."""
        ...


@record
class Sgd:
    """Stochastic gradient descent with heavy-ball momentum and L2 weight decay: see `graph.ops.update`.

    Parameters
    ----------
    learning_rate : step size, > 0.
    momentum : in [0, 1).
    weight_decay : >= 0.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise GraphError(f"learning_rate must be > 0, got {self.learning_rate}")
        if not 0 <= self.momentum < 1:
            raise GraphError(f"momentum must lie in [0, 1), got {self.momentum}")
        if not self.weight_decay >= 0:
            raise GraphError(f"weight_decay must be >= 0, got {self.weight_decay}")

    @property
    def states(self) -> tuple[str, ...]:
        return ("momentum",)

    def apply(self, ev: Evaluator[Any], parameter: Any, gradient: Any, states: Sequence[Any]) -> tuple[Any, ...]:
        return ev.apply(
            "sgd",
            (parameter, gradient, *states),
            learning_rate=float(self.learning_rate),
            momentum=float(self.momentum),
            weight_decay=float(self.weight_decay),
        )
