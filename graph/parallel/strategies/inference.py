"""Inference: forward only, each rank on its own samples; nothing is sent, nothing is renewed.

The graph is the model's evaluation graph (`graph.passes.inference`): dropout off, running statistics, logits instead of a loss.
So it is what throughput and memory of inference are predicted from. It trains nothing, so no worker process plays it.
"""

from graph.ir import Graph, Kind
from graph.optimizer import Optimizer
from graph.parallel.cut import data_buffer, holders, named, packed, passes_of, segments_of, whole_numbers
from graph.parallel.plan import BufferKind, Plan, Role
from graph.passes.inference import inference_graph


def inference(model: Graph, optimizer: Optimizer, *, ranks: int, steps: int) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``dp``.

    Parameters
    ----------
    model : graph of the batch of one rank.
    optimizer : not looked at; every strategy is given one.
    ranks : workers.
    steps : batches, one after the other.

    Raises
    ------
    InvalidPlan : a number is below 1.
    """
    whole_numbers("inference", ranks=ranks, steps=steps)
    graph = inference_graph(model)
    segments = segments_of(graph)
    kept = {"w": BufferKind.PARAMETER, "s": BufferKind.STATE}
    values = {"w": graph.of_kind(Kind.PARAMETER), "s": graph.of_kind(Kind.STATE)}
    buffers = data_buffer(graph, 1) | {
        name: packed(graph, tuple(v.name for v in values[name]), kind) for name, kind in kept.items() if values[name]
    }
    holder = holders(graph, buffers)
    params = {
        "steps": steps,
        "micro_batches": 1,
        "passes": passes_of(graph, segments, (), buffers, holder, is_summed=False),
        "update": (),
        "collective": "ring",
        "along": (),
    }
    return Plan(
        (
            Role(
                name="worker", program="data_parallel", params=params, axes={"dp": ranks}, buffers=buffers, graph=graph,
                segments=named(segments, {}), loss="none",
            ),
        )
    )  # fmt: skip
