"""What a run is: all that a worker process needs, as one JSON document. Workers rebuild graph, plan and lowering from it.

Graph, plan and lowering are deterministic, so they travel as text and parameters, and every worker compares its hashes with
those of the process that made the job. Nothing is pickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from graph.parallel.plan import Plan
from graph.record import record
from hw.lowered import Lowered
from runtime.errors import InvalidJob

SCHEMA = "trainscape.job/1"


@record
class Source:
    """Where the samples come from.

    Parameters
    ----------
    name : ``"digits"`` (shipped), ``"idx"`` (MNIST's format), ``"cifar10"`` (binary version), ``"synthetic"`` (noise of the
        model's shape, for timing).
    path : folder with the files; empty for the shipped and the synthetic ones.
    held_out : fraction of the samples set aside for accuracy, where the files do not say it.
    """

    name: str = "digits"
    path: str = ""
    held_out: float = 0.2


@record
class Block:
    """Steps between two barriers: all workers begin a block together.

    Parameters
    ----------
    steps : how many.
    timed : record ready, start and end of every action. That costs time: compare steps of blocks that are not timed.
    evaluate : measure the accuracy on the held-out samples after it; the last block that says so gives the run's accuracy.
    """

    steps: int
    timed: bool = False
    evaluate: bool = False


@record
class Checkpoints:
    """When the run is saved: at its start and end, when interrupted, and in between.

    Parameters
    ----------
    every : steps between checkpoints; 0: none in between.
    keep : how many of the newest stay.
    """

    every: int = 0
    keep: int = 3


@record
class Job:
    """A training run.

    Parameters
    ----------
    model : text form (`graph.text`) of the model graph of one micro-batch of one worker; empty: the strategy needs none.
    optimizer : settings of `graph.optimizer.Sgd`.
    strategy : name of a parallel strategy.
    params : its parameters, e.g. ``{"ranks": 2, "steps": 400, "micro_batches": 1, "bucket_bytes": 65536}``.
    platform : of the kernels.
    algorithms : operator -> algorithm, where `hw.lower` shall not choose.
    source : the data.
    batch : samples in a step, over all workers and micro-batches.
    seed : of parameters, order of samples, and dropout.
    blocks : the steps, in blocks; empty blocks are refused.
    checkpoints : when to save; None: never.
    folder : the run folder; empty: nothing is written.
    resume : file of the checkpoint to go on from; its step counts towards `steps`. Empty: from the beginning.
    values : file of the checkpoint whose parameters and state a strategy that trains nothing computes with; empty: those that a
        training would begin with.
    evaluate : measure the accuracy on the held-out samples at the end, unless a block says so itself.
    probe : run the arithmetic and copy probes before the first block and after each.
    pin : worker r keeps to the r-th core that this process may use, where there are enough.
    peer_timeout : seconds a worker waits for a letter or a batch before it gives up.
    is_careful : on a GPU, wait after every action, so that an error is that of the action; slow.
    plan_hash, lowered_hash : what the maker of the job built; empty: not compared.
    """

    model: str
    optimizer: Mapping[str, float] = field(default_factory=lambda: {"learning_rate": 0.1})
    strategy: str = "data_parallel"
    params: Mapping[str, Any] = field(default_factory=dict)
    platform: str = "cpu"
    algorithms: Mapping[str, str] = field(default_factory=dict)
    source: Source = Source()
    batch: int
    seed: int = 0
    blocks: tuple[Block, ...]
    checkpoints: Checkpoints | None = None
    folder: str = ""
    resume: str = ""
    values: str = ""
    evaluate: bool = True
    probe: bool = False
    pin: bool = True
    peer_timeout: float = 30.0
    is_careful: bool = False
    plan_hash: str = ""
    lowered_hash: str = ""

    def __post_init__(self) -> None:
        if not self.blocks or any(b.steps < 1 for b in self.blocks):
            raise InvalidJob(f"a job needs blocks of at least one step each, got {[b.steps for b in self.blocks]}")
        if self.batch < 1:
            raise InvalidJob(f"batch must be at least 1, got {self.batch}")
        if self.checkpoints and not self.folder:
            raise InvalidJob("a job with checkpoints needs a run folder")
        if self.values and self.resume:
            raise InvalidJob("a job goes on from a checkpoint (resume), or only takes its parameters (values), not both")

    @property
    def steps(self) -> int:
        """Steps of all blocks: the step at which the run ends when it is not resumed."""
        return sum(b.steps for b in self.blocks)

    @property
    def checkpoint_folder(self) -> Path | None:
        """Where checkpoints lie."""
        return Path(self.folder) / "checkpoints" if self.checkpoints else None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The inverse of `to_json`; raises `InvalidJob`."""
        try:
            d = json.loads(text)
            if d.pop("schema", None) != SCHEMA:
                raise InvalidJob(f"not a job: its schema is not {SCHEMA!r}")
            d["source"] = Source(**d["source"])
            d["blocks"] = tuple(Block(**b) for b in d["blocks"])
            d["checkpoints"] = Checkpoints(**d["checkpoints"]) if d["checkpoints"] else None
            return cls(**d)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise InvalidJob(f"not a job: {e}") from e


def build(job: Job) -> tuple[Plan, Mapping[str, Lowered]]:
    """Plan and lowering of each of its roles; raises `InvalidJob` when they are not those of the job's maker."""
    from graph.optimizer import Sgd
    from graph.parallel.strategies import STRATEGIES
    from graph.text import from_text
    from hw.kernels.record import Platform
    from hw.lower import lower
    from hw.place import platform_here

    model = from_text(job.model) if job.model else None
    plan = STRATEGIES[job.strategy](model, Sgd(**job.optimizer), **job.params)
    if job.plan_hash and job.plan_hash != plan.hash:
        raise InvalidJob(f"the job was made for plan {job.plan_hash}, here its parameters give plan {plan.hash}")
    platform = Platform(job.platform)
    lowered = {r.name: lower(plan, r.name, platform_here(r, platform), algorithms=job.algorithms) for r in plan.roles}
    if job.lowered_hash and job.lowered_hash != lowered_hash(lowered):
        raise InvalidJob(f"the job was lowered to {job.lowered_hash}, here it lowers to {lowered_hash(lowered)}")
    return plan, lowered


def lowered_hash(lowered: Mapping[str, Lowered]) -> str:
    """Identity of the lowering of all roles."""
    if len(lowered) == 1:
        return next(iter(lowered.values())).hash
    return sha256(",".join(f"{name}:{low.hash}" for name, low in lowered.items()).encode()).hexdigest()[:16]
