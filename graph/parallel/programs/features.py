"""A forward pass in two halves on different ranks: a rank of the first sends on what it made, and goes on with its next samples.

Several ranks of the first half feed one of the second, which works on what each of them sent, one after another. How far they run
ahead is not written here: it follows from the slots of the buffers that hold what crosses, on either side, and from the room of
the lanes.
"""

from collections.abc import Generator

from graph.parallel.instruction import Coordinate, Instruction, Peer, Recv, Ref, Send
from graph.parallel.plan import Plan, Role
from graph.parallel.programs.data_parallel import Passes, do_task
from graph.parallel.programs.stages import Crossing
from graph.record import record

LANE = "activation"


@record
class Between:
    """Between the halves.

    Parameters
    ----------
    crossings : what crosses, in the order in which it is made.
    axis, to_axis : of the roles from which and to which.
    feeding : ranks of the first half that feed one of the second: neighbours along `axis`.
    """

    crossings: tuple[Crossing, ...]
    axis: str
    to_axis: str
    feeding: int

    def to(self, role: str) -> Peer:
        """Whom a rank of the first half feeds."""
        return Peer(role, at=(Coordinate(self.to_axis, mine=(self.axis,), over=self.feeding),))

    def source(self, role: str, k: int) -> Peer:
        """Number `k` of those that feed a rank of the second half."""
        return Peer(role, at=(Coordinate(self.axis, mine=(self.to_axis,), times=self.feeding, plus=k),))


def features(plan: Plan, role: Role, *, steps: int, passes: Passes, between: Between) -> Generator[Instruction, None, None]:
    """The program of the first half.

    Parameters
    ----------
    steps : how often.
    passes : of which the input and the forward tasks are done.
    between : what is sent on, and to whom.
    """
    fresh = {"data", *(c.buffer for c in between.crossings)}
    for step in range(steps):
        if passes.input is not None:
            yield do_task(passes.input, (step, passes.input.what, 0), step, stream="input")
        for t in passes.forward:
            yield do_task(t, (step, t.what, t.of, 0), step, fresh=fresh)
            for c in between.crossings:
                if c.layer == t.of:
                    yield Send(tag=(step, c.what, c.value), what=Ref(c.buffer, step), to=between.to(c.to), lane=LANE)


def classifier(plan: Plan, role: Role, *, steps: int, passes: Passes, between: Between) -> Generator[Instruction, None, None]:
    """The program of the second half; parameters as of the first."""
    fresh = {c.buffer for c in between.crossings}
    for step in range(steps):
        for k in range(between.feeding):
            number = step * between.feeding + k
            for c in between.crossings:
                into, source = Ref(c.buffer, number), between.source(c.source, k)
                yield Recv(tag=(step, c.what, c.value), into=into, source=source, lane=LANE, which=(k,))
            for t in passes.forward:
                yield do_task(t, (step, t.what, t.of, k), number, fresh=fresh)
