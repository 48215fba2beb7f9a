"""Worker processes that share a simulated GPU: plans as on cores, failures, interruption, checkpoints. Nets are tiny."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.parallel.strategies import STRATEGIES
from graph.text import to_text
from graph.zoo import MODELS
from runtime import checkpoint
from runtime.dist import launch
from runtime.dist.launch import run
from runtime.errors import DistributedFailure, Interrupted
from runtime.job import Block, Checkpoints, Job
from runtime.result import RunResult
from tests.runtime.test_dist import Once, children, nothing_is_left, same

__all__ = ["nothing_is_left"]  # the fixture runs here too
BATCH = 4
PATIENCE = 60.0
CODE = "import sys; sys.path.insert(0, {root}); from tests.runtime.cuda.simulated.references import work; work(broken={broken!r})"


def job(
    folder: Path | None = None, strategy: str = "data_parallel", *, platform: str = "cuda", steps: int = 2, model: str = "mlp",
    timed: bool = False, rest: Any = None, **params: Any,
) -> Job:  # fmt: skip
    params = {"ranks": 2, "steps": steps, **params}
    if strategy in ("data_parallel", "parameter_server", "hybrid"):
        params.setdefault("bucket_bytes", 512)
    image, width = ((64,), 0.03) if model == "mlp" else ((8, 8, 1), 0.1)
    size = BATCH // STRATEGIES[strategy].parts(params)
    net = MODELS[model].build(size, classes=10, image=image, width=width, depth=1, denominator=BATCH, seed=1)
    saved = {"folder": str(folder), "checkpoints": Checkpoints()} if folder else {}
    return Job(
        model=to_text(net), strategy=strategy, params=params, platform=platform, batch=BATCH, evaluate=False,
        optimizer={"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
        **{"blocks": (Block(steps=steps, timed=timed),), "peer_timeout": PATIENCE, **saved, **(rest or {})},
    )  # fmt: skip


def values(r: RunResult) -> checkpoint.Arrays:
    assert r.checkpoint is not None
    return checkpoint.load(r.checkpoint).values


@pytest.fixture(autouse=True)
def _references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on a GPU compute by references; those on cores would too, if they looked at it."""
    monkeypatch.setattr(launch, "_CODE", CODE.format(broken="", root="{root!r}"))


def ids(r: RunResult) -> set[tuple[Any, ...]]:
    """Who did what: rank, action, stream, bytes; and each began when it was ready, and no earlier than its parent."""
    assert all(0 <= x.ready <= x.start <= x.end for x in r.timeline)
    return {(str(x.rank), x.id, x.stream, x.nbytes) for x in r.timeline}


@pytest.mark.parametrize(
    ("strategy", "model", "params"),
    [
        ("data_parallel", "mlp", {}),
        ("parameter_server", "mlp", {}),
        ("parameter_server", "mlp", {"servers": "host"}),  # it stands on a core, also beside a GPU
        ("hybrid", "lenet", {}),
        ("model", "mlp", {}),
    ],
)
def test_two_workers_do_on_a_gpu_what_they_do_on_cores(strategy: str, model: str, params: dict[str, Any], tmp_path: Path) -> None:
    core, gpu = (
        run(job(tmp_path / platform, strategy, model=model, platform=platform, timed=True, **params))
        for platform in ("cpu", "cuda")
    )
    assert gpu.plan_hash == core.plan_hash and gpu.lowered_hash != core.lowered_hash
    assert len(gpu.timeline) > 16 and ids(gpu) == ids(core)
    assert gpu.bytes_sent == core.bytes_sent and gpu.bytes_sent_total > 0
    alike(gpu, core)


def alike(a: RunResult, b: RunResult) -> None:
    """To the accuracy of a few steps in f32."""
    last = min(len(a.losses), len(b.losses))
    assert a.losses[-last:] == pytest.approx(b.losses[-last:], rel=1e-5)
    assert values(a).keys() == values(b).keys()
    for name, x in values(a).items():
        assert np.allclose(x, values(b)[name], rtol=1e-4, atol=1e-6), name


def test_an_interrupted_run_goes_on_where_it_was_and_elsewhere(tmp_path: Path) -> None:
    stop = Once(lambda: os.kill(os.getpid(), signal.SIGINT))  # Ctrl-C
    with pytest.raises(Interrupted) as stopped:
        run(job(tmp_path / "broken", ranks=1, steps=100_000), instruments=[stop])
    at, saved = stopped.value.step, str(stopped.value.checkpoint)
    assert at > 0 and checkpoint.load(Path(saved)).step == at
    core, gpu = (run(job(tmp_path / p, platform=p, ranks=1, steps=at + 2, timed=True)) for p in ("cpu", "cuda"))
    assert ids(gpu) == ids(core)
    alike(gpu, core)
    rest = run(job(tmp_path / "rest", ranks=1, steps=at + 2, rest={"resume": saved}))
    assert rest.losses == gpu.losses[at:] and same(values(rest), values(gpu))
    back = run(job(tmp_path / "back", ranks=1, steps=at + 1, platform="cpu", rest={"resume": saved}))
    there = run(job(tmp_path / "there", ranks=1, steps=at + 2, rest={"resume": str(back.checkpoint)}))
    assert (back.first_step, there.first_step) == (at, at + 1)
    alike(there, core)


@pytest.mark.parametrize("victim", [0, 1])
def test_killing_a_worker_ends_the_others(tmp_path: Path, victim: int) -> None:
    kill = Once(lambda: os.kill(children()[victim], signal.SIGKILL), after=2)
    with pytest.raises(DistributedFailure) as failed:
        run(job(tmp_path, steps=100_000, rest={"checkpoints": Checkpoints(every=1)}), instruments=[kill])
    assert kill.done is not None and time.monotonic() - kill.done < 10  # of a time-out of 60 s
    assert (failed.value.rank, failed.value.reason) == (f"worker[{victim}]", "killed by SIGKILL")
    assert failed.value.checkpoint is not None and checkpoint.load(failed.value.checkpoint).step >= 1


def test_a_kernel_that_fails_names_action_layer_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_CODE", CODE.format(broken="cuda.softmax_cross_entropy_grad", root="{root!r}"))
    with pytest.raises(DistributedFailure) as failed:
        run(job(steps=4))
    said = r"worker\[[01]\] failed after step 1: step 1: 1/backward/loss/0 failed on simulator: IndexError: .*beyond the end; "
    assert re.match(said, str(failed.value)), failed.value
