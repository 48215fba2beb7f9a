"""Strategies: how the training of a model is spread over ranks. Each builds a `Plan` from a model graph and an optimizer.

To add one, write its file (and its program) and add its line here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graph.ir import Graph
from graph.ops.exchange import PARTS
from graph.parallel.plan import Plan
from graph.parallel.strategies.data_parallel import build as data_parallel
from graph.parallel.strategies.exchange import exchange
from graph.parallel.strategies.features import features
from graph.parallel.strategies.hybrid import departs, hybrid
from graph.parallel.strategies.inference import inference
from graph.parallel.strategies.layers import layers
from graph.parallel.strategies.model import model_parallel
from graph.parallel.strategies.parameter_server import parameter_server
from graph.record import record
from graph.registry import Registry


@record
class Strategy:
    """A way to spread the training of a model over ranks.

    Parameters
    ----------
    name : as a scenario names it.
    trains : False: it only communicates, or only computes forward.
    is_asked_for : False: no scenario may ask for it.
    build : (model graph of one micro-batch of one rank, optimizer, options) -> plan, whose roles hold the graphs that their
        ranks compute; raises `InvalidPlan`.
    parts : options -> parts into which a batch is cut: a micro-batch of a rank has batch / parts samples.
    rounds : options -> parts into which a rank cuts such a micro-batch once more.
    departs : (model graph, options) -> how, beyond the parts, it trains otherwise than one worker does; ``""``: it does not.
    samples : options with which the common checks build it.
    """

    name: str
    trains: bool = True
    is_asked_for: bool = True
    build: Callable[..., Plan]
    parts: Callable[[Mapping[str, Any]], int]
    rounds: Callable[[Mapping[str, Any]], int] = lambda options: 1
    departs: Callable[[Graph, Mapping[str, Any]], str] = lambda model, options: ""
    samples: tuple[Mapping[str, object], ...]

    def __call__(self, *args: object, **options: object) -> Plan:
        """The same as `build`."""
        return self.build(*args, **options)

    def differs(self, model: Graph, options: Mapping[str, Any]) -> str:
        """Why training differs from that of one worker with the same batch; ``""``: only the order of sums does."""
        parts = self.parts(options)
        if parts > 1 and any(n.op.name == "batch_norm" for n in model):
            return f"batch normalization takes its statistics from one of {parts} parts of the batch"
        return self.departs(model, options)


STRATEGIES: Registry[Strategy] = Registry("strategy")

for _strategy in (
    Strategy(
        name="data_parallel",
        build=data_parallel,
        parts=lambda o: int(o["ranks"]) * int(o.get("micro_batches", 1)),
        samples=(
            {"ranks": 1, "steps": 2, "bucket_bytes": 1},
            {"ranks": 2, "steps": 2, "bucket_bytes": 4096, "micro_batches": 2, "input_slots": 2},
            {"ranks": 5, "steps": 1, "bucket_bytes": 1 << 30, "collective": "tree"},
        ),
    ),
    Strategy(
        name="parameter_server",
        build=parameter_server,
        parts=lambda o: int(o["ranks"]) * int(o.get("micro_batches", 1)),
        samples=(
            {"ranks": 1, "steps": 2, "bucket_bytes": 4096},
            {"ranks": 3, "steps": 2, "bucket_bytes": 4096, "micro_batches": 2},
            {"ranks": 2, "steps": 2, "bucket_bytes": 1, "servers": "host", "micro_batches": 2},
            {"ranks": 6, "steps": 2, "bucket_bytes": 4096, "servers": "host", "nodes": 2, "server_count": 4},
            {"ranks": 6, "steps": 2, "bucket_bytes": 4096, "servers": "host", "nodes": 3, "server_count": 2},
            {"ranks": 8, "steps": 2, "bucket_bytes": 4096, "servers": "host", "nodes": 2, "levels": 2},
            {"ranks": 8, "steps": 2, "bucket_bytes": 1 << 30, "servers": "host", "nodes": 4, "levels": 2},
        ),
    ),
    Strategy(
        name="hybrid",
        build=hybrid,
        parts=lambda o: int(o["ranks"]),
        rounds=lambda o: int(o["ranks"]) if o.get("scheme") == PARTS else 1,
        departs=departs,
        samples=(
            {"ranks": 1, "steps": 2},
            {"ranks": 2, "steps": 2, "bucket_bytes": 1, "input_slots": 2},
            {"ranks": 2, "steps": 2, "bucket_bytes": 4096, "scheme": "turns", "collective": "tree"},
            {"ranks": 2, "steps": 2, "scheme": "parts", "fc_update": "round"},
            {"ranks": 6, "steps": 1, "scheme": "turns", "fc_update": "round"},
        ),
    ),
    Strategy(
        name="model",
        build=model_parallel,
        parts=lambda o: int(o.get("micro_batches", 1)),
        samples=(
            {"ranks": 1, "steps": 2},
            {"ranks": 2, "steps": 2, "micro_batches": 2, "input_slots": 2},
            {"ranks": 4, "steps": 1},
        ),
    ),
    Strategy(
        name="layers",
        build=layers,
        parts=lambda o: int(o.get("micro_batches", 1)),
        samples=(
            {"ranks": 1, "steps": 2},
            {"ranks": 2, "steps": 2, "micro_batches": 2},
            {"ranks": 3, "steps": 2, "input_slots": 2},
        ),
    ),
    Strategy(
        name="exchange",
        build=exchange,
        parts=lambda o: 1,
        trains=False,
        is_asked_for=False,
        samples=({"ranks": 1, "steps": 2, "actions": 2}, {"ranks": 3, "steps": 2, "sizes": (30, 7), "actions": 1}),
    ),
    Strategy(
        name="inference",
        build=inference,
        parts=lambda o: int(o["ranks"]),
        trains=False,
        samples=({"ranks": 1, "steps": 2}, {"ranks": 3, "steps": 1}),
    ),
    Strategy(
        name="features",
        build=features,
        parts=lambda o: int(o["ranks"]),
        trains=False,
        samples=(
            {"ranks": 1, "steps": 3},
            {"ranks": 3, "steps": 3, "features_on": "host"},
            {"ranks": 6, "steps": 2, "classifiers": 2, "classifier_on": "host"},
        ),
    ),
):
    STRATEGIES.add(_strategy.name, _strategy)
