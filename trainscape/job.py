"""From a scenario to a job: what worker processes are told; and running it within the scenario's time."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from graph.parallel.plan import Plan
from graph.text import to_text
from hw.kernels import chosen
from runtime.cuda.driver import is_simulated
from runtime.dist.launch import run
from runtime.errors import Interrupted
from runtime.job import Block, Job, Source, lowered_hash
from runtime.result import RunResult
from trainscape.build import Built
from trainscape.errors import TimedOut
from trainscape.scenario import DIGITS, MADE_UP, DataName

SIMULATED_TIMEOUT = 3600.0
"""Seconds that a worker waits for another one where kernels are simulated: a step may take minutes there."""


def source_of(built: Built, folder: Path | None) -> Source:
    """Where the samples of a scenario come from, as a job says it."""
    data, held_out = built.scenario.data, built.scenario.run.held_out
    names = {DataName.DIGITS: "digits", DataName.MNIST: "idx", DataName.CIFAR10: "cifar10", **dict.fromkeys(MADE_UP, "synthetic")}
    fraction = held_out / DIGITS if data.name is DataName.DIGITS else 0.0
    return Source(name=names[data.name], path=str(folder or ""), held_out=fraction)


def job_of(built: Built, blocks: tuple[Block, ...], *, data: Path | None, **options: Any) -> Job:
    """The run of a scenario in these blocks; `options` are further fields of the job."""
    steps = sum(b.steps for b in blocks)
    if built.is_gpu and is_simulated():
        options = {"peer_timeout": SIMULATED_TIMEOUT, **options}
    return Job(
        model=to_text(built.model_graph),
        optimizer=asdict(built.optimizer),
        strategy=built.scenario.parallel.strategy,
        params={**built.strategy_options, "steps": steps},
        platform=built.platform.value,
        algorithms=chosen(built.scenario.system.algorithm, built.platform),
        source=source_of(built, data),
        batch=built.scenario.model.batch,
        seed=built.scenario.seed,
        blocks=blocks,
        plan_hash=built.plan.hash,
        lowered_hash=lowered_hash(built.lowered),
        **options,
    )


def workers(plan: Plan) -> str:
    """Who plays, in words: ``"2 workers and 1 server"``."""
    count = Counter(rank.role.partition(".")[0] for rank in plan.ranks)
    return " and ".join(f"{n} {name}{'s' if n > 1 and not name.endswith('s') else ''}" for name, n in count.items())


class _Phase:
    """An instrument (`graph.instrument`) that remembers what a run is at."""

    now = ""

    def on_phase(self, what: str) -> None:
        """It begins."""
        self.now = what


def run_in_time(job: Job, timeout: float, instruments: Sequence[object]) -> RunResult:
    """Run a job; raises `TimedOut` when it takes longer than `timeout` seconds, start-up included. It was saved, if it saves."""
    until, phase = time.monotonic() + timeout, _Phase()
    try:
        return run(job, instruments=(*instruments, phase), timeout=timeout)
    except Interrupted as e:
        if time.monotonic() < until:
            raise
        raise TimedOut(seconds=timeout, step=e.step, checkpoint=e.checkpoint, is_testing=phase.now == "testing") from e
