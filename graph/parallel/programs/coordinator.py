"""A coordinator hands out work: portions of a batch go to whoever is free, late ones to a second worker; the first result counts.

Source: Dean et al., "Large scale distributed deep networks", NIPS 2012, section 4.2 (Sandblaster L-BFGS); the backup of slow
portions is that of Dean and Ghemawat, "MapReduce", OSDI 2004, section 3.6.
"""

from collections import deque
from collections.abc import Generator
from typing import Any

from graph.errors import InvalidPlan
from graph.op import Work
from graph.parallel.plan import Buffer, BufferKind, Do, Instruction, Path, Plan, Rank, Recv, Ref, Role, Send

ONE = Work(flop=1)
COPIES = 2  # workers that may work on the same portion


def coordinator(
    plan: Plan, role: Role, *, iterations: int, portions: int, collect: Work, update: Work
) -> Generator[Instruction, Any, None]:
    """Per iteration: portions (more than workers) to whoever is free, their gradients summed in ``g``, then one update.

    When no portion is left, the one that fewest work on is handed out again; what comes second, or too late, is not counted.
    """
    free: deque[Rank] = deque()
    for k in range(iterations):
        todo, done, out = deque(range(portions)), set[int](), dict[int, int]()
        while len(done) < portions:
            while free and (todo or out):
                part = todo.popleft() if todo else min(out, key=lambda p: (out[p], p))
                if out.get(part, 0) >= COPIES:
                    break
                copy = out[part] = out.get(part, 0) + 1
                yield Send(tag=(k, "task", part, copy), what=Ref("w"), to=free.popleft(), lane="task", note=(k, part))
            m = yield Recv(tag=(k, "result"), into=Ref("in"), source="worker", lane="result", wait=True)
            free.append(m.source)
            if m.note is None or m.note[0] != k or m.note[1] in done:
                continue
            part = m.note[1]
            reads = (Ref("in"), Ref("g")) if done else (Ref("in"),)
            done.add(part)
            out.pop(part)
            yield Do(id=(k, "collect", part), kernel="collect", work=collect, reads=reads, writes=(Ref("g"),))
        yield Do(id=(k, "update"), kernel="update", work=update, reads=(Ref("g"), Ref("w")), writes=(Ref("w"),))
    for w in plan.ranks:
        if w.role == "worker":
            yield Send(tag=(iterations, "stop", str(w)), what=Ref("w"), to=w, lane="task")


def portion_worker(plan: Plan, role: Role, *, work: Work) -> Generator[Instruction, Any, None]:
    """Say that I am free (with the result of the last portion), take the next one, until told to stop."""
    note: tuple[int, int] | None = None
    tag: Path = (0, "free")
    while True:
        yield Send(tag=tag, what=Ref("g"), to=Rank("coordinator"), lane="result", note=note)
        task = yield Recv(tag=(0, "task"), into=Ref("w"), source="coordinator", lane="task", wait=True)
        note = task.note
        if note is None:
            return
        step, part = note
        tag = step, "result", part
        yield Do(id=(step, "portion", part), kernel="gradient", work=work, reads=(Ref("w"),), writes=(Ref("g"),))


def coordinator_plan(
    workers: int,
    portions: int,
    iterations: int = 1,
    *,
    size: int = 64,
    portion: Work = ONE,
    collect: Work = ONE,
    update: Work = ONE,
) -> Plan:
    """A coordinator and its workers, with sizes and work given, not taken from a graph."""
    if min(workers, portions, iterations) < 1:
        raise InvalidPlan(f"a coordinator has workers, portions and iterations >= 1; got {workers}, {portions}, {iterations}")
    gradient = Buffer(size=size, kind=BufferKind.GRADIENT)
    buffers = {"w": Buffer(size=size, kind=BufferKind.PARAMETER), "g": gradient}
    params = {"iterations": iterations, "portions": portions, "collect": collect, "update": update}
    return Plan(
        (
            Role(name="coordinator", program="coordinator", params=params, buffers={**buffers, "in": gradient}),
            Role(name="worker", program="portion_worker", params={"work": portion}, axes={"dp": workers}, buffers=buffers),
        )
    )
