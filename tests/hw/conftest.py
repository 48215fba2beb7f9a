"""Small training graphs and their plans."""

from collections.abc import Callable

import pytest

from graph.autodiff import training_graph
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Do, Plan
from graph.parallel.strategies.data_parallel import data_parallel
from graph.parallel.unroll import unroll
from graph.zoo import MODELS


@pytest.fixture(scope="session")
def trained() -> Callable[..., Graph]:
    """(model, batch, options of the zoo) -> its training graph, tiny unless the options say otherwise."""

    def make(model: str = "lenet", batch: int = 6, **options: object) -> Graph:
        options = {**MODELS[model].tiny, **options}
        return training_graph(MODELS[model].build(batch, **options), Sgd(learning_rate=0.1, momentum=0.9))

    return make


@pytest.fixture(scope="session")
def planned() -> Callable[..., Plan]:
    """(training graph, options) -> its data-parallel plan."""

    def make(graph: Graph, *, ranks: int = 2, bucket_bytes: int = 1 << 15, micro_batches: int = 1) -> Plan:
        options = {"bucket_bytes": bucket_bytes, "micro_batches": micro_batches}
        return data_parallel(graph, ranks=ranks, steps=3, **options)

    return make


@pytest.fixture(scope="session")
def dos() -> Callable[[Plan], list[Do]]:
    """plan -> the `Do`s of its first worker's step."""

    def find(plan: Plan) -> list[Do]:
        return [a.ins for a in unroll(plan, plan.first_rank("worker")) if isinstance(a.ins, Do)]

    return find
