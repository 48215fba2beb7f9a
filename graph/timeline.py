"""What happened when: one record an action, the same from every engine, joined by rank and action.

An action's id is its path ``(step, what, of what, ...)``; less the step it names the action, and a prefix is a coarser one.
Leaves are the actions that hold a device or a link; parents (a collective) span their children. Waiting for a peer is not
work: a leaf's `start` is when it began to do something, `ready` when its operands and its stream were free.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from graph.parallel.plan import Path, Rank
from graph.record import record


@record
class Record:
    """One action as it happened.

    Parameters
    ----------
    rank : who did it.
    id : path of the action.
    stream : on what stream of the rank.
    ready, start, end : seconds on the timeline's clock; ready <= start <= end.
    nbytes : bytes sent or received (transfers), or touched (kernels).
    flop : arithmetic done.
    is_leaf : it held a device or a link itself; a parent only spans its children.
    note : what the program said of it.
    peer : of a transfer, the rank on the other side; None where the engine did not write it down.
    """

    rank: Rank
    id: Path
    stream: str
    ready: float
    start: float
    end: float
    nbytes: int = 0
    flop: int = 0
    is_leaf: bool = True
    note: object = None
    peer: Rank | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Timeline:
    """Records of one run, in the order in which they ended.

    Parameters
    ----------
    records : the records.
    plan_hash : hash of the plan that was played.
    source : ``"predicted"``, ``"measured"``, or ``"emulated"``: neither, but added up from instructions.
    like : rank -> how many like ranks it stands for, where ranks were folded; a rank that is not in it stands for itself.
    """

    def __init__(
        self,
        records: Iterable[Record] = (),
        *,
        plan_hash: str = "",
        source: str = "predicted",
        like: Mapping[Rank, int] | None = None,
    ) -> None:
        self.like = dict(like or {})
        self.records = list(records)
        self.plan_hash = plan_hash
        self.source = source

    def add(self, r: Record) -> None:
        self.records.append(r)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        return max(r.end for r in self.records) - min(r.start for r in self.records) if self.records else 0.0

    def actions(self) -> set[tuple[Rank, Path]]:
        """Every action of a step, by who does it."""
        return {(r.rank, action_of(r)) for r in self.records}

    def of(self, *prefix: Any) -> "Timeline":
        """The records whose id begins with `prefix`; ``None`` in it stands for anything."""
        n = len(prefix)
        keep = [r for r in self.records if len(r.id) >= n and all(p in (None, x) for p, x in zip(prefix, r.id, strict=False))]
        return Timeline(keep, plan_hash=self.plan_hash, source=self.source, like=self.like)


@record
class Comparison:
    """One kind of action in two timelines.

    Parameters
    ----------
    name : what the actions have in common.
    count : actions of a step that both recorded.
    predicted, measured : median seconds of one.
    """

    name: str
    count: int
    predicted: float
    measured: float

    @property
    def error(self) -> float | None:
        """Signed fraction by which the prediction is too long; None where nothing was measured to hold it against."""
        return self.predicted / self.measured - 1.0 if self.measured else None


def action_of(r: Record) -> Path:
    """The id without its step: the same action in every step."""
    return r.id[1:] if r.id and isinstance(r.id[0], int) else r.id


def action_name(r: Record) -> str:
    """The id without its numbers: ``(3, "allreduce", "b0", 1, "send")`` is ``"allreduce/b0/send"``."""
    return "/".join(x for x in r.id if isinstance(x, str))


def compare(predicted: Timeline, measured: Timeline, name: Callable[[Record], str] = action_name) -> tuple[Comparison, ...]:
    """Hold two timelines against each other, at the coarsest level that both recorded: a collective, not its transfers.

    Parameters
    ----------
    predicted, measured : of the same plan, not necessarily of the same steps; actions that only one of them holds are left out.
    name : record -> what it is counted under; by default the action, whatever its step, rank and micro-batch.

    Returns
    -------
    One comparison a kind, in the order in which kinds first end in `predicted`.
    """
    both = predicted.actions() & measured.actions()
    coarse = {(rank, id) for rank, id in both if not any((rank, id[:n]) in both for n in range(1, len(id)))}
    found: dict[str, tuple[list[float], list[float]]] = {}
    counted: dict[str, set[tuple[Rank, Path]]] = {}
    for side, timeline in enumerate((predicted, measured)):
        for r in timeline:
            if (action := (r.rank, action_of(r))) in coarse:
                found.setdefault(name(r), ([], []))[side].append(r.seconds)
                counted.setdefault(name(r), set()).add(action)
    return tuple(
        Comparison(name=n, count=len(counted[n]), predicted=median(p), measured=median(m)) for n, (p, m) in found.items()
    )
