"""Training with every rank also the server of its part of every bucket: it sums that part, steps it, and hands it out again.

The sum, the step and the handing out of a bucket are issued as soon as backward has made its gradients, each on a stream of its
own, so they run beside the rest of backward. Buckets are served in the order in which backward completes them.
"""

from collections.abc import Generator, Iterator
from typing import Any

from graph.parallel.plan import Collective, Do, Instruction, Plan, Ref, Role
from graph.parallel.programs.data_parallel import Passes, Task, do_task


def device_server(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    micro_batches: int,
    passes: Passes,
    update: tuple[Task, ...],
    renew: tuple[Task, ...],
    along: tuple[str, ...],
    reduce: str,
    gather: str,
) -> Generator[Instruction, Any, None]:
    """The program of a rank.

    Parameters
    ----------
    steps, micro_batches, passes : as in `graph.parallel.programs.data_parallel`.
    update : of each bucket the optimizer's step on the rank's own part of it.
    renew : what a rank renews for itself: running statistics.
    along : axes over which buckets are cut; ``()`` for one rank alone.
    reduce, gather : the algorithms that do it.
    """
    steppers, n = {t.of: t for t in update}, plan.index(plan.first_rank(role.name), along)[1]

    def serve(step: int, bucket: str) -> Iterator[Instruction]:
        if along:
            yield Collective(id=(step, "reduce", bucket), algorithm=reduce, what=Ref(f"g.{bucket}"), along=along, on="reduce")
        yield _of_own_part(role, steppers[bucket], (step, "update", bucket), n, along)
        if along:
            yield Collective(id=(step, "gather", bucket), algorithm=gather, what=Ref(f"w.{bucket}"), along=along, on="gather")

    for step in range(steps):
        yield from passes.of_step(step, micro_batches, serve)
        for t in renew:
            yield do_task(t, (step, t.what, t.of))


def _of_own_part(role: Role, t: Task, id: tuple[Any, ...], parts: int, along: tuple[str, ...]) -> Do:
    """The step on the rank's part of a bucket; of a buffer that holds no more than the part, on all of it."""

    def own(buffer: str) -> Ref:
        return Ref(buffer) if parts == 1 or role.buffers[buffer].is_cut else Ref(buffer, parts=parts, turn=along)

    return Do(id=id, kernel=t.kernel, work=t.work, reads=tuple(map(own, t.reads)), writes=tuple(map(own, t.writes)), on="update")
