"""The player of plans on emulated NFUs: values are real, time is emulated.

Every rank has an arena and plays its actions in the plan's order, in this process (`runtime.nfu.rank`). Layers of the NFU are
computed bit by bit by their instructions, everything else by the CPU's kernels. Time is `runtime.nfu.clock`'s; what ranks compute
does not depend on it.

Parameters come as they were trained, in floats; they are rounded to words, and packed, when they are loaded. Ranks take their
parts of a batch in order: step k has samples ``k x batch`` and following of the data, which begins anew after its last.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.instrument import hooks
from graph.parallel.plan import Plan
from graph.parallel.unroll import unroll
from graph.record import record
from graph.timeline import Timeline
from hw.lowered import Lowered
from hw.model import PAGE, PlacedModel
from runtime.data.dataset import Dataset
from runtime.errors import Interrupted
from runtime.nfu.clock import require_forward
from runtime.nfu.rank import NfuRank, Programs, Reals


@record
class Played:
    """What an emulated run has found.

    Parameters
    ----------
    timeline : of the first steps, seconds of the emulated clock; its records note instructions, cycles and stalls.
    steps : that were played.
    samples : numbers of the samples that were seen, each once, in that order.
    logits : f32 [samples, classes].
    memory_peak_bytes : of each rank's arena, in pages.
    """

    timeline: Timeline
    steps: int
    samples: npt.NDArray[np.int64]
    logits: Reals
    memory_peak_bytes: tuple[int, ...]

    def accuracy(self, data: Dataset) -> float:
        """Fraction of the samples seen whose largest logit is that of their label."""
        return float((self.logits.argmax(axis=-1) == data.labels[self.samples]).mean())


class Player:
    """Plays a plan in which all ranks stand on NFUs and none sends anything.

    Parameters
    ----------
    plan, lowered : what is played; role -> its lowering for `Platform.NFU`.
    model : where ranks stand, what its processor takes, and which share of a memory each NFU has.

    Raises
    ------
    MissingCapability : a rank stands on no NFU, or takes no samples, or something is sent.
    HwError : a layer that the NFU cannot do.
    """

    def __init__(self, plan: Plan, lowered: Mapping[str, Lowered], model: PlacedModel) -> None:
        self.plan, self.model = plan, model
        for r in plan.roles:
            require_forward(unroll(plan, plan.first_rank(r.name)))
        programs: Programs = {}
        self.ranks = tuple(NfuRank(lowered[rank.role], rank, model, programs) for rank in plan.ranks)

    def load(self, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Give every rank parameters and state; what is missing or has another shape is refused with `InvalidJob`."""
        for r in self.ranks:
            r.load(values)

    def play(
        self, data: Dataset, steps: int, *, recorded: int = 60, timeout: float | None = None, instruments: Sequence[object] = ()
    ) -> Played:
        """Play so many steps.

        Parameters
        ----------
        data : the samples.
        steps : at most those of the plan.
        recorded : steps of the timeline.
        timeout : seconds of this computer after which it is given up.
        instruments : who watches (`graph.instrument`): the phase, and how many of its steps are done.

        Raises
        ------
        Interrupted : Ctrl-C, or the time is over.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        for tell in hooks(instruments, "on_phase"):
            tell("emulating")
        parts, done = hooks(instruments, "on_part"), 0
        found: dict[int, Reals] = {}
        try:
            for step in zip(*(r.steps(data, steps) for r in self.ranks), strict=True):
                for which, logits in step:
                    found.update(zip(which.tolist(), logits, strict=True))
                done += 1
                for tell in parts:
                    tell(done, steps)
                if done < steps and time.monotonic() > until:
                    raise Interrupted(step=done, checkpoint=None)
        except KeyboardInterrupt:
            raise Interrupted(step=done, checkpoint=None) from None
        records = [x for r in self.ranks for x in r.records(min(steps, recorded))]
        records.sort(key=lambda x: x.end)
        return Played(
            timeline=Timeline(records, plan_hash=self.plan.hash, source="emulated"),
            steps=done,
            samples=np.array(list(found), np.int64),
            logits=np.stack(list(found.values())),
            memory_peak_bytes=tuple(-(-r.arena.arena_nbytes // PAGE) * PAGE for r in self.ranks),
        )
