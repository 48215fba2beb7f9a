"""HOGWILD!: every thread reads and writes the one shared parameter vector, unlocked; no messages, no order between threads.

Source: Niu, Recht, Ré and Wright, "HOGWILD!: a lock-free approach to parallelizing stochastic gradient descent", NIPS 2011.
"""

from collections.abc import Generator
from typing import Any

from graph.errors import InvalidPlan
from graph.op import Work
from graph.parallel.plan import Buffer, BufferKind, Do, Instruction, Plan, Ref, Role

ONE = Work(flop=1)


def hogwild(plan: Plan, role: Role, *, updates: int, gradient: Work, apply: Work) -> Generator[Instruction, Any, None]:
    """The program of a thread: a gradient from parameters as they are now, applied to parameters as they are then."""
    for k in range(updates):
        yield Do(id=(k, "gradient"), kernel="gradient", work=gradient, reads=(Ref("w"),), writes=(Ref("g"),))
        yield Do(id=(k, "apply"), kernel="apply", work=apply, reads=(Ref("g"), Ref("w")), writes=(Ref("w"),))


def hogwild_plan(threads: int, updates: int, *, size: int = 64, gradient: Work = ONE, apply: Work = ONE) -> Plan:
    """Threads that share ``w``, each with its own ``g``; sizes and work are given, not taken from a graph."""
    if threads < 1 or updates < 1:
        raise InvalidPlan(f"HOGWILD! has threads >= 1 and updates >= 1, got {threads} and {updates}")
    buffers = {
        "w": Buffer(size=size, kind=BufferKind.PARAMETER, shared="thread"),
        "g": Buffer(size=size, kind=BufferKind.GRADIENT),
    }
    params = {"updates": updates, "gradient": gradient, "apply": apply}
    return Plan((Role(name="thread", program="hogwild", params=params, axes={"thread": threads}, buffers=buffers),))
