"""Synchronous data parallelism: every worker trains on its own samples, gradients are summed bucket by bucket.

A bucket's all-reduce is issued when the last layer in it has finished backward; it runs beside the rest of backward, since only
buffers order the two. Micro-batches accumulate in rank order, one after the other, into the first one's gradients.
"""

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from typing import Any

from graph.op import Work
from graph.parallel.plan import Collective, Do, Instruction, Plan, Ref, Role
from graph.record import record


@record
class Task:
    """One `Do` of a step, before it has a step and a micro-batch.

    Parameters
    ----------
    what, of : its id is (step, what, of, micro-batch), less what is empty.
    work : exact work.
    reads, writes : names of buffers.
    """

    what: str
    of: str
    work: Work
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    @property
    def kernel(self) -> str:
        """Name of its segment."""
        return f"{self.what}/{self.of}" if self.of else self.what


@record
class Passes:
    """The tasks of a micro-batch, for any program in which a rank goes forward and backward through a graph.

    Parameters
    ----------
    input : loads the samples; None: the rank reads none.
    forward, backward : in their order. Gradients in `backward` are those of the first micro-batch.
    accumulate : one task a bucket, which adds a later micro-batch's gradients; empty where there is only one.
    finished : backward task's layer -> buckets that are complete when it ends.
    """

    input: Task | None
    forward: tuple[Task, ...]
    backward: tuple[Task, ...]
    accumulate: tuple[Task, ...]
    finished: Mapping[str, tuple[str, ...]]

    def of_step(self, step: int, micro_batches: int, then: Callable[[int, str], Iterable[Instruction]]) -> Iterator[Instruction]:
        """Forward and backward of a step's micro-batches, where a rank trains a whole model.

        `then` is asked for what follows where the gradients of a bucket are complete: (step, bucket) -> instructions.
        """
        sums = {t.of: t for t in self.accumulate}
        for m in range(micro_batches):
            data = step * micro_batches + m
            if self.input is not None:
                yield do_task(self.input, (step, self.input.what, m), data, stream="input")
            for t in self.forward:
                yield do_task(t, (step, t.what, t.of, m), data)
            touched: set[str] = set()
            for t in self.backward:
                yield do_task(of_micro_batch(t, m, touched), (step, t.what, t.of, m), data)
                for bucket in self.finished.get(t.of, ()):
                    if m:
                        yield do_task(sums[bucket], (step, "accumulate", bucket, m), data)
                    if m == micro_batches - 1:
                        yield from then(step, bucket)


def data_parallel(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    micro_batches: int,
    passes: Passes,
    update: tuple[Task, ...],
    collective: str,
    along: tuple[str, ...],
) -> Generator[Instruction, Any, None]:
    """The program of a worker.

    Parameters
    ----------
    steps, micro_batches : how often; micro-batches are those of one step.
    passes : forward and backward.
    update : one task a bucket.
    collective : algorithm that sums a bucket.
    along : axes over which gradients are summed; ``()`` for one worker alone.
    """

    def reduce(step: int, bucket: str) -> Iterator[Instruction]:
        if along:
            yield Collective(id=(step, "allreduce", bucket), algorithm=collective, what=Ref(f"g.{bucket}"), along=along)

    for step in range(steps):
        yield from passes.of_step(step, micro_batches, reduce)
        for t in update:
            yield do_task(t, (step, t.what, t.of))


def do_task(t: Task, id: tuple[Any, ...], data: int = 0, stream: str = "compute", fresh: Container[str] = ("data",)) -> Do:
    """The task's `Do`: value number `data` of buffers that hold a new one each time (`fresh`), the only value of every other."""
    reads = tuple(Ref(b, data if b in fresh else 0) for b in t.reads)
    writes = tuple(Ref(b, data if b in fresh else 0) for b in t.writes)
    return Do(id=id, kernel=t.kernel, work=t.work, reads=reads, writes=writes, on=stream)


def of_micro_batch(t: Task, m: int, touched: set[str]) -> Task:
    """A backward task as micro-batch m does it: the first writes g, the others p; what an earlier layer began is added to."""

    def name(b: str) -> str:
        return "p." + b[2:] if m and b.startswith("g.") else b

    written = tuple(map(name, t.writes))
    begun = tuple(b for b in written if b in touched)
    touched.update(written)
    reads = tuple(dict.fromkeys((*map(name, t.reads), *begun)))
    return Task(what=t.what, of=t.of, work=t.work, reads=reads, writes=written)
