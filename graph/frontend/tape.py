"""The imperative front end: operators run at once, and the tape remembers them.

A `Tape` runs on any eager evaluator: NumPy by default, an executor of `runtime` when it has one to give. Gradients re-enter the
same evaluator through the operators' `vjp`, the rules that the symbolic front end uses, so both compute the same bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, cast, overload

from graph.autodiff import gradients
from graph.errors import GraphError
from graph.interpret import NumpyEvaluator, Tensor
from graph.op import OPS, Applied, Array, Attr, Evaluator, V
from graph.tensor_type import TensorType


class EagerEvaluator(Evaluator[V], Protocol[V]):
    """An evaluator that runs operators when they are applied, and can take and give arrays."""

    def value(self, array: Array) -> V:
        """A value that holds this array."""
        ...

    def array(self, value: V) -> Array:
        """The array that a value holds."""
        ...


class Tape(Generic[V]):
    """Runs operators and records them. Itself an `EagerEvaluator`: a `vjp` may be recorded in turn.

    Parameters
    ----------
    evaluator : runs the operators; NumPy when absent.
    """

    @overload
    def __init__(self: "Tape[Tensor]", evaluator: None = None) -> None: ...
    @overload
    def __init__(self, evaluator: EagerEvaluator[V]) -> None: ...
    def __init__(self, evaluator: EagerEvaluator[V] | None = None) -> None:
        self.evaluator = cast(EagerEvaluator[V], NumpyEvaluator()) if evaluator is None else evaluator
        self.trail: list[Applied[V]] = []
        self._layer = ""

    def value(self, array: Array) -> V:
        """A value that holds this array."""
        return self.evaluator.value(array)

    def array(self, value: V) -> Array:
        """The array that a value holds."""
        return self.evaluator.array(value)

    def apply(self, op: str, values: Sequence[V], **attrs: Attr) -> tuple[V, ...]:
        """Run an operator and remember it; raises what the evaluator raises."""
        outputs = self.evaluator.apply(op, values, **attrs)
        known = OPS[op]
        self.trail.append(
            Applied(op=known, inputs=tuple(values), outputs=outputs, attrs=known.complete(attrs), layer=self._layer)
        )
        return outputs

    def type_of(self, value: V) -> TensorType:
        return self.evaluator.type_of(value)

    @contextmanager
    def scope(self, layer: str, phase: str) -> Iterator[None]:
        """What is applied inside belongs to this layer."""
        before, self._layer = self._layer, layer
        try:
            with self.evaluator.scope(layer, phase):
                yield
        finally:
            self._layer = before

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """What is applied inside belongs to the forward phase of this layer."""
        with self.scope(name, "forward"):
            yield

    def gradients(self, loss: V, wrt: Sequence[V]) -> tuple[V, ...]:
        """Gradients of a scalar, in the order of `wrt`; run by the evaluator, not recorded.

        Raises `GraphError` when a value does not influence the loss, or an operator on the way is not differentiable.
        """
        found = gradients(self.evaluator, self.trail, loss, wrt)
        missing = [k for k, v in enumerate(wrt) if v not in found]
        if missing:
            raise GraphError(f"values {missing} of those asked for do not influence the loss, as recorded on this tape")
        return tuple(found[v] for v in wrt)
