"""Pieces of parameters and state: each element has one keeper, whatever the strategy, and what was cut can be put together."""

from typing import Any

import numpy as np
import pytest

from graph.optimizer import Sgd
from graph.parallel.plan import Plan
from graph.parallel.strategies import STRATEGIES
from graph.tensor_type import f32
from graph.text import to_text
from graph.zoo import MODELS
from runtime.errors import InvalidJob
from runtime.job import Block, Job
from runtime.shards import cut, drawn, keepers, pieces, whole_graph, whole_types

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "data": ("data_parallel", {"ranks": 2, "bucket_bytes": 4096}),
    "devices": ("parameter_server", {"ranks": 3, "bucket_bytes": 4096}),
    "hosts": ("parameter_server", {"ranks": 4, "bucket_bytes": 4096, "servers": "host", "nodes": 2}),
    "hybrid": ("hybrid", {"ranks": 2}),
    "model": ("model", {"ranks": 2}),
    "layers": ("layers", {"ranks": 3}),
}


def made(strategy: str, options: dict[str, Any]) -> tuple[Plan, Job]:
    net = MODELS["lenet"].build(12 // STRATEGIES[strategy].parts(options), classes=10, denominator=12, image=(8, 8, 1))
    job = Job(model=to_text(net), batch=12, blocks=(Block(steps=1),), optimizer={"learning_rate": 0.1, "momentum": 0.9})
    return STRATEGIES[strategy](net, Sgd(**job.optimizer), steps=1, **options), job


@pytest.mark.parametrize("case", CASES)
def test_keepers_hold_every_element_once(case: str) -> None:
    plan, job = made(*CASES[case])
    graph = whole_graph(job)
    whole, values = whole_types(graph), drawn(graph, 3)
    assert {"conv1.weight", "fc1.weight.momentum"} <= set(whole) == set(values)
    again = {n: np.full(a.shape, np.nan, a.dtype) for n, a in values.items()}
    kept = keepers(plan, whole)
    for rank in plan.ranks:
        mine = pieces(plan, rank, whole)
        for name, array in cut(values, mine).items():
            assert array.size == mine[name].size
            if rank in kept[name]:
                assert np.isnan(mine[name].of(again[name])).all()  # nobody else has put anything there
                mine[name].of(again[name])[...] = array.reshape(mine[name].shape)
    assert all(again[n].tobytes() == values[n].tobytes() for n in values)


def test_who_renews_a_value_keeps_it() -> None:
    plan, job = made(*CASES["hosts"])
    assert {rank.role for by in keepers(plan, whole_types(whole_graph(job))).values() for rank in by} == {"server"}


def test_what_does_not_fit_the_model_is_refused() -> None:
    plan, job = made(*CASES["model"])
    whole = whole_types(whole_graph(job))
    with pytest.raises(InvalidJob, match=r"worker\[0\] holds f32\[3,3,1,3\] of 'conv1.weight', which is f32\[5,5,1,4\] in the"):
        pieces(plan, plan.ranks[0], {**whole, "conv1.weight": f32(5, 5, 1, 4)})
    with pytest.raises(InvalidJob, match=r"holds 'fc1.bias', which is no parameter or state of the job's model"):
        pieces(plan, plan.ranks[0], {n: t for n, t in whole.items() if n != "fc1.bias"})
    with pytest.raises(InvalidJob, match="the plan's ranks keep 0 elements of 'other', which has 2 in the job's model"):
        keepers(plan, {**whole, "other": f32(2)})
