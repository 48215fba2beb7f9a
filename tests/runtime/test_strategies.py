"""Every strategy with real processes: equal to one worker, bytes as planned, whole checkpoints that any other goes on from."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.parallel.plan import Rank
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.text import to_text
from graph.zoo import MODELS
from runtime import checkpoint
from runtime.checkpoint import Arrays
from runtime.dist.launch import run
from runtime.errors import DistributedFailure, Interrupted, InvalidJob
from runtime.job import Block, Checkpoints, Job, build
from runtime.result import RunResult
from runtime.table import wire_sizes
from tests.runtime.test_dist import Once, children, nothing_is_left, same

pytestmark = pytest.mark.xdist_group("processes")
__all__ = ["nothing_is_left"]  # the fixture runs here too
BATCH, STEPS = 32, 6
OPTIMIZER = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


def job(
    folder: Path, strategy: str = "data_parallel", *, steps: int = STEPS, ranks: int = 1, rest: Any = None, **params: Any
) -> Job:
    """A LeNet with dropout on the digits."""
    params = {"ranks": ranks, "steps": steps, **params}
    if strategy in ("data_parallel", "parameter_server", "hybrid"):
        params.setdefault("bucket_bytes", 8192)
    net = MODELS["lenet"].build(
        BATCH // STRATEGIES[strategy].parts(params),
        classes=10,
        dropout=0.2,
        denominator=BATCH,
        seed=0,
        image=(8, 8, 1),
        width=2.0,
    )
    return Job(
        model=to_text(net), optimizer=OPTIMIZER, strategy=strategy, params=params, batch=BATCH, folder=str(folder),
        **{"blocks": (Block(steps=steps),), "checkpoints": Checkpoints(), **(rest or {})},
    )  # fmt: skip


def values(r: RunResult) -> Arrays:
    assert r.checkpoint is not None
    return checkpoint.load(r.checkpoint).values


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(micro-batches) -> what one worker comes to."""
    known: dict[int, RunResult] = {}

    def found(micro_batches: int) -> RunResult:
        if micro_batches not in known:
            known[micro_batches] = run(job(tmp_path_factory.mktemp("alone"), micro_batches=micro_batches))
        return known[micro_batches]

    return found


SERVED = {"strategy": "parameter_server", "servers": "host"}
EXACT = {
    "devices": {"strategy": "parameter_server", "ranks": 2},
    "host": {**SERVED, "ranks": 2},
    "two hosts": {**SERVED, "ranks": 2, "server_count": 2},
    "tree": {"ranks": 2, "collective": "tree"},
    "direct": {"ranks": 2, "collective": "direct"},
    "layers": {"strategy": "layers", "ranks": 2, "micro_batches": 2},
}
CLOSE = {
    "whole": {"strategy": "hybrid", "ranks": 2, "scheme": "whole"},
    "turns": {"strategy": "hybrid", "ranks": 2, "scheme": "turns"},
    "parts": {"strategy": "hybrid", "ranks": 2, "scheme": "parts"},
    "model": {"strategy": "model", "ranks": 2},
}
FOUR = {
    "tree": {"ranks": 4, "collective": "tree"},
    "direct": {"ranks": 4, "collective": "direct"},
    "devices": {"strategy": "parameter_server", "ranks": 4},
    "two levels": {**SERVED, "ranks": 4, "nodes": 2, "levels": 2},
    "whole": {"strategy": "hybrid", "ranks": 4, "scheme": "whole"},
    "turns": {"strategy": "hybrid", "ranks": 4, "scheme": "turns"},
    "parts": {"strategy": "hybrid", "ranks": 4, "scheme": "parts"},
    "model": {"strategy": "model", "ranks": 4},
    "layers": {"strategy": "layers", "ranks": 4},
}


def as_planned(j: Job) -> RunResult:
    """Run it; every wire carried what the plan says, every rank has a memory."""
    r = run(j)
    plan, _ = build(j)
    assert dict(r.bytes_sent) == {(str(a), str(b), lane): r.steps * n for (a, b, lane), (_, n) in wire_sizes(plan).items()}
    assert len(r.memory_peak_bytes) == len(plan.ranks)
    return r


@pytest.mark.parametrize("options", EXACT.values(), ids=EXACT)
def test_sums_in_the_order_of_ranks_equal_micro_batches_bit_for_bit(tmp_path: Path, alone: Any, options: dict[str, Any]) -> None:
    r, one = as_planned(job(tmp_path, **options)), alone(2)
    assert r.losses == one.losses
    assert same(values(r), values(one))
    assert r.accuracy == one.accuracy


@pytest.mark.parametrize("options", CLOSE.values(), ids=CLOSE)
def test_layers_cut_over_workers_equal_one_worker(tmp_path: Path, alone: Any, options: dict[str, Any]) -> None:
    assert_close(as_planned(job(tmp_path, **options)), alone(1))


@pytest.mark.slow
@pytest.mark.parametrize("options", FOUR.values(), ids=FOUR)
def test_four_workers_on_fewer_cores(tmp_path: Path, alone: Any, options: dict[str, Any]) -> None:
    assert_close(as_planned(job(tmp_path, **options)), alone(1))


def assert_close(r: RunResult, one: RunResult) -> None:
    """The same numbers, added in another order."""
    assert np.allclose(r.losses, one.losses, rtol=1e-6)
    assert values(r).keys() == values(one).keys()
    for name, a in values(one).items():
        assert np.allclose(a, values(r)[name], rtol=1e-4, atol=1e-6), name
    assert r.accuracy == one.accuracy


def test_every_role_has_its_timeline(tmp_path: Path) -> None:
    blocks = Block(steps=3), Block(steps=2, timed=True)
    j = job(tmp_path, **SERVED, ranks=2, steps=5, rest={"blocks": blocks, "probe": True})
    r = run(j)
    plan, _ = build(j)
    assert [str(x) for x in plan.ranks] == ["worker[0]", "worker[1]", "server[0]"]
    for rank in plan.ranks:
        mine = [x for x in r.timeline if x.rank == rank]
        assert {x.id for x in mine} == {(k, *a.id[1:]) for k in (3, 4) for a in unroll(plan, rank)}
        assert all(0 <= x.ready <= x.start <= x.end for x in mine)
    sent = [x for x in r.timeline if x.id[-1] == "send" and x.rank == Rank("worker", (1,))]
    assert {x.peer for x in sent} == {Rank("server", (0,))}
    assert [len(p) for p in r.probes] == [3, 3, 3]


def test_a_checkpoint_of_one_strategy_goes_on_under_another(tmp_path: Path, alone: Any) -> None:
    """Server, then hybrid, then one worker: whole parameters and state travel through checkpoints."""
    first = run(job(tmp_path / "a", **SERVED, ranks=2, server_count=2, steps=2))
    second = run(job(tmp_path / "b", **CLOSE["whole"], steps=4, rest={"resume": str(first.checkpoint)}))
    third = run(job(tmp_path / "c", rest={"resume": str(second.checkpoint)}))
    assert (second.first_step, third.first_step) == (2, 4)
    assert np.allclose((*first.losses, *second.losses, *third.losses), alone(1).losses, rtol=1e-6)
    for name, a in values(alone(1)).items():
        assert np.allclose(a, values(third)[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("options", [{**SERVED, "ranks": 2}, CLOSE["turns"]], ids=["server", "hybrid"])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    stop = Once(lambda: os.kill(os.getpid(), signal.SIGINT))  # Ctrl-C
    policy = {"checkpoints": Checkpoints(every=3)}
    with pytest.raises(Interrupted) as stopped:
        run(job(tmp_path / "broken", **options, steps=100_000, rest=policy), instruments=[stop])
    assert stopped.value.checkpoint is not None
    at = stopped.value.step
    assert checkpoint.load(stopped.value.checkpoint).step == at
    rest = run(job(tmp_path / "broken", **options, steps=at + 3, rest={"resume": str(stopped.value.checkpoint)}))
    again = run(job(tmp_path / "again", **options, steps=at + 3, rest=policy))
    assert rest.losses == again.losses[at:]
    assert same(values(rest), values(again))


def test_killing_a_server_is_told_by_its_name(tmp_path: Path) -> None:
    kill = Once(lambda: os.kill(children()[2], signal.SIGKILL), after=4)
    with pytest.raises(DistributedFailure, match=r"server\[0\] failed after step \d+: killed by SIGKILL; resume from") as failed:
        run(job(tmp_path, **SERVED, ranks=2, steps=1_000_000, rest={"checkpoints": Checkpoints(every=3)}), instruments=[kill])
    assert failed.value.rank == "server[0]"
    assert failed.value.checkpoint is not None
    assert checkpoint.load(failed.value.checkpoint).step % 3 == 0


def test_what_trains_nothing_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="strategy 'inference' trains nothing, so there is nothing to save or to go on from"):
        run(job(tmp_path, "inference"))
    with pytest.raises(InvalidJob, match=r"strategy 'data_parallel' trains; .* takes no values"):
        run(job(tmp_path, rest={"values": "x"}))
