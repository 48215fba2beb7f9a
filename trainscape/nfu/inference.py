"""The inference of a model in fixed point as an NFU sees it: layers, and what its processor computes between them."""

from typing import TYPE_CHECKING, Any

from graph.optimizer import Sgd
from graph.parallel.strategies import STRATEGIES
from hw.catalogue import device as catalogue_device
from hw.cost import cost_model
from hw.cost.nfu import is_on_processor
from hw.kernels.record import Call, Platform
from hw.lower import lower
from hw.nfu.config import Nfu
from hw.nfu.layer import Layer
from hw.nfu.of_call import layer_of
from trainscape.zoo_graph import model_graph

if TYPE_CHECKING:
    from trainscape.scenario import ModelPart


def calls(model: "ModelPart", nfu: Nfu, *, batch: int, seed: int = 0) -> tuple[Call, ...]:
    """Kernel calls of the inference of `batch` images, in order, words in the NFU's format.

    Raises `graph.errors.GraphError` when the model cannot be built.
    """
    graph = model_graph(model, batch=batch, seed=seed)
    words = {"word": nfu.neuron.bits, "fraction": nfu.neuron.fraction}
    plan = STRATEGIES["inference"].build(graph, Sgd(learning_rate=1.0), ranks=1, steps=1, **words)
    return tuple(c for c in lower(plan, "worker", Platform.NFU).calls if c.nodes)


def layers_of(
    model: "ModelPart", device: str, nfu: Nfu, *, batch: int, seed: int = 0
) -> tuple[tuple[Layer, ...], tuple[dict[str, Any], ...]]:
    """Layers for the NFU, and operators for its processor, each in order.

    Parameters
    ----------
    model : settings.
    device : of the catalogue, whose processor it is.
    nfu : in place of the device's own.
    batch : images.
    seed : of dropout, which inference leaves out.

    Returns
    -------
    The layers; ``name``, ``op``, ``flop``, ``bytes``, ``time_s`` and ``energy_J`` of each operator, its joules being those of the
    processor while it works.
    """
    made = calls(model, nfu, batch=batch, seed=seed)
    processor = catalogue_device(device).processor
    on_nfu = tuple(layer_of(c) for c in made if not is_on_processor(c))
    others = [c for c in made if is_on_processor(c)]
    if processor is None:
        return on_nfu, tuple(_free(c) for c in others)
    price = cost_model(processor)
    return on_nfu, tuple(_free(c) | {"time_s": (s := price.seconds(c)), "energy_J": processor.watts * s} for c in others)


def _free(c: Call) -> dict[str, Any]:
    nbytes = c.work.bytes_read + c.work.bytes_written
    op = c.kernel.partition(".")[2]
    return {"name": c.nodes[0], "op": op, "flop": c.work.flop, "bytes": nbytes, "time_s": 0.0, "energy_J": 0.0}
