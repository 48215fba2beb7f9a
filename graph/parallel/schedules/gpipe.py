"""GPipe: all forwards, then all backwards; every stage keeps the activations of every micro-batch.

Source: Huang et al., "GPipe: efficient training of giant neural networks using pipeline parallelism", NeurIPS 2019, section 2.3.
"""

from collections.abc import Iterator

from graph.parallel.schedules.schedule import Schedule


def order(stage: int, stages: int, micro_batches: int) -> Iterator[tuple[str, int]]:
    """The same on every stage."""
    yield from (("forward", m) for m in range(micro_batches))
    yield from (("backward", m) for m in range(micro_batches))


GPIPE = Schedule(
    order=order,
    kept=lambda stage, stages, micro_batches: micro_batches,
    bubble=lambda stages, micro_batches: (stages - 1) / (micro_batches + stages - 1),
)
