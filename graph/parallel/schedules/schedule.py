"""What a pipeline schedule is: the order of work on a stage, and the formulas it must keep."""

from collections.abc import Callable, Iterator

from graph.record import record


@record
class Schedule:
    """A pipeline schedule. All functions count stages and micro-batches from 0.

    Parameters
    ----------
    order : (stage, stages, micro-batches) -> ``("forward" | "backward", micro-batch)``, in the order of the stage.
    kept : (stage, stages, micro-batches) -> activations of micro-batches that the stage holds at once.
    bubble : (stages, micro-batches) -> idle fraction of a step when every stage takes the same time and messages take none.
    """

    order: Callable[[int, int, int], Iterator[tuple[str, int]]]
    kept: Callable[[int, int, int], int]
    bubble: Callable[[int, int], float]
