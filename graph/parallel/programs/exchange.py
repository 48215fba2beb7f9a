"""Nothing but communication: all-reduces of given sizes, one after another, and small sums in between. For measuring links."""

from collections.abc import Generator
from typing import Any

from graph.op import Work
from graph.parallel.plan import Collective, Do, Instruction, Plan, Ref, Role


def exchange(
    plan: Plan, role: Role, *, steps: int, buffers: tuple[str, ...], actions: int, collective: str, along: tuple[str, ...]
) -> Generator[Instruction, Any, None]:
    """The program of a rank.

    Parameters
    ----------
    steps : how often.
    buffers : summed over the ranks one after another: each waits for the one before it.
    actions : sums of two tiny buffers in each step, which are next to nothing: what they take is the player's overhead.
    collective : algorithm.
    along : axes over which is summed; ``()`` for one rank alone.
    """
    work = Work(flop=role.buffers["tiny"].size)
    for step in range(steps):
        for k in range(actions):
            yield Do(
                id=(step, "accumulate", "tiny", k),
                kernel="accumulate/tiny",
                work=work,
                reads=(Ref("tiny"), Ref("other")),
                writes=(Ref("tiny"),),
            )
        for b in buffers if along else ():
            yield Collective(id=(step, "allreduce", b), algorithm=collective, what=Ref(b), along=along)
