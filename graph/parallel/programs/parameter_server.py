"""An asynchronous parameter server: workers push gradients and pull parameters, nobody runs too far ahead of the slowest.

Sources: Dean et al., "Large scale distributed deep networks", NIPS 2012, section 4.1 (Downpour SGD, here with
n_push = n_fetch = 1); Ho et al., "More effective distributed ML via a stale synchronous parallel parameter server", NIPS 2013,
section 2 (the bound).
"""

from collections.abc import Generator
from typing import Any

from graph.errors import InvalidPlan
from graph.op import Work
from graph.parallel.plan import Buffer, BufferKind, Do, Instruction, Message, Plan, Rank, Recv, Ref, Role, Send

ONE = Work(flop=1)


def server_worker(plan: Plan, role: Role, *, updates: int, work: Work) -> Generator[Instruction, Any, None]:
    """Compute on the parameters that were last pulled, push, pull; stop when the server says so (a pull without version)."""
    version = 0
    for k in range(updates):
        yield Do(id=(k, "gradient"), kernel="gradient", work=work, reads=(Ref("w"),), writes=(Ref("g"),))
        yield Send(tag=(k, "push"), what=Ref("g"), to=Rank("server"), lane="push", note=version)
        answer = yield Recv(tag=(k, "pull"), into=Ref("w"), source="server", lane="pull", wait=True)
        if answer.note is None:
            return
        version = answer.note


def parameter_server(
    plan: Plan, role: Role, *, updates: int, bound: int, work: Work, patience: float | None = None
) -> Generator[Instruction, Any, None]:
    """Apply pushes as they come; a worker more than `bound` updates ahead of the slowest gets its pull later.

    Parameters
    ----------
    updates : pushes of each worker.
    bound : how many updates a worker may be ahead of the slowest when it begins the next one; 0: all in step.
    work : of applying one push.
    patience : seconds of silence after which the slowest workers are given up; None: never.

    The note of an ``apply`` is its staleness: how many updates came between the pull and the push.
    """
    done = {r: 0 for r in plan.ranks if r.role == "worker"}
    parked: list[Message] = []
    version = 0
    while done and min(done.values()) < updates:
        m = yield Recv(tag=(version, "push"), into=Ref("g"), source="worker", lane="push", wait=True, timeout=patience)
        if m is None:
            slowest = min(done.values())
            done = {w: n for w, n in done.items() if n > slowest}
        elif m.source in done:
            id = (m.tag[0], "apply", str(m.source))
            yield Do(id=id, kernel="apply", work=work, reads=(Ref("g"), Ref("w")), writes=(Ref("w"),), note=version - m.note)
            version, done[m.source] = version + 1, done[m.source] + 1
            parked.append(m)
        else:  # given up, and yet it comes: it is told to stop
            yield _pull(m, None)
        slowest = min(done.values(), default=updates)
        for p in [p for p in parked if done.get(p.source, 0) - slowest <= bound]:
            parked.remove(p)
            yield _pull(p, version)


def _pull(push: Message, version: int | None) -> Send:
    """The answer to a push; its tag names the worker, so that no two of the server's actions share an id."""
    return Send(tag=(push.tag[0], "pull", str(push.source)), what=Ref("w"), to=push.source, lane="pull", note=version)


def parameter_server_plan(
    workers: int,
    updates: int,
    bound: int,
    *,
    size: int = 64,
    gradient: Work = ONE,
    apply: Work = ONE,
    patience: float | None = None,
) -> Plan:
    """One server and its workers, with sizes and work given, not taken from a graph.

    Parameters
    ----------
    workers, updates, bound, patience : as in `parameter_server`.
    size : parameters.
    gradient, apply : work of a worker's gradient and of the server's update.
    """
    if workers < 1 or updates < 1 or bound < 0:
        raise InvalidPlan(f"a parameter server has workers >= 1, updates >= 1, bound >= 0; got {workers}, {updates}, {bound}")
    buffers = {"w": Buffer(size=size, kind=BufferKind.PARAMETER), "g": Buffer(size=size, kind=BufferKind.GRADIENT)}
    server = {"updates": updates, "bound": bound, "work": apply, "patience": patience}
    return Plan(
        (
            Role(name="server", program="parameter_server", params=server, buffers=buffers),
            Role(
                name="worker",
                program="server_worker",
                params={"updates": updates, "work": gradient},
                axes={"dp": workers},
                buffers=buffers,
            ),
        )
    )
