"""From clock stamps to a `Timeline` with the plan's ids."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Collective, Do, Plan, Rank, Recv, Send
from graph.parallel.unroll import StepAction, unroll
from graph.timeline import Record
from hw.lowered import Lowered


def records(lowered: Lowered, rank: Rank, first: int, stamps: npt.NDArray[np.int64], origin: int) -> Iterator[Record]:
    """Records of some steps of one rank.

    Parameters
    ----------
    lowered : what was run.
    rank : by whom.
    first : number of the first step in `stamps`.
    stamps : i64[steps, leaves, 3]: nanoseconds at which each leaf was ready, started and ended.
    origin : the clock's nanosecond that is the timeline's zero.
    """
    actions = unroll(lowered.plan, rank)
    leaf = {a.index: k for k, a in enumerate(a for a in actions if a.is_leaf)}
    children: dict[int, list[int]] = {}
    for a in actions:
        if a.parent is not None:
            children.setdefault(a.parent, []).append(leaf[a.index])
    seconds = (stamps - origin) * 1e-9
    for k in range(len(stamps)):
        found = []
        for a in actions:
            rows = (
                seconds[k, children[a.index]] if a.index in children else seconds[k, leaf[a.index]][None] if a.is_leaf else None
            )
            if rows is not None:
                ready, start, end = float(rows[:, 0].min()), float(rows[:, 1].min()), float(rows[:, 2].max())
                found.append(_record(lowered, rank, a, first + k, ready, start, end))
        yield from sorted(found, key=lambda r: (r.end, r.is_leaf is False))


def _record(lowered: Lowered, rank: Rank, a: StepAction, step: int, ready: float, start: float, end: float) -> Record:
    nbytes, flop = _amount(lowered, lowered.plan, rank, a.ins)
    return Record(
        rank=rank, id=(step, *a.id[1:]), stream=a.ins.on, ready=ready, start=start, end=end, nbytes=nbytes, flop=flop,
        is_leaf=a.is_leaf, note=a.ins.note, peer=_peer(lowered.plan, rank, a.ins),
    )  # fmt: skip


def _peer(plan: Plan, rank: Rank, ins: Any) -> Rank | None:
    """The rank on the other side of a transfer."""
    if isinstance(ins, Send):
        return plan.peer(rank, ins.to)
    return plan.peer(rank, ins.source) if isinstance(ins, Recv) and not isinstance(ins.source, str) else None


def _amount(lowered: Lowered, plan: Plan, rank: Rank, ins: Any) -> tuple[int, int]:
    """(bytes, flop) of an action."""
    if isinstance(ins, Do):
        work = lowered.work(ins.kernel)
        return work.nbytes, work.flop
    if isinstance(ins, Send):
        return plan.nbytes(rank, ins.what), 0
    if isinstance(ins, Recv):
        n = plan.nbytes(rank, ins.into)
        return n, n // 4 if ins.add else 0
    return (plan.nbytes(rank, ins.what), 0) if isinstance(ins, Collective) else (0, 0)
