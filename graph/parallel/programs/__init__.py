"""Programs: what the ranks of a role do, as generators of instructions, written once for checker, simulator and workers.

To add one, write its file and add its line here. A program never sees a clock, an array or its own coordinates.
"""

from graph.parallel.plan import PROGRAMS
from graph.parallel.programs.coordinator import coordinator, portion_worker
from graph.parallel.programs.data_parallel import data_parallel
from graph.parallel.programs.device_server import device_server
from graph.parallel.programs.exchange import exchange
from graph.parallel.programs.features import classifier, features
from graph.parallel.programs.hogwild import hogwild
from graph.parallel.programs.parameter_server import parameter_server, server_worker
from graph.parallel.programs.pipeline import pipeline
from graph.parallel.programs.recorded import recorded
from graph.parallel.programs.sharded import sharded
from graph.parallel.programs.stages import stages
from graph.parallel.programs.synchronous_server import synchronous_server, synchronous_worker

__all__ = ["PROGRAMS"]

for _program in (
    data_parallel,
    sharded,
    stages,
    features,
    classifier,
    exchange,
    pipeline,
    parameter_server,
    server_worker,
    device_server,
    synchronous_server,
    synchronous_worker,
    hogwild,
    coordinator,
    portion_worker,
    recorded,
):
    PROGRAMS.add(_program.__name__, _program)
