"""What a timeline says of a training step. One function for every engine, so predicted and measured mean the same.

Only leaves count as work. A transfer is a leaf whose id ends in ``"send"`` or ``"recv"``; everything else is computing,
except what is on the stream ``"input"``. The step of a record is the number that its id begins with.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from statistics import median

from graph.errors import GraphError
from graph.parallel.plan import Rank
from graph.record import record
from graph.timeline import Record, Timeline

Interval = tuple[float, float]


@record
class StepStats:
    """Seconds of one step (medians over steps, then means over ranks), and totals of the whole timeline.

    The first step is left out of the medians when there are others: nothing ends before it. Where some ranks compute a forward
    pass and others only serve them, `compute_s`, `comm_s`, `exposed_comm_s` and `input_wait_s` are means over the former: that a
    server waits for its workers delays nobody.

    Parameters
    ----------
    steps : steps in the timeline.
    step_s : from the last end of the step before, over all ranks, to the last end of the step; a median over steps.
    compute_s : computing, a rank.
    comm_s : time in which a transfer of the rank is under way or waited for, between the step's two ends.
    exposed_comm_s : the part of `comm_s` in which the rank computes nothing.
    kinds : ``"forward"``, ``"backward"``, ``"update"``, ``"allreduce"`` ... -> seconds of work, a rank; waiting is no work.
    bytes_sent_total : bytes sent by all ranks in all steps.
    flop_total : arithmetic of all ranks in all steps.
    input_wait_s : time in which a rank waits for a batch, and neither computes nor transfers anything.
    """

    steps: int
    step_s: float
    compute_s: float
    comm_s: float
    exposed_comm_s: float
    kinds: Mapping[str, float]
    bytes_sent_total: int
    flop_total: int
    input_wait_s: float = 0.0


def step_of(r: Record) -> int:
    """The step of a record; 0 for ids that do not begin with one."""
    return r.id[0] if r.id and isinstance(r.id[0], int) else 0


def kind_of(r: Record) -> str:
    """What a record is about: ``"forward"`` of ``(3, "forward", "conv1", 0)``."""
    for x in r.id:
        if isinstance(x, str):
            return x
    return ""


def is_transfer(r: Record) -> bool:
    """Whether a record is a send or a receive."""
    return bool(r.id) and r.id[-1] in ("send", "recv")


def step_stats(timeline: Timeline) -> StepStats:
    """Summarize a timeline; raises `GraphError` when it is empty."""
    if not len(timeline):
        raise GraphError("an empty timeline has no steps")
    ends: dict[int, float] = {}
    leaves: dict[Rank, list[Record]] = defaultdict(list)
    sent = flop = 0
    for r in timeline:
        step = step_of(r)
        if r.end > ends.setdefault(step, r.end):
            ends[step] = r.end
        if r.is_leaf:
            leaves[r.rank].append(r)
            if r.id[-1] == "send":
                sent += r.nbytes * timeline.like.get(r.rank, 1)
            elif r.flop:
                flop += r.flop * timeline.like.get(r.rank, 1)
    steps = sorted(ends)
    first = min(r.start for r in timeline)
    windows = {b: (ends[a], ends[b]) for a, b in pairwise(steps)} or {steps[0]: (first, ends[steps[0]])}
    ranks = [(_of_rank(found, windows), timeline.like.get(r, 1)) for r, found in leaves.items()]
    workers = [(seconds, like) for seconds, like in ranks if "forward" in seconds] or ranks
    totals = _means(workers)
    return StepStats(
        steps=len(steps),
        step_s=median(b - a for a, b in windows.values()),
        compute_s=totals[_COMPUTE],
        comm_s=totals[_COMM],
        exposed_comm_s=totals[_EXPOSED],
        kinds={name: s for name, s in _means(ranks).items() if name not in _TOTALS},
        bytes_sent_total=sent,
        flop_total=flop,
        input_wait_s=totals[_INPUT],
    )


# Beside the kinds, which never begin with a space.
_TOTALS = _COMPUTE, _COMM, _EXPOSED, _INPUT = " compute", " comm", " exposed", " input"


def _means(ranks: Iterable[tuple[Mapping[str, float], int]]) -> dict[str, float]:
    """Means over ranks, each of which stands for some."""
    ranks = list(ranks)
    of_all, mean = sum(like for _, like in ranks), dict.fromkeys(_TOTALS, 0.0)
    for seconds, like in ranks:
        for name, s in seconds.items():
            mean[name] = mean.get(name, 0.0) + s * like / of_all
    return mean


def _of_rank(leaves: list[Record], windows: Mapping[int, Interval]) -> dict[str, float]:
    """One rank's medians over steps, by kind. Waiting counts in the step in which it passes, whatever it is for."""
    computing, moving, waiting = list[Interval](), list[Interval](), list[Interval]()
    by_step: dict[int, dict[str, float]] = {k: defaultdict(float) for k in windows}
    for r in leaves:
        if (seconds := by_step.get(step_of(r))) is not None:
            seconds[kind_of(r)] += r.end - r.start
        if is_transfer(r):
            moving.append((r.ready, r.end))
        elif r.stream != "input":
            computing.append((r.start, r.end))
            if seconds is not None:
                seconds[_COMPUTE] += r.end - r.start
        if r.stream == "input" and r.start > r.ready:
            waiting.append((r.ready, r.start))
    busy, transfers, inputs = union(computing), union(moving), union(waiting)
    active = union((r.start, r.end) for r in leaves) if inputs else []
    for step, (begin, end) in windows.items():
        seconds, comm = by_step[step], within(transfers, begin, end)
        seconds[_COMM] = sum(b - a for a, b in comm)
        seconds[_EXPOSED] = sum(b - a - _overlap(busy, a, b) for a, b in comm)
        seconds[_INPUT] = sum(b - a - _overlap(active, a, b) for a, b in within(inputs, begin, end))
    names = dict.fromkeys(name for seconds in by_step.values() for name in seconds)
    return {name: median(seconds.get(name, 0.0) for seconds in by_step.values()) for name in names}


def within(intervals: Sequence[Interval], begin: float, end: float) -> list[Interval]:
    """What of disjoint intervals, in order, lies between two times."""
    first = bisect_right(intervals, begin, key=lambda i: i[1])
    found: list[Interval] = []
    for a, b in islice(intervals, first, None):
        if a >= end:
            break
        found.append((max(a, begin), min(b, end)))
    return found


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Disjoint intervals that cover the same time, in order."""
    found: list[Interval] = []
    for a, b in sorted(intervals):
        if found and a <= found[-1][1]:
            found[-1] = found[-1][0], max(b, found[-1][1])
        else:
            found.append((a, b))
    return found


def _overlap(union: list[Interval], a: float, b: float) -> float:
    """Seconds of [a, b] that the disjoint, ordered intervals cover."""
    total = 0.0
    for k in range(max(bisect_right(union, (a,)) - 1, 0), len(union)):
        if union[k][0] >= b:
            break
        total += max(min(b, union[k][1]) - max(a, union[k][0]), 0.0)
    return total
