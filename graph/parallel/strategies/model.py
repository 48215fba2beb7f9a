"""Model parallelism by channels and units: every layer with parameters is cut over all ranks, and every rank sees every sample.

That is how AlexNet was trained on two GPUs (Krizhevsky, Sutskever and Hinton, NIPS 2012): a convolution whose groups divide over
the ranks needs no exchange at all; any other layer first gathers what it reads. Unlike there, response normalization looks across
all channels, as it does on one worker, so it takes an exchange; in the paper each tower normalizes within itself.
"""

from graph.ir import Graph
from graph.optimizer import Optimizer
from graph.parallel.cut import whole_numbers
from graph.parallel.plan import Plan
from graph.parallel.shard import shard
from graph.parallel.strategies.sharded import sharded_plan


def model_parallel(
    model: Graph, optimizer: Optimizer, *, ranks: int, steps: int, micro_batches: int = 1, input_slots: int = 1
) -> Plan:
    """A plan with one role, ``worker``, of `ranks` ranks along the axis ``mp``.

    Parameters
    ----------
    model : forward graph of one micro-batch: its batch is the global batch / micro_batches.
    optimizer : what makes the steps.
    ranks, steps, micro_batches, input_slots : as of `data_parallel`.

    Raises
    ------
    InvalidPlan : a number is out of range, or the ranks cannot share the layers evenly. Layers that do not divide are computed
        whole by every rank, but only at the end of the model. The message says what would do.
    """
    whole_numbers("model", ranks=ranks, steps=steps, micro_batches=micro_batches, input_slots=input_slots)
    return sharded_plan(
        shard(model, ranks),
        optimizer,
        axis="mp",
        batch_along=(),
        ranks=ranks,
        steps=steps,
        micro_batches=micro_batches,
        input_slots=input_slots,
    )
