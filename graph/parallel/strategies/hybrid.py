"""Krizhevsky's hybrid: convolutions data-parallel, fully connected layers model-parallel over the same ranks.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997, 2014). Convolutions have
most of the arithmetic and few parameters, fully connected layers the reverse: so the gradients of the former are summed over the
ranks, while the latter are cut by columns; each rank holds and updates its part, and activations travel instead. The schemes of
section 3 are those of `graph.ops.exchange`: every rank's samples at once (``whole``, a), one rank's after another's (``turns``,
b), a part of every rank's after another (``parts``, c). Labels travel with the activations. What a round gathers stands together
in the batch, also in parts: so ranks read their samples accordingly, and dropout draws what it would on one worker.

With n ranks of b samples each, P parameters of the convolutions, f features that enter the first fully connected layer, layers of
h1, h2 ... units and at last c classes, all cut, the ranks together send in a step

    (n - 1) * (2 * 4 P  +  n b * (2 * 4 f + 8 + 2 * 4 (h1 + h2 + ...) + 4 c))  bytes

with a ring and in every scheme: gradients of the convolutions; features there and their gradients back, and labels of 8 bytes;
each cut layer's outputs there and their gradients back, but for the logits', which every rank has. Data parallelism sends
``(n - 1) * 2 * 4 Q`` for Q parameters in all.
"""

from collections.abc import Mapping
from typing import Any

from graph.errors import InvalidPlan, nearest
from graph.ir import Graph, Kind
from graph.ops.exchange import PARTS, SCHEMES, WHOLE
from graph.optimizer import Optimizer
from graph.parallel.cut import whole_numbers
from graph.parallel.plan import Plan
from graph.parallel.shard import shard
from graph.parallel.strategies.data_parallel import check_collective
from graph.parallel.strategies.sharded import sharded_plan

UPDATES = ("step", "round")


def hybrid(
    model: Graph,
    optimizer: Optimizer,
    *,
    ranks: int,
    steps: int,
    bucket_bytes: int = 1 << 20,
    micro_batches: int = 1,
    collective: str = "ring",
    scheme: str = WHOLE,
    fc_update: str = "step",
    input_slots: int = 1,
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``dp``.

    Parameters
    ----------
    model : forward graph of one rank's samples: its batch is the global batch / ranks.
    optimizer : what makes the steps.
    ranks, steps, input_slots : as of `data_parallel`.
    bucket_bytes, collective : of the convolutions' gradients.
    micro_batches : 1; the rounds of a scheme take their place.
    scheme : how samples come to the fully connected layers: ``"whole"``, ``"turns"`` or ``"parts"``.
    fc_update : ``"step"``: gradients of all rounds are added up, as one worker would; ``"round"``: each round's are applied at
        once (the paper's variable batch size). Like all gradients they are of the loss divided by the whole batch.

    Raises
    ------
    InvalidPlan : an option is out of range or means nothing here, the ranks cannot share the fully connected layers or, in parts,
        their samples, or the model has no such layers behind convolutions. The message says what would do.
    """
    whole_numbers("hybrid", ranks=ranks, steps=steps, bucket_bytes=bucket_bytes, input_slots=input_slots)
    if micro_batches != 1:
        raise InvalidPlan(
            f"hybrid has no micro-batches (got {micro_batches!r}): with scheme 'turns' or 'parts' it goes in rounds"
        )
    for what, value, known in (("scheme", scheme, SCHEMES), ("fc_update", fc_update, UPDATES)):
        if value not in known:
            raise InvalidPlan(f"hybrid: unknown {what} {value!r}; {nearest(str(value), known)}")
    if fc_update == "round" and scheme == WHOLE:
        raise InvalidPlan(
            "hybrid: scheme 'whole' has one round, so fc_update 'round' means nothing; use 'step', or another scheme"
        )
    check_collective("hybrid", collective, ranks)
    batch = model.of_kind(Kind.DATA)[0].type.shape[0]
    if scheme == PARTS and batch % ranks:
        less = batch - batch % ranks
        near = less if less and batch - less <= less + ranks - batch else less + ranks
        raise InvalidPlan(
            f"hybrid: {ranks} ranks cannot cut the {batch} samples of each into {ranks} parts; "
            f"use a batch of {near * ranks} samples ({near} a rank), or scheme 'turns'"
        )
    cut = shard(model, ranks, scheme)
    if scheme == PARTS and ranks > 1 and any(v.name == "sample" for v in cut.graph.of_kind(Kind.COUNTER)):
        raise InvalidPlan(
            "hybrid: with scheme 'parts' a rank's own samples do not stand together, so there is no dropout before the fully "
            "connected layers; use scheme 'turns'"
        )
    return sharded_plan(
        cut,
        optimizer,
        axis="dp",
        batch_along=("dp",),
        ranks=ranks,
        steps=steps,
        bucket_bytes=bucket_bytes,
        collective=collective,
        scheme=scheme,
        updates_rounds=fc_update == "round",
        input_slots=input_slots,
    )


def departs(model: Graph, options: Mapping[str, Any]) -> str:
    """How training differs from that of one worker; ``""`` where only sums are in another order."""
    if options.get("fc_update") == "round" and int(options["ranks"]) > 1:
        return "fully connected layers are updated after each round, so a round sees what the one before it changed"
    return ""
