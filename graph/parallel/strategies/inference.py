"""Inference: forward only, each rank on its own samples; nothing is sent, nothing is renewed.

The graph is the model's evaluation graph (`graph.passes.inference`): dropout off, running statistics, logits instead of a loss.
So it is what throughput and memory of inference are predicted from. It trains nothing: what plays it saves nothing. With a word
length it is the graph in fixed point (`graph.passes.fixed_point`).
"""

from dataclasses import replace

from graph.errors import GraphError, nearest
from graph.fixed_point import Fixed, Rounding
from graph.ir import Graph, Kind
from graph.ops.quantize import ROUNDINGS
from graph.optimizer import Optimizer
from graph.parallel.cut import data_buffer, holders, named, packed, passes_of, segments_of, whole_numbers
from graph.parallel.plan import Buffer, BufferKind, Plan, Role
from graph.passes.fixed_point import fixed_point
from graph.passes.inference import inference_graph
from graph.tensor_type import DType


def inference(
    model: Graph,
    optimizer: Optimizer,
    *,
    ranks: int,
    steps: int,
    word: int | None = None,
    fraction: int | None = None,
    rounding: str | None = None,
    resident: bool = False,
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``dp``.

    Parameters
    ----------
    model : graph of the batch of one rank.
    optimizer : not looked at; every strategy is given one.
    ranks : workers.
    steps : batches, one after the other.
    word, fraction, rounding : bits of a fixed-point word, those behind the point, and a `graph.fixed_point.Rounding`; without
        them in floats.
    resident : samples lie in the memory of the devices, in their numbers, and results stay there: nothing is taken in, nothing is
        converted.

    Raises
    ------
    InvalidPlan : a number is below 1.
    GraphError : there is no such fixed-point format or rounding.
    """
    whole_numbers("inference", ranks=ranks, steps=steps)
    graph = forward_graph(model, word=word, fraction=fraction, rounding=rounding, is_resident=resident)
    segments = segments_of(graph)
    buffers = data_buffer(graph, 1) | kept_buffers(graph)
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


def forward_graph(
    model: Graph, *, word: int | None, fraction: int | None, rounding: str | None, is_resident: bool = False
) -> Graph:
    """The evaluation graph; in fixed point where one of these is given, the format's default standing in for what is not.

    Neurons, weights and biases have one format. Samples that are resident are state, of words where the device reads words.
    Raises `GraphError` when there is no such format or rounding.
    """
    graph = inference_graph(model)
    if is_resident:
        kept = tuple(replace(i, kind=Kind.STATE) if i.kind is Kind.DATA else i for i in graph.inputs)
        graph = Graph(name=graph.name, inputs=kept, nodes=graph.nodes, outputs=graph.outputs)
    if word is None and fraction is None and rounding is None:
        return graph
    if rounding is not None and rounding not in ROUNDINGS:
        raise GraphError(f"unknown rounding {rounding!r}; {nearest(rounding, ROUNDINGS)}")
    bits = {name: option for name, option in (("bits", word), ("fraction", fraction)) if option is not None}
    fixed = Fixed(**bits)
    rule = Rounding(rounding or Rounding.NEAREST)
    return fixed_point(graph, neuron=fixed, synapse=fixed, rounding=rule, is_open=is_resident)


def kept_buffers(graph: Graph) -> dict[str, Buffer]:
    """What lives from step to step: parameters (``w``) and state (``s``); of other types than f32 in buffers of their own."""
    found: dict[str, Buffer] = {}
    for name, kind, buffer in (("w", Kind.PARAMETER, BufferKind.PARAMETER), ("s", Kind.STATE, BufferKind.STATE)):
        by_type: dict[DType, list[str]] = {}
        for v in graph.of_kind(kind):
            by_type.setdefault(v.type.dtype, []).append(v.name)
        for dtype, values in by_type.items():
            found[name if dtype is DType.F32 else f"{name}.{dtype}"] = packed(graph, tuple(values), buffer)
    return found
