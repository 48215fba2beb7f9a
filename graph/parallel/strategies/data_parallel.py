"""Data parallelism from a training graph: layers become segments, parameters become buckets.

The first bucket can be summed over the workers while backward goes on (see `graph.parallel.cut`).

Running statistics (of batch normalizations) are a worker's own: each renews them from its last micro-batch and does not send
them.
"""

from typing import Any

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.ir import Graph
from graph.optimizer import Optimizer
from graph.parallel.algorithm import COLLECTIVES, Operation
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
from graph.parallel.plan import Plan, Role


def build(model: Graph, optimizer: Optimizer, **options: Any) -> Plan:
    """`data_parallel` of the training graph of a model: one micro-batch of one rank."""
    return data_parallel(training_graph(model, optimizer), **options)


def data_parallel(
    graph: Graph,
    *,
    ranks: int,
    steps: int,
    bucket_bytes: int,
    micro_batches: int = 1,
    collective: str = "ring",
    input_slots: int = 1,
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``dp``.

    Parameters
    ----------
    graph : training graph of one micro-batch of one rank: its batch is the global batch / (ranks x micro_batches).
    ranks : workers.
    steps : training steps.
    bucket_bytes : a bucket is closed when its gradients hold at least so many bytes.
    micro_batches : per rank and step; their gradients are added in order.
    collective : all-reduce algorithm.
    input_slots : mini-batches that the data buffer holds at once; 2 lets the next one be loaded during a step.

    Raises
    ------
    InvalidPlan : a number is out of range, the collective does not sum or cannot be played by so many ranks, or the graph is no
        training graph that can be cut into segments by layer.
    """
    whole_numbers(
        "data_parallel",
        ranks=ranks,
        steps=steps,
        bucket_bytes=bucket_bytes,
        micro_batches=micro_batches,
        input_slots=input_slots,
    )
    check_collective("data_parallel", collective, ranks)
    segments = segments_of(graph)
    buckets = buckets_of(graph, segments, bucket_bytes)
    buffers = {
        **data_buffer(graph, input_slots),
        **buffers_of(graph, buckets, is_summed=micro_batches > 1),
        **statistics_buffer(graph, ("dp",)),
    }
    holder, updates = holders(graph, buffers), updates_of(graph, buckets)
    params = {
        "steps": steps,
        "micro_batches": micro_batches,
        "passes": passes_of(graph, segments, buckets, buffers, holder, is_summed=micro_batches > 1),
        "update": tuple(task_of(graph, f"update/{b}", nodes, holder) for b, nodes in updates.items()),
        "collective": collective,
        "along": ("dp",) if ranks > 1 else (),
    }
    return Plan(
        (
            Role(
                name="worker",
                program="data_parallel",
                params=params,
                axes={"dp": ranks},
                buffers=buffers,
                graph=graph,
                segments=named(segments, updates),
            ),
        )
    )


def check_collective(strategy: str, name: str, ranks: int) -> None:
    """Raise `InvalidPlan` unless the collective is an all-reduce that so many ranks can play."""
    algorithm = COLLECTIVES[name]
    able = [n for n, a in COLLECTIVES.items() if a.operation is Operation.ALL_REDUCE and a.accepts(ranks)]
    if algorithm.operation is not Operation.ALL_REDUCE:
        raise InvalidPlan(
            f"{strategy} sums gradients everywhere, {name!r} does a {algorithm.operation}; use one of {', '.join(able)}"
        )
    if not algorithm.accepts(ranks):
        raise InvalidPlan(f"collective {name!r} cannot be played by {ranks} ranks; these can: {', '.join(able)}")
