"""The instructions of ranks, made once for all ranks of a role while none waits for an answer: a program sees no coordinates."""

from collections.abc import Generator
from typing import Any

from graph.parallel.plan import Instruction, Plan, Rank


class Streams:
    """Streams of instructions of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shared: dict[str, tuple[list[Instruction], Generator[Instruction, Any, None]]] = {}

    def of(self, rank: Rank) -> Generator[Instruction, Any, None]:
        """The same instructions as `Plan.start` gives."""
        if rank.role not in self._shared:
            self._shared[rank.role] = [], self._plan.start(rank)
        made, source = self._shared[rank.role]
        known = 0
        while True:
            if known == len(made):
                ins = next(source, None)
                if ins is None:
                    return
                made.append(ins)
            if made[known].wait:
                break
            yield made[known]
            known += 1
        own = self._plan.start(rank)  # from here on it matters what it hears
        for _ in range(known):
            next(own)
        yield from own
