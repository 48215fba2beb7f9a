"""What a run returns."""

from collections.abc import Mapping
from pathlib import Path

from graph.record import record
from graph.timeline import Timeline


@record
class Probe:
    """Seconds of the probes: a chain of arithmetic in registers, a copy in the core's cache (`runtime.measure`), and, between
    workers, a meeting: the time until a word that one core writes is seen by the other. 0.0 where a worker is alone, or shares
    its core.
    """

    arithmetic: float
    copy: float
    meeting: float = 0.0


@record
class BlockResult:
    """A block as it was run.

    Parameters
    ----------
    first : number of its first step, counted from the beginning of the training.
    steps : how many it had.
    timed : its actions were timed.
    seconds : from the last worker's start at the barrier to the last worker's end.
    step_seconds : one a step: from the end of the step before it (in the first: the start) to its end, the later of all workers.
    """

    first: int
    steps: int
    timed: bool
    seconds: float
    step_seconds: tuple[float, ...]


@record
class RunResult:
    """A finished run.

    Parameters
    ----------
    first_step : step from which it went on; 0 unless resumed.
    steps : steps completed since the beginning of the training.
    losses : mean loss over the whole batch, one for each step run here; empty when the plan computes none.
    blocks : the blocks that were run.
    timeline : measured actions of the timed blocks; seconds since the first barrier; ids as in the plan.
    bytes_sent : (source rank, destination rank, lane) -> bytes, counted by the transport. Ranks as text, e.g. ``"worker[0]"``.
    bytes_sent_total : their sum, over all steps that were run here.
    memory_peak_bytes : by rank: what the process's own counters rose by (see `runtime.measure.Memory`).
    lane_bytes : shared memory of the letters, in no rank's peak.
    accuracy : fraction right of the `held_out` samples; None: not asked for.
    held_out : samples set aside.
    checkpoint : the final checkpoint, which holds the parameters.
    probes : rank -> before the first block, then after each; empty unless asked for.
    cpus : rank -> core it was pinned to, or -1.
    compile_seconds : until all kernels were compiled or loaded.
    wall_seconds : of the whole call.
    plan_hash, lowered_hash : of what was run.
    """

    first_step: int
    steps: int
    losses: tuple[float, ...]
    blocks: tuple[BlockResult, ...]
    timeline: Timeline
    bytes_sent: Mapping[tuple[str, str, str], int]
    bytes_sent_total: int
    memory_peak_bytes: tuple[int, ...]
    lane_bytes: int
    accuracy: float | None
    held_out: int
    checkpoint: Path | None
    probes: tuple[tuple[Probe, ...], ...]
    cpus: tuple[int, ...]
    compile_seconds: float
    wall_seconds: float
    plan_hash: str
    lowered_hash: str

    @property
    def loss(self) -> float:
        """Of the last step."""
        return self.losses[-1]
