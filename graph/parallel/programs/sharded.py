"""Layers cut over ranks: all ranks work on the same samples, each on its columns, and put together what the next layer reads.

Before them there may be data-parallel layers, which every rank computes for its own samples; what they make then goes through the
cut layers in one round or in several. A round's rows are sent while the round before it is computed, and the gradients that come
back for them while the one after it is: two rounds are under way at once, which the two slots of their buffers allow (Krizhevsky,
"One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997, 2014, section 3).
"""

from collections.abc import Container, Generator, Iterable, Iterator, Mapping
from typing import Any

from graph.parallel.plan import Collective, Do, Exchange, Instruction, Plan, Ref, Role
from graph.parallel.programs.data_parallel import Task, of_micro_batch
from graph.record import record


@record
class Remote:
    """The remote half of an exchange: a collective on the buffer of the gathered value.

    Parameters
    ----------
    what : ``"gather"`` or ``"scatter"``: its id is (step, what, of, round).
    of : the exchange's layer.
    algorithm : of the collective; its root is the rank whose turn the round is.
    buffer : name.
    on : stream.
    """

    what: str
    of: str
    algorithm: str
    buffer: str
    on: str


Item = Task | Remote


@record
class Work:
    """What a worker does in a step, in its order. Each is done for every micro-batch, or for every round of one, but for updates.

    Parameters
    ----------
    input : loading a micro-batch.
    forward, backward : of the data-parallel layers, once a micro-batch.
    put : what brings a round's rows to all ranks.
    inner : forward and backward of the cut layers, once a round.
    take : what brings a round's gradients back to the rows of each rank.
    accumulate : one task a bucket: adding the gradients of a further micro-batch, or round.
    round_update, update : of buckets that are renewed after each round, and of those after each step.
    finished : backward task's layer -> buckets that are complete when it ends.
    """

    input: Task
    forward: tuple[Task, ...] = ()
    put: tuple[Item, ...] = ()
    inner: tuple[Item, ...] = ()
    take: tuple[Item, ...] = ()
    backward: tuple[Task, ...] = ()
    accumulate: tuple[Task, ...] = ()
    round_update: tuple[Task, ...] = ()
    update: tuple[Task, ...] = ()
    finished: Mapping[str, tuple[str, ...]]


def sharded(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    micro_batches: int,
    rounds: int,
    work: Work,
    collective: str,
    summed: tuple[str, ...],
    along: tuple[str, ...],
) -> Generator[Instruction, Any, None]:
    """The program of a worker.

    Parameters
    ----------
    steps, micro_batches, rounds : how often; micro-batches are those of one step, rounds those of one micro-batch.
    work : what it does.
    collective, summed : algorithm that sums these buckets, when the last micro-batch completes them. The others stay as they are.
    along : axes of the exchanges and sums; ``()`` for one worker alone.
    """
    for step in range(steps):
        worker = _Step(role, work, step, micro_batches, rounds, along)
        for m in range(micro_batches):
            first = m * rounds
            yield worker.do(work.input, first, on="input")
            yield from worker.items(work.forward, first)
            yield from worker.rounds(first)
            yield from worker.items(work.backward, first, collective if m == micro_batches - 1 else "", summed)
        for t in work.update:
            yield worker.do(t, None)


class _Step:
    """Instructions of one step: names of actions and numbers of values. What is done once a micro-batch is of its first round."""

    def __init__(self, role: Role, work: Work, step: int, micro_batches: int, rounds: int, along: tuple[str, ...]) -> None:
        self.work, self.step, self.n, self.along = work, step, rounds, along
        self.before = step * micro_batches * rounds
        self.exchanged = [name for name, b in role.buffers.items() if b.exchange != Exchange.NONE]
        self.sums = {t.of: t for t in work.accumulate}
        self.touched: dict[int, set[str]] = {}

    def rounds(self, first: int) -> Iterator[Instruction]:
        """A micro-batch's way through the cut layers."""
        last = first + self.n - 1
        yield from self.items(self.work.put, first)
        for k in range(first, last + 1):
            if k < last:
                yield from self.items(self.work.put, k + 1)
            yield from self.items(self.work.inner, k)
            for t in self.work.round_update:
                yield self.do(t, k)
            if k > first:
                yield from self.items(self.work.take, k - 1)
        yield from self.items(self.work.take, last)

    def items(self, items: Iterable[Item], k: int, collective: str = "", summed: Container[str] = ()) -> Iterator[Instruction]:
        """Tasks and exchanges of round `k`. What a backward task completes is added to what was before, and summed over ranks."""
        for i in items:
            if isinstance(i, Remote):
                what = Ref(i.buffer, self.before + k)
                yield Collective(
                    id=(self.step, i.what, i.of, k), algorithm=i.algorithm, what=what, along=self.along, on=i.on, root=k % self.n
                )
                continue
            yield self.do(i, k)
            for bucket in self.work.finished.get(i.of, ()) if i.what == "backward" else ():
                if k and bucket in self.sums:
                    yield self.do(self.sums[bucket], k)
                if collective and bucket in summed and self.along:
                    yield Collective(
                        id=(self.step, "allreduce", bucket), algorithm=collective, what=Ref(f"g.{bucket}"), along=self.along
                    )

    def do(self, t: Task, k: int | None, on: str = "compute") -> Do:
        """The task's `Do`: new values of data and exchanged buffers each time, the only value of every other."""
        numbers: dict[str, int] = {}
        if k is not None:
            numbers = dict.fromkeys(self.exchanged, self.before + k) | {"data": (self.before + k) // self.n}
            if t.what == "backward":
                t = of_micro_batch(t, 0 if self.work.round_update else k, self.touched.setdefault(k, set()))
        reads, writes = (tuple(Ref(b, numbers.get(b, 0)) for b in names) for names in (t.reads, t.writes))
        id = tuple(x for x in (self.step, t.what, t.of, k) if x not in (None, ""))
        return Do(id=id, kernel=t.kernel, work=t.work, reads=reads, writes=writes, on=on)
