"""Layers on one rank after another: activations are sent forward, their gradients back. One micro-batch at a time.

A stage goes forward and backward with a micro-batch before it takes the next one, so it keeps the activations of one alone, and
one stage computes at a time. For schedules that let stages overlap see `graph.parallel.programs.pipeline`.
"""

from collections.abc import Generator, Iterator

from graph.parallel.instruction import Instruction, Peer, Recv, Ref, Send
from graph.parallel.plan import Plan, Role
from graph.parallel.programs.data_parallel import Passes, Task, do_task, of_micro_batch
from graph.record import record


@record
class Crossing:
    """A value that one stage makes and another one reads.

    Parameters
    ----------
    what : ``"activation"`` or ``"gradient"``, which is its lane; its letters are (step, what, value, micro-batch).
    value : its name.
    read_as : the name by which it is read: its own, or that of a view of it.
    layer : which makes it.
    source, to : roles.
    """

    what: str
    value: str
    read_as: str
    layer: str
    source: str
    to: str

    @property
    def buffer(self) -> str:
        """Name of the buffer that holds it, in both stages."""
        return f"{'x' if self.what == 'activation' else 'd'}.{self.value}"


def stages(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    micro_batches: int,
    passes: Passes,
    update: tuple[Task, ...],
    crossings: tuple[Crossing, ...],
) -> Generator[Instruction, None, None]:
    """The program of a stage.

    Parameters
    ----------
    steps, micro_batches, passes, update : as in `data_parallel`; the input is what the stage reads of a micro-batch.
    crossings : of all stages, in the order in which values are made.
    """
    sums, fresh = {t.of: t for t in passes.accumulate}, {"data", *(c.buffer for c in crossings)}

    def take(step: int, m: int, what: str) -> Iterator[Instruction]:
        for c in crossings:
            if c.to == role.name and c.what == what:
                into = Ref(c.buffer, step * micro_batches + m)
                yield Recv(tag=(step, what, c.value, m), into=into, source=Peer(c.source), lane=what)

    def give(step: int, m: int, what: str, layer: str) -> Iterator[Instruction]:
        for c in crossings:
            if (c.source, c.what, c.layer) == (role.name, what, layer):
                value = Ref(c.buffer, step * micro_batches + m)
                yield Send(tag=(step, what, c.value, m), what=value, to=Peer(c.to), lane=what, which=(c.to,))

    for step in range(steps):
        for m in range(micro_batches):
            data = step * micro_batches + m
            if passes.input is not None:
                yield do_task(passes.input, (step, passes.input.what, m), data, stream="input")
            yield from take(step, m, "activation")
            for t in passes.forward:
                yield do_task(t, (step, t.what, t.of, m), data, fresh=fresh)
                yield from give(step, m, "activation", t.of)
            yield from take(step, m, "gradient")
            touched: set[str] = set()
            for t in passes.backward:
                yield do_task(of_micro_batch(t, m, touched), (step, t.what, t.of, m), data, fresh=fresh)
                yield from give(step, m, "gradient", t.of)
                for bucket in passes.finished.get(t.of, ()) if m else ():
                    yield do_task(sums[bucket], (step, "accumulate", bucket, m), data)
        for t in update:
            yield do_task(t, (step, t.what, t.of))
