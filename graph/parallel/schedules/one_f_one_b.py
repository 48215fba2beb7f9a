"""1F1B: a stage runs ahead by as many forwards as stages follow it, then alternates; it keeps no more activations than that.

The bubble is that of GPipe, the memory is not. Source: Narayanan et al., "Efficient large-scale language model training on GPU
clusters using Megatron-LM", SC 2021, section 2.2.1 (PipeDream-Flush).
"""

from collections.abc import Iterator

from graph.parallel.schedules.schedule import Schedule


def order(stage: int, stages: int, micro_batches: int) -> Iterator[tuple[str, int]]:
    """Warm-up forwards, pairs of one forward and one backward, the backwards that are left."""
    ahead = min(stages - stage - 1, micro_batches)
    for m in range(micro_batches + ahead):
        if m < micro_batches:
            yield "forward", m
        if m >= ahead:
            yield "backward", m - ahead


ONE_F_ONE_B = Schedule(
    order=order,
    kept=lambda stage, stages, micro_batches: min(stages - stage, micro_batches),
    bubble=lambda stages, micro_batches: (stages - 1) / (micro_batches + stages - 1),
)
