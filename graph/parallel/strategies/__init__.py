"""Strategies: how a training graph is spread over ranks. Each builds a `Plan` from a graph.

To add one, write its file (and its program) and add its line here.
"""

from collections.abc import Callable

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
    """

    name: str
    trains: bool = True
    build: Callable[..., Plan]

    def __call__(self, *args: object, **options: object) -> Plan:
        """The same as `build`."""
        return self.build(*args, **options)


STRATEGIES: Registry[Strategy] = Registry("strategy")

for _strategy in (Strategy(name="data_parallel", build=data_parallel), Strategy(name="exchange", build=exchange, trains=False)):
    STRATEGIES.add(_strategy.name, _strategy)
