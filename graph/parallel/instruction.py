"""The vocabulary of programs: four instructions, and how they name buffers and peers without knowing where they run.

Instructions are data. What orders them is `graph.parallel.machine`; what they are put together to is `graph.parallel.programs`.
Ids are paths with the step first: ``(step, what, of what, micro-batch ...)``.
"""

from dataclasses import field
from typing import Any, NamedTuple

from graph.op import Work
from graph.record import record

Path = tuple[Any, ...]


class Rank(NamedTuple):
    """One player: a role and its coordinates along the role's axes."""

    role: str
    at: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.role + (str(list(self.at)).replace(" ", "") if self.at else "")


class Ref(NamedTuple):
    """Value number `index` of a buffer (it lies in slot ``index mod slots``), or one of its `parts`.

    With `turn`, parts are counted from the reader's index along those axes, times `stride`.
    """

    buffer: str
    index: int = 0  # type: ignore[assignment]  # the tuple's method of this name is not used
    part: int = 0
    parts: int = 1
    turn: tuple[str, ...] = ()
    stride: int = 1


class Coordinate(NamedTuple):
    """Where a peer stands along an `axis` of its role: ``my index along `mine` // over * times + plus``, modulo the axis.

    Without axes of mine my index is 0, and the place is `plus` for everybody.
    """

    axis: str
    mine: tuple[str, ...] = ()
    over: int = 1
    times: int = 1
    plus: int = 0


class Peer(NamedTuple):
    """The rank with my coordinates in another role, or `by` places further along some axes of mine.

    With `at`, the rank with these coordinates; along axes that are not in it, with mine of the same name.
    """

    role: str | None = None
    along: tuple[str, ...] = ()
    by: int = 0
    at: tuple[Coordinate, ...] = ()


def _derived() -> Any:
    """A field that follows from the others; players ask for it again and again."""
    return field(init=False, repr=False, compare=False)


def _derive(instruction: object, **fields: object) -> None:
    for name, value in fields.items():
        object.__setattr__(instruction, name, value)


@record
class Do:
    """Run a segment (named nodes of the role's graph) or a named kernel on a stream of this rank.

    With `wait` the program sleeps until this is done.
    """

    id: Path
    kernel: str
    work: Work = Work()
    reads: tuple[Ref, ...] = ()
    writes: tuple[Ref, ...] = ()
    on: str = "compute"
    note: object = None
    wait: bool = False


@record
class Send:
    """Send a value to a peer. A lane is a stream and a FIFO channel to each peer.

    `which` tells apart actions of mine that have one tag, because they go to different peers. With `stream`, the sends of a lane
    run on a stream of another name: sends on one are carried one after another, sends on several at the same time.
    """

    tag: Path
    what: Ref
    to: Peer | Rank
    lane: str = "wire"
    note: object = None
    wait: bool = False
    which: Path = ()
    stream: str = ""
    id: Path = _derived()
    reads: tuple[Ref, ...] = _derived()
    writes: tuple[Ref, ...] = _derived()
    on: str = _derived()

    def __post_init__(self) -> None:
        _derive(self, id=(*self.tag, *self.which, "send"), reads=(self.what,), writes=(), on=(self.stream or self.lane) + ">")


@record
class Recv:
    """Receive a value. `source` as text: whichever rank of that role comes first; then the tag is the message's.

    `add` combines with what is there instead of replacing it. `timeout` is in seconds; when it ends the value is None. `which`
    and `stream` are as those of `Send`, and need not be the sender's.
    """

    tag: Path
    into: Ref
    source: Peer | Rank | str
    lane: str = "wire"
    add: bool = False
    wait: bool = False
    timeout: float | None = None
    which: Path = ()
    stream: str = ""
    note: None = None
    id: Path = _derived()
    reads: tuple[Ref, ...] = _derived()
    writes: tuple[Ref, ...] = _derived()
    on: str = _derived()

    def __post_init__(self) -> None:
        into = (self.into,)
        _derive(
            self,
            id=(*self.tag, *self.which, "recv"),
            reads=into if self.add else (),
            writes=into,
            on=(self.stream or self.lane) + "<",
        )


@record
class Collective:
    """A collective operation over the group along some axes, in place. `root` is the index of the rank that it goes out from or
    comes to, where the algorithm has one (it is counted modulo the ranks)."""

    id: Path
    algorithm: str
    what: Ref
    along: tuple[str, ...]
    on: str = "comm"
    root: int = 0
    wait: bool = False
    note: None = None
    reads: tuple[Ref, ...] = _derived()
    writes: tuple[Ref, ...] = _derived()

    def __post_init__(self) -> None:
        _derive(self, reads=(self.what,), writes=(self.what,))


Instruction = Do | Send | Recv | Collective


class Message(NamedTuple):
    """What a program that waited on a `Recv` is sent."""

    source: Rank
    tag: Path
    note: object = None
