"""Layer-wise model parallelism: consecutive layers on each rank, activations sent forward and gradients back.

The training graph of the whole model is cut at borders between layers. Layers without parameters stay with the one before them,
and the runs are chosen so that the largest has as little arithmetic as possible. The first stage reads the samples, the last the
labels.
"""

from collections.abc import Sequence

from graph.autodiff import layer_of, training_graph
from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Phase
from graph.optimizer import Optimizer
from graph.parallel.border import crossings_of, part_of
from graph.parallel.cut import (
    buckets_of,
    buffers_of,
    data_buffer,
    holders,
    named,
    passes_of,
    segments_of,
    statistics_buffer,
    task_of,
    updates_of,
    whole_numbers,
)
from graph.parallel.plan import Buffer, Plan, Role
from graph.parallel.programs.stages import Crossing


def layers(model: Graph, optimizer: Optimizer, *, ranks: int, steps: int, micro_batches: int = 1, input_slots: int = 1) -> Plan:
    """A plan with roles ``stage.0`` ... of one rank each.

    Parameters
    ----------
    model : forward graph of one micro-batch: its batch is the global batch / micro_batches.
    optimizer : what makes the steps.
    ranks : stages.
    steps, micro_batches, input_slots : as of `data_parallel`. One micro-batch is under way at a time.

    Raises
    ------
    InvalidPlan : a number is out of range, or there are more stages than layers with parameters.
    """
    whole_numbers("layers", ranks=ranks, steps=steps, micro_batches=micro_batches, input_slots=input_slots)
    graph = training_graph(model, optimizer)
    segments_of(graph)  # refuses what cannot be cut by layer
    stage_of = stages_of(graph, ranks)
    role_of = {layer: f"stage.{k}" for layer, k in stage_of.items()}
    crossings = crossings_of(graph, role_of, strategy="layers", advice="use fewer ranks")
    parts = {f"stage.{k}": part_of(graph, {layer for layer, s in stage_of.items() if s == k}) for k in range(ranks)}
    return Plan(tuple(_role(name, part, crossings, graph, steps, micro_batches, input_slots) for name, part in parts.items()))


def stages_of(graph: Graph, stages: int) -> dict[str, int]:
    """Layer -> its stage: runs of layers, the largest with as little arithmetic as possible, forward and backward together.

    A parameter's update is in the stage that reads it, under whatever name of a layer.

    Raises `InvalidPlan` when there are more stages than layers with parameters.
    """
    readers = {p.name: graph.consumers[p.name][0].layer for p in graph.of_kind(Kind.PARAMETER)}
    trained = set(readers.values())
    runs: list[list[str]] = []
    for layer in graph.layers(Phase.FORWARD):
        if not runs or (layer in trained and trained.intersection(runs[-1])):
            runs.append([])
        runs[-1].append(layer)
    if stages > len(runs):
        raise InvalidPlan(
            f"layers: {graph.name} has {len(runs)} layers with parameters, which cannot be put on {stages} ranks; "
            f"use at most {len(runs)} ranks"
        )
    flop: dict[str, int] = {}
    for n in graph.nodes:
        flop[n.layer] = flop.get(n.layer, 0) + graph.work(n).flop
    ends = _balanced([sum(flop[layer] for layer in run) for run in runs], stages)
    found = {layer: sum(k >= end for end in ends) for k, run in enumerate(runs) for layer in run}
    return {**{layer_of(p): found[layer] for p, layer in readers.items()}, **found}


def _balanced(weights: Sequence[int], parts: int) -> tuple[int, ...]:
    """Where each part but the last ends, so that the heaviest is as light as can be; of several such the earliest ends."""
    sums = [0]
    for w in weights:
        sums.append(sums[-1] + w)
    best: list[tuple[int, tuple[int, ...]]] = [(sums[k], ()) for k in range(len(weights) + 1)]
    for _ in range(parts - 1):
        best = [
            min(((max(best[j][0], sums[k] - sums[j]), (*best[j][1], j)) for j in range(1, k)), default=(sums[-1] + 1, ()))
            for k in range(len(weights) + 1)
        ]
    return best[-1][1]


def _role(
    name: str, part: Graph, crossings: Sequence[Crossing], whole: Graph, steps: int, micro_batches: int, input_slots: int
) -> Role:
    """A stage."""
    segments = segments_of(part)
    buckets = buckets_of(part, segments, 1 << 62)
    loaded = [v.name for v in whole.of_kind(Kind.DATA) if v.name in part.values]
    letters = {c.buffer: (c.read_as if c.to == name else c.value) for c in crossings if name in (c.source, c.to)}
    sizes = {b: whole.type_of(v) for b, v in letters.items()}
    buffers = {
        **data_buffer(part, input_slots, loaded),
        **{b: Buffer(size=sizes[b].size, itemsize=sizes[b].dtype.itemsize, values=(v,)) for b, v in letters.items()},
        **buffers_of(part, buckets, is_summed=micro_batches > 1),
        **statistics_buffer(part, ()),
    }
    holder, updates = holders(part, buffers), updates_of(part, buckets)
    params = {
        "steps": steps,
        "micro_batches": micro_batches,
        "passes": passes_of(part, segments, buckets, buffers, holder, is_summed=micro_batches > 1),
        "update": tuple(task_of(part, f"update/{b}", nodes, holder) for b, nodes in updates.items()),
        "crossings": tuple(crossings),
    }
    return Role(
        name=name,
        program="stages",
        params=params,
        buffers=buffers,
        graph=part,
        segments=named(segments, updates),
        batch_along=(),
        loss="share" if "loss" in part.outputs else "none",
    )
