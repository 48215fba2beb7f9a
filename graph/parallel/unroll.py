"""Unrolling: the stream of one rank, collectives expanded, with the partial order that `Machine` keeps.

`hw.lower` lets values share memory only when this order separates them; the executor of `runtime` begins an action when those
that it needs have ended. Only for programs that never wait: what they do next does not depend on what they hear.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from graph.errors import InvalidPlan
from graph.parallel.machine import Action, Machine
from graph.parallel.plan import Collective, Do, Instruction, Path, Plan, Rank, Recv, Send
from graph.record import record

_FAR = 1 << 62


@record
class StepAction:
    """One action of an unrolled stream.

    Parameters
    ----------
    index : its place in the result.
    ins : the instruction.
    id : its path.
    parent : index of the collective that it is a transfer of, or None.
    needs : indices of the leaves that must have ended before it begins: all smaller than `index`, and as few as say it all
        (a leaf that another one needs is left out).
    is_leaf : False for a collective, which only spans its transfers: it begins when its `needs` have ended and ends
        with its last transfer. Nobody needs it; who comes after it needs its last transfers.
    """

    index: int
    ins: Instruction
    id: Path
    parent: int | None
    needs: tuple[int, ...]
    is_leaf: bool


def unroll(plan: Plan, rank: Rank, steps: int = 1, *, first: int = 0, expand: bool = True) -> tuple[StepAction, ...]:
    """The actions of `rank` in steps ``first ... first + steps - 1``, in an order in which they could be played one by one.

    With `expand` false, collectives are leaves and have no children.

    Raises
    ------
    InvalidPlan : the program waits for what it hears, or its order is not fixed before it is played.
    """
    actions, needs = _play(plan, rank, steps, first, expand)
    children: dict[Action, list[Action]] = {}
    for a in actions:
        if a.parent is not None:
            children.setdefault(a.parent, []).append(a)
    order = [b for a in actions if a.parent is None for b in (a, *children.get(a, ()))]
    number = {a: k for k, a in enumerate(order)}
    leaves: list[tuple[int, ...]] = []  # of each action: what must have ended before it begins
    ends: list[tuple[int, ...]] = []  # of each action: the leaves that end with it; of a collective, its last ones
    for k, a in enumerate(order):
        before = {e for d in needs[a] for e in _ends(ends, number[d], a)}
        if a.parent is not None:
            before.update(leaves[number[a.parent]])
        leaves.append(_reduced(before, leaves))
        ends.append((k,) if a.is_leaf else leaves[k] if not children.get(a) else ())
        if a.parent is not None:  # its children follow a collective at once
            parent = number[a.parent]
            ends[parent] = _reduced({*ends[parent], k}, leaves)
    return tuple(
        StepAction(
            index=k, ins=a.ins, id=a.id, parent=None if a.parent is None else number[a.parent], needs=leaves[k], is_leaf=a.is_leaf
        )
        for k, a in enumerate(order)
    )


def _ends(ends: Sequence[tuple[int, ...]], k: int, a: Action) -> tuple[int, ...]:
    if k >= len(ends):
        raise InvalidPlan(f"the order of {a!r} is not fixed before it is played: its lane is used by more than one stream")
    return ends[k]


def _reduced(before: set[int], leaves: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Without those that another one needs, directly or not."""
    if len(before) < 2:
        return tuple(before)
    lowest, kept, behind = min(before), list[int](), set[int]()
    for d in sorted(before, reverse=True):
        if d in behind:
            continue
        kept.append(d)
        todo = [d]
        while todo:
            for e in leaves[todo.pop()]:
                if e >= lowest and e not in behind:
                    behind.add(e)
                    todo.append(e)
    return tuple(reversed(kept))


def _play(plan: Plan, rank: Rank, steps: int, first: int, expand: bool) -> tuple[list[Action], dict[Action, list[Action]]]:
    """Every action in the order of issue, and its predecessors."""
    if steps < 1 or first < 0:
        raise InvalidPlan(f"unroll takes steps >= 1 from first >= 0, got {steps} from {first}")
    actions: list[Action] = []
    needs: dict[Action, list[Action]] = {}
    begun: deque[Action] = deque()

    def issued(a: Action, need: list[Action]) -> None:
        actions.append(a)
        needs[a] = need

    machine = Machine(plan, rank, begun.append, lambda a: None, window=_FAR, issued=issued)
    machine.program = _of_steps(machine.program, rank, first, first + steps)
    machine.pump()
    while begun:
        a = begun.popleft()
        if expand and isinstance(a.ins, Collective):
            machine.expand(a)
        else:
            machine.finish(a)
    return actions, needs


def _of_steps(program: Iterator[Instruction], rank: Rank, first: int, end: int) -> Generator[Instruction, Any, None]:
    """The instructions of steps first ... end - 1; refuses those whose place in the order is not known beforehand."""
    for ins in program:
        step = ins.id[0]
        if not isinstance(step, int):
            raise InvalidPlan(f"{rank}: the id {ins.id} does not begin with a step, so its stream has no steps to unroll")
        if ins.wait:
            raise InvalidPlan(
                f"{rank} waits for {'/'.join(map(str, ins.id))}: a stream that depends on what it hears cannot be unrolled"
            )
        if isinstance(ins, Recv) and isinstance(ins.source, str):
            raise InvalidPlan(f"{rank} receives from whichever {ins.source!r} comes first: such a stream cannot be unrolled")
        if step >= end:
            return
        if step >= first:
            yield ins


def instructions(plan: Plan, rank: Rank, steps: int = 1, *, first: int = 0) -> Iterator[Do | Send | Recv | Collective]:
    """The instructions of some steps as the program issues them: collectives whole, order unsaid. Raises as `unroll`."""
    if steps < 1 or first < 0:
        raise InvalidPlan(f"a stream has steps >= 1 from first >= 0, got {steps} from {first}")
    yield from _of_steps(plan.start(rank), rank, first, first + steps)
