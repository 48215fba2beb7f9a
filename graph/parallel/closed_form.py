"""What a plan costs by formula: bytes and transfers, counted from its programs and computed; seconds of collectives and steps.

Formulas hold on an idle, uniform network in which every rank has one port out and one port in (alpha-beta model: a transfer of
b bytes takes latency + b / bandwidth; Hockney, "The communication challenge for MPP", Parallel Computing 20 (1994)). They are one
of three witnesses: the checker counts what the formulas say, `sim` must take the seconds they say.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from graph.errors import InvalidPlan
from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.plan import Collective, Do, Plan, Rank, Recv, Ref, Send
from graph.parallel.unroll import instructions, unroll
from graph.record import record


@record
class Traffic:
    """What a plan sends in some steps.

    Parameters
    ----------
    sent : rank -> bytes it sends.
    transfers : messages, of all ranks.
    wires : (source, destination, lane) -> bytes of the largest message.
    """

    sent: Mapping[Rank, int]
    transfers: int
    wires: Mapping[tuple[Rank, Rank, str], int]

    @property
    def total(self) -> int:
        """Bytes sent by all ranks."""
        return sum(self.sent.values())


def traffic(plan: Plan, steps: int = 1, *, first: int = 0) -> Traffic:
    """Bytes and messages, counted transfer by transfer from the programs.

    Raises `InvalidPlan` when a program waits for what it hears; `graph.parallel.check` counts such a plan while it plays it.
    """
    sent: Counter[Rank] = Counter(dict.fromkeys(plan.ranks, 0))
    wires: dict[tuple[Rank, Rank, str], int] = {}
    transfers = 0
    for rank in plan.ranks:
        for ins in instructions(plan, rank, steps, first=first):
            children = plan.transfers(rank, ins) if isinstance(ins, Collective) else (ins,)
            for child in children:
                if isinstance(child, Send):
                    nbytes, wire = plan.nbytes(rank, child.what), (rank, plan.peer(rank, child.to), child.lane)
                    sent[rank] += nbytes
                    wires[wire] = max(wires.get(wire, 0), nbytes)
                    transfers += 1
    return Traffic(sent=dict(sent), transfers=transfers, wires=wires)


def collective_nbytes(algorithm: str, ranks: int, nbytes: int) -> int:
    """Bytes that a whole group sends for a buffer of `nbytes`: transfers times what each moves, a part or all of it."""
    a = COLLECTIVES[algorithm]
    return a.transfers(ranks) * nbytes // ranks if a.is_cut else a.transfers(ranks) * nbytes


def total_nbytes(plan: Plan, steps: int = 1, *, first: int = 0) -> int:
    """Bytes that all ranks send, by formula: every group's collectives, and messages outside of collectives.

    For synchronous data parallelism over n ranks with a ring: 2 (n - 1) times the bytes of the gradients, a step.
    """
    total = 0
    for role in plan.roles:
        ranks = [r for r in plan.ranks if r.role == role.name]
        leaders: dict[tuple[str, ...], list[Rank]] = {}  # of each group along these axes
        for ins in instructions(plan, ranks[0], steps, first=first):  # a program sees no coordinates: those of all
            if isinstance(ins, Send):
                total += sum(_sizes(plan, ranks, ins.what))
            elif isinstance(ins, Collective):
                if ins.along not in leaders:
                    leaders[ins.along] = [r for r in ranks if plan.index(r, ins.along)[0] == 0]
                n = plan.index(ranks[0], ins.along)[1]
                total += sum(collective_nbytes(ins.algorithm, n, size) for size in _sizes(plan, leaders[ins.along], ins.what))
    return total


def _sizes(plan: Plan, ranks: Sequence[Rank], what: Ref) -> list[int]:
    """Bytes of what a `Ref` means to each of some ranks of a role."""
    if what.turn:
        return [plan.nbytes(r, what) for r in ranks]
    return [plan.nbytes(ranks[0], what)] * len(ranks)


def collective_seconds(plan: Plan, rank: Rank, c: Collective, latency: float, bytes_per_second: float) -> float | None:
    """Seconds of a collective by its closed form, exact also where the parts are not of one size; None: it has none.

    The largest part sets the pace of every hop, so a buffer that is cut counts as ranks times its largest part.
    """
    a, ranks = COLLECTIVES[c.algorithm], plan.index(rank, c.along)[1]
    nbytes = plan.nbytes(rank, c.what)
    if a.is_cut:
        itemsize = plan.buffer(rank, c.what.buffer).itemsize
        nbytes = -(-nbytes // itemsize // ranks) * itemsize * ranks
    return a.seconds(ranks, nbytes, latency, bytes_per_second)


def step_seconds(
    plan: Plan,
    rank: Rank,
    seconds: Callable[[Do], float],
    latency: float,
    bytes_per_second: float,
    steps: int = 1,
    *,
    first: int = 0,
) -> float:
    """Seconds of some steps of a synchronous plan whose ranks are alike: the longest path through the order of one of them.

    Parameters
    ----------
    plan, rank : of a role whose messages are all in collectives.
    seconds : of a kernel. Kernels and messages do not disturb each other.
    latency, bytes_per_second : of the idle, uniform network.

    Raises
    ------
    InvalidPlan : the program waits or sends outside of collectives, or a collective has no closed form for its group.
    """
    ends: list[float] = []
    for a in unroll(plan, rank, steps, first=first, expand=False):
        begin = max((ends[k] for k in a.needs), default=0.0)
        if isinstance(a.ins, Send | Recv):
            raise InvalidPlan(
                f"{'/'.join(map(str, a.id))} is a message between ranks that need not be alike; play the plan with sim"
            )
        if isinstance(a.ins, Do):
            ends.append(begin + seconds(a.ins))
            continue
        took = collective_seconds(plan, rank, a.ins, latency, bytes_per_second)
        if took is None:
            ranks = plan.index(rank, a.ins.along)[1]
            raise InvalidPlan(f"collective {a.ins.algorithm!r} has no closed form for {ranks} ranks; play the plan with sim")
        ends.append(begin + took)
    return max(ends, default=0.0)
