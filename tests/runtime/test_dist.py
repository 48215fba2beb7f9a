"""Real runs with real processes: equal bits, failures, resumption, counters. Small nets on the shipped digits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.errors import GraphError
from graph.parallel.plan import Rank
from graph.parallel.unroll import unroll
from graph.text import to_text
from graph.timeline import Record
from graph.zoo import MODELS
from hw.errors import DoesNotFit
from runtime import checkpoint
from runtime.checkpoint import Arrays
from runtime.dist import launch
from runtime.dist.launch import run
from runtime.errors import CheckpointError, DataError, DistributedFailure, Interrupted, InvalidJob
from runtime.job import Block, Checkpoints, Job, build
from runtime.result import RunResult
from runtime.table import wire_sizes

pytestmark = pytest.mark.xdist_group("processes")  # each run wants two cores for itself
IMAGE = {"mlp": (64,), "lenet": (8, 8, 1)}


def job(
    folder: Path | None = None, *, model: str = "mlp", ranks: int = 1, micro_batches: int = 1, batch: int = 32, steps: int = 10,
    width: float = 0.5, dropout: float = 0.2, seed: int = 0, bucket_bytes: int = 8192,
    blocks: tuple[Block, ...] | None = None, **rest: Any,
) -> Job:  # fmt: skip
    size = batch // (ranks * micro_batches)
    net = MODELS[model].build(size, classes=10, dropout=dropout, denominator=batch, seed=seed, image=IMAGE[model], width=width)
    blocks = blocks or (Block(steps=steps),)
    params = {"ranks": ranks, "steps": sum(b.steps for b in blocks), "micro_batches": micro_batches, "bucket_bytes": bucket_bytes}
    if folder:
        rest = {"folder": str(folder), "checkpoints": Checkpoints(), **rest}
    optimizer = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
    return Job(model=to_text(net), optimizer=optimizer, params=params, batch=batch, seed=seed, blocks=blocks, **rest)


def values(r: RunResult) -> Arrays:
    assert r.checkpoint is not None
    return checkpoint.load(r.checkpoint).values


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)


def shared_memory() -> list[str]:
    return sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else []


def children(parent: int | None = None) -> list[int]:
    """Processes that a process has started and that are still there, oldest first."""
    found = []
    for p in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = p.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:  # it ended while we looked
            continue
        if int(its_parent) == (parent or os.getpid()) and state != "Z":
            found.append(int(p.parent.name))
    return sorted(found)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = shared_memory(), len(os.listdir("/proc/self/fd")), children()
    yield
    assert (shared_memory(), len(os.listdir("/proc/self/fd")), children()) == before


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_two_workers_equal_one_with_two_micro_batches_bit_for_bit(tmp_path: Path, model: str) -> None:
    one = run(job(tmp_path / "one", model=model, micro_batches=2))
    two = run(job(tmp_path / "two", model=model, ranks=2))
    whole = run(job(tmp_path / "whole", model=model))
    assert one.losses == two.losses
    assert same(values(one), values(two))
    assert one.accuracy == two.accuracy
    # One undivided batch adds the same numbers in another order.
    assert np.allclose(whole.losses, two.losses, rtol=1e-4)
    for name, a in values(whole).items():
        assert np.allclose(a, values(two)[name], rtol=1e-3, atol=1e-5), name


def test_bytes_sent_are_those_of_the_plan(tmp_path: Path) -> None:
    j = job(ranks=2, steps=7, evaluate=False)
    r = run(j)
    plan, _ = build(j)
    gradients = sum(b.size * b.itemsize for b in plan.role["worker"].buffers.values() if b.kind == "gradient")
    assert r.bytes_sent_total == 7 * 2 * (2 - 1) * gradients  # the ring's closed form: 2 (N - 1) / N of the bytes, from each of N
    assert dict(r.bytes_sent) == {(str(a), str(b), lane): 7 * n for (a, b, lane), (_, n) in wire_sizes(plan).items()}
    assert run(job(steps=3, evaluate=False)).bytes_sent_total == 0


def test_a_plan_that_only_communicates_is_played_too() -> None:
    params = {"ranks": 3, "steps": 6, "sizes": [3, 3000]}  # more ranks than cores: they take turns
    r = run(Job(model="", strategy="exchange", params=params, batch=1, blocks=(Block(steps=6),)))
    assert r.bytes_sent_total == 6 * 2 * (3 - 1) * 3003 * 4
    assert (r.losses, r.accuracy, r.held_out) == ((), None, 0)


def test_training_learns_the_digits() -> None:
    r = run(job(ranks=2, steps=600, dropout=0.0))
    assert r.held_out == 359
    assert r.accuracy is not None
    assert r.accuracy > 0.9
    assert np.mean(r.losses[-20:]) < 0.3 < 2.0 < np.mean(r.losses[:5])


def test_blocks_stamps_and_timeline() -> None:
    j = job(ranks=2, blocks=(Block(steps=5), Block(steps=4), Block(steps=3, timed=True)), probe=True, evaluate=False)
    r = run(j)
    plan, _ = build(j)
    assert [(b.first, b.steps, b.timed) for b in r.blocks] == [(0, 5, False), (5, 4, False), (9, 3, True)]
    for b in r.blocks:
        assert len(b.step_seconds) == b.steps
        assert min(b.step_seconds) > 0
        assert sum(b.step_seconds) == pytest.approx(b.seconds)
    assert len(r.losses) == 12
    assert [len(p) for p in r.probes] == [4, 4]
    assert r.timeline.plan_hash == plan.hash
    for rank in plan.ranks:
        want = {(k, *a.id[1:]) for k in (9, 10, 11) for a in unroll(plan, rank)}
        mine = [x for x in r.timeline if x.rank == rank]
        assert {x.id for x in mine} == want
        assert len(mine) == len(want)
        assert all(0 <= x.ready <= x.start <= x.end for x in mine)
        parents = {x.id: x for x in mine if not x.is_leaf}
        assert parents
        for x in mine:
            parent = parents.get(x.id[:3])
            if x.is_leaf and parent:
                assert parent.start <= x.start <= x.end <= parent.end


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path: Path, ranks: int) -> None:
    whole = run(job(tmp_path / "whole", ranks=ranks, steps=10))
    broken = tmp_path / "broken"
    with pytest.raises(Interrupted) as stopped:
        run(job(broken, ranks=ranks, steps=100_000), instruments=[Once(lambda: os.kill(os.getpid(), signal.SIGINT))])  # Ctrl-C
    assert 0 < stopped.value.step < 100_000
    assert stopped.value.checkpoint is not None
    at = stopped.value.step
    assert checkpoint.load(stopped.value.checkpoint).step == at
    rest = run(job(broken, ranks=ranks, steps=at + 10, resume=str(broken)))
    assert rest.first_step == at
    again = run(job(tmp_path / "again", ranks=ranks, steps=at + 10))
    assert rest.losses == again.losses[at:]
    assert same(values(rest), values(again))
    assert whole.losses == again.losses[:10]


class Once:
    """Does it when so many steps are completed, and then no more."""

    def __init__(self, act: Callable[[], None], *, after: int = 1) -> None:
        self.act, self.after = act, after
        self.done: float | None = None

    def on_step(self, step: int, steps: int, loss: float) -> None:
        if step >= self.after and self.done is None:
            self.done = time.monotonic()
            self.act()


@pytest.mark.parametrize("victim", [0, 1])
def test_killing_a_worker_ends_the_run_with_a_usable_checkpoint(tmp_path: Path, victim: int) -> None:
    kill = Once(lambda: os.kill(children()[victim], signal.SIGKILL), after=8)
    with pytest.raises(DistributedFailure) as failed:
        run(job(tmp_path, ranks=2, steps=1_000_000, checkpoints=Checkpoints(every=5)), instruments=[kill])
    assert kill.done is not None
    assert time.monotonic() - kill.done < 10
    e = failed.value
    assert (e.rank, e.reason) == (f"worker[{victim}]", "killed by SIGKILL")
    assert f"worker[{victim}] failed after step" in str(e)
    assert e.checkpoint is not None
    at = checkpoint.load(e.checkpoint).step
    assert at % 5 == 0
    rest = run(job(tmp_path, ranks=2, steps=at + 4, resume=str(e.checkpoint)))
    again = run(job(tmp_path / "again", ranks=2, steps=at + 4))
    assert same(values(rest), values(again))


def test_a_lone_worker_may_be_killed_too(tmp_path: Path) -> None:
    def kill() -> None:
        os.kill(children()[0], signal.SIGKILL)

    with pytest.raises(DistributedFailure, match=r"worker\[0\] failed after step .* killed by SIGKILL"):
        run(job(tmp_path, steps=1_000_000), instruments=[Once(kill)])


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    """The parent is killed the hard way; its workers are gone a moment later."""
    code = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from runtime.dist.launch import run
from runtime.job import Job
class Tell:
    def on_step(self, step, steps, loss):
        print(step, flush=True)
run(Job.from_json(sys.stdin.read()), instruments=[Tell()])
"""
    p = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdin is not None
    assert p.stdout is not None
    p.stdin.write(job(ranks=2, steps=1_000_000).to_json())
    p.stdin.close()
    assert int(p.stdout.readline()) > 0
    workers = children(p.pid)
    assert len(workers) == 2
    p.kill()
    p.wait()
    p.stdout.close()
    until = time.monotonic() + 5
    while any(_alive(w) for w in workers) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [w for w in workers if _alive(w)]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_stops_answering_is_noticed() -> None:
    def freeze() -> None:
        os.kill(children()[1], signal.SIGSTOP)

    with pytest.raises(
        DistributedFailure,
        match=r"worker\[1\] failed .* stopped by SIGSTOP",
    ):
        run(job(ranks=2, steps=1_000_000, peer_timeout=0.5), instruments=[Once(freeze)])


def test_a_lone_worker_that_is_stopped_is_noticed() -> None:
    with pytest.raises(DistributedFailure, match=r"worker\[0\] failed .* stopped by SIGSTOP for 0\.\d s"):
        run(
            job(steps=1_000_000, peer_timeout=0.3),
            instruments=[Once(lambda: os.kill(children()[0], signal.SIGSTOP))],
        )


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGSTOP, r"stopped by SIGSTOP for 0\.\d s")]
)
def test_a_worker_that_is_lost_while_it_starts(monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    start = launch._Watch.start

    def started(watch: launch._Watch) -> None:
        start(watch)
        os.kill(watch.workers[1].pid, number)

    monkeypatch.setattr(launch._Watch, "start", started)
    with pytest.raises(DistributedFailure, match=rf"worker\[1\] failed after step 0: {reason}"):
        run(job(ranks=2, steps=10, peer_timeout=0.3))


def test_a_run_ends_when_its_time_is_over_even_if_no_step_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    began = time.monotonic()
    monkeypatch.setattr(launch, "_STOP_SECONDS", 0.3)
    with pytest.raises(Interrupted):
        run(
            job(tmp_path, steps=1_000_000, peer_timeout=60.0),
            instruments=[Once(lambda: os.kill(children()[0], signal.SIGSTOP))],
            timeout=2.0,
        )
    assert time.monotonic() - began < 10


def test_what_does_not_fit_into_memory_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.dist.prepare._available_bytes", lambda: 1 << 20)
    monkeypatch.setattr(launch, "_Watch", None)
    said = r"2 workers need [\d,]+ bytes of memory, this computer has 1,048,576 free: [\d,]+ too few"
    with pytest.raises(DoesNotFit, match=said):
        run(job(ranks=2))


def test_a_batch_of_more_samples_than_there_are_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_Watch", None)
    with pytest.raises(DataError, match="a micro-batch of 2048 needs as many samples, UCI digits has 1438 to train on"):
        run(job(ranks=2, batch=4096))


def test_closed_standard_streams_do_no_harm(tmp_path: Path) -> None:
    """The shared memory must not get the number of a stream that the worker opens anew."""
    text = tmp_path / "job.json"
    text.write_text(job(ranks=2, steps=3, evaluate=False).to_json())
    code = f"""
import os, sys; sys.path.insert(0, {str(Path.cwd())!r}); os.close(0); os.close(1)
from pathlib import Path
from runtime.dist.launch import run
from runtime.job import Job
assert len(run(Job.from_json(Path({str(text)!r}).read_text())).losses) == 3
"""
    found = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")


def test_what_goes_wrong_in_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Job.from_json(_with(job(ranks=2), source={"name": "idx", "path": "", "held_out": 0.2}))
    with pytest.raises(DataError, match="MNIST needs a folder with its files"):
        run(missing)
    monkeypatch.setattr("runtime.dist.prepare.load_for", lambda job, graph: None)
    with pytest.raises(DistributedFailure, match=r"worker\[.\] failed after step 0: MNIST needs a folder"):
        run(missing)


def _with(j: Job, **changes: Any) -> str:
    return json.dumps({**json.loads(j.to_json()), **changes})


def test_a_job_that_was_made_for_another_plan_is_refused() -> None:
    with pytest.raises(InvalidJob, match="the job was made for plan 0123, here its parameters give plan"):
        run(Job.from_json(_with(job(), plan_hash="0123")))


def test_another_model_s_checkpoint_is_refused(tmp_path: Path) -> None:
    run(job(tmp_path, steps=2, evaluate=False))
    with pytest.raises(CheckpointError, match=r"is float32\[.*\] in the checkpoint and float32\[.*\] in the model"):
        run(job(tmp_path / "other", width=0.25, steps=3, resume=str(tmp_path)))


class Everything:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.steps: list[int] = []
        self.actions: list[tuple[str, float]] = []
        self.ended: list[Record] = []

    def on_phase(self, what: str) -> None:
        self.phases.append(what)

    def on_step(self, step: int, steps: int, loss: float) -> None:
        self.steps.append(step)

    def on_action_start(self, rank: Rank, id: tuple[object, ...], stream: str, time: float) -> None:
        self.actions.append(("start", time))

    def on_action_end(self, record: Record) -> None:
        self.actions.append(("end", record.end))
        self.ended.append(record)


def test_instruments_see_phases_steps_and_timed_actions() -> None:
    seen = Everything()
    r = run(job(blocks=(Block(steps=3000), Block(steps=2, timed=True))), instruments=[seen])
    assert [p for p in seen.phases[:4] if p != "compiling kernels"][:3] == ["loading kernels", "starting workers", "training"]
    assert seen.steps == sorted(set(seen.steps))
    assert seen.ended == list(r.timeline)
    assert [t for _, t in seen.actions] == sorted(t for _, t in seen.actions)
    assert sum(what == "start" for what, _ in seen.actions) == sum(x.is_leaf for x in r.timeline) > 0


def test_a_misspelt_instrument_is_refused_before_anything_starts() -> None:
    class Wrong:
        def on_progress(self, step: int, steps: int, loss: float) -> None: ...

    with pytest.raises(GraphError, match=r"Wrong.on_progress is no method of an instrument; "):
        run(job(), instruments=[Wrong()])


def test_memory_grows_by_the_arena() -> None:
    j = job(model="lenet", batch=256, steps=20, evaluate=False)
    (lowered,) = build(j)[1].values()
    (grown,) = run(j).memory_peak_bytes
    assert grown == pytest.approx(lowered.layout.nbytes, rel=0.05)
