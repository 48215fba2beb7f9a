"""Strategies: how the training of a model is spread over ranks. Each builds a `Plan` from a model graph and an optimizer.

To add one, write its file (and its program) and add its line here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graph.parallel.plan import Plan
from graph.parallel.strategies.data_parallel import build as data_parallel
from graph.parallel.strategies.exchange import exchange
from graph.record import record
from graph.registry import Registry


@record
class Strategy:
    """A way to spread the training of a model over ranks.

    Parameters
    ----------
    name : as a scenario names it.
    trains : False: it only communicates, and no scenario may ask for it.
    build : (model graph of one micro-batch of one rank, optimizer, options) -> plan, whose roles hold the graphs that their
        ranks compute; raises `InvalidPlan`.
    parts : options -> parts into which a batch is cut: a micro-batch of a rank has batch / parts samples.
    samples : options with which the common checks build it.
    """

    name: str
    trains: bool = True
    build: Callable[..., Plan]
    parts: Callable[[Mapping[str, Any]], int]
    samples: tuple[Mapping[str, object], ...]

    def __call__(self, *args: object, **options: object) -> Plan:
        """The same as `build`."""
        return self.build(*args, **options)


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
        name="exchange",
        build=exchange,
        parts=lambda o: 1,
        trains=False,
        samples=({"ranks": 1, "steps": 2, "actions": 2}, {"ranks": 3, "steps": 2, "sizes": (30, 7), "actions": 1}),
    ),
):
    STRATEGIES.add(_strategy.name, _strategy)
