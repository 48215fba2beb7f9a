"""Strategies: how a training graph is spread over ranks. Each builds a `Plan` from a graph.

To add one, write its file (and its program) and add its line here.
"""

from collections.abc import Callable, Mapping

from graph.parallel.plan import Plan
from graph.parallel.strategies.data_parallel import data_parallel
from graph.parallel.strategies.exchange import exchange
from graph.record import record
from graph.registry import Registry


@record
class Strategy:
    """A way to spread a training graph over ranks.

    Parameters
    ----------
    name : as a scenario names it.
    trains : False: it only communicates, and no scenario may ask for it.
    build : (training graph of one micro-batch, options) -> plan; raises `InvalidPlan`.
    samples : options with which the common checks build it.
    """

    name: str
    trains: bool = True
    build: Callable[..., Plan]
    samples: tuple[Mapping[str, object], ...]

    def __call__(self, *args: object, **options: object) -> Plan:
        """The same as `build`."""
        return self.build(*args, **options)


STRATEGIES: Registry[Strategy] = Registry("strategy")

for _strategy in (
    Strategy(
        name="data_parallel",
        build=data_parallel,
        samples=(
            {"ranks": 1, "steps": 2, "bucket_bytes": 1},
            {"ranks": 2, "steps": 2, "bucket_bytes": 4096, "micro_batches": 2, "input_slots": 2},
            {"ranks": 5, "steps": 1, "bucket_bytes": 1 << 30, "collective": "tree"},
        ),
    ),
    Strategy(
        name="exchange",
        build=exchange,
        trains=False,
        samples=({"ranks": 1, "steps": 2, "actions": 2}, {"ranks": 3, "steps": 2, "sizes": (30, 7), "actions": 1}),
    ),
):
    STRATEGIES.add(_strategy.name, _strategy)
