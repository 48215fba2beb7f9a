"""What a step's time goes into: seconds by kind of action that no other kind hides, which with waiting add up to the step.

`graph.step_stats` sums the work of each kind, whether or not something else goes on at the same time. A picture of a step needs
parts that add up: here a moment belongs to the first kind of `ORDER` that is at work on the rank, and to waiting when none is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean, median, quantiles

from graph.parallel.plan import Rank
from graph.step_stats import Interval, kind_of, step_of, union
from graph.timeline import Record, Timeline

ORDER = ("forward", "backward", "update", "allreduce", "input")
WAITING = "waiting"
_PART_OF = {"accumulate": "backward"}  # adding up the gradients of micro-batches belongs to making them

Parts = Mapping[str, float]


def exposure(timeline: Timeline) -> dict[str, float]:
    """Seconds of a typical step by kind, and waiting: means over the ranks, medians over the steps.

    The first step is left out when there are others, for nothing ends before it. Every kind of `ORDER` is there, and zero where
    nothing of it happened.
    """
    by_step: dict[int, dict[Rank, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for r in timeline:
        if r.is_leaf:
            by_step[step_of(r)][r.rank].append(r)
    steps = sorted(by_step)
    found = []
    for step in steps[1:] or steps:
        before = by_step.get(step - 1, {})
        parts = [(_parts(rs, before.get(rank, ())), timeline.like.get(rank, 1)) for rank, rs in by_step[step].items()]
        found.append(_over(parts, lambda pairs: sum(s * n for s, n in pairs) / sum(n for _, n in pairs)))
    if not found:
        return dict.fromkeys((*ORDER, WAITING), 0.0)
    return _over([(f, 1) for f in found], lambda pairs: median(s for s, _ in pairs))


def kind_bands(timeline: Timeline) -> tuple[dict[str, float], dict[str, float]]:
    """The 10th and 90th percentile over the steps of the work of each kind, a rank: the repeat band of `StepStats.kinds`.

    Both are empty for fewer than two steps beyond the first, which is left out.
    """
    work: dict[int, dict[Rank, dict[str, float]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    for r in timeline:
        if r.is_leaf:
            work[step_of(r)][r.rank][kind_of(r)] += r.seconds
    steps = sorted(work)[1:]
    kinds = {k for step in steps for rank in work[step].values() for k in rank}
    low, high = {}, {}
    for kind in sorted(kinds) if len(steps) > 1 else ():
        seconds = [fmean(rank.get(kind, 0.0) for rank in work[step].values()) for step in steps]
        deciles = quantiles(seconds, n=10, method="inclusive")
        low[kind], high[kind] = deciles[0], deciles[-1]
    return low, high


def _parts(records: list[Record], before: Iterable[Record]) -> Parts:
    """One step of one rank, from the end of the step before."""
    begin = max((r.end for r in before), default=min(r.start for r in records))
    end = max(r.end for r in records)
    leaves: dict[str, list[Interval]] = defaultdict(list)
    for r in records:
        kind = _PART_OF.get(kind_of(r), kind_of(r))
        if r.end > begin:
            leaves[kind].append((max(r.start, begin), r.end))
    covered: list[Interval] = []
    parts, so_far = {}, 0.0
    for kind in (*ORDER, *sorted(set(leaves) - set(ORDER))):
        covered = union([*covered, *leaves[kind]])
        total = sum(b - a for a, b in covered)
        parts[kind], so_far = total - so_far, total
    return {**parts, WAITING: max(end - begin - so_far, 0.0)}


def _over(found: list[tuple[Parts, int]], combine: Callable[[list[tuple[float, int]]], float]) -> dict[str, float]:
    names = dict.fromkeys(k for parts, _ in found for k in parts)
    return {k: combine([(parts.get(k, 0.0), n) for parts, n in found]) for k in names}
