"""The vocabulary of programs: four instructions, and how they name buffers and peers without knowing where they run.

Instructions are data. What orders them is `graph.parallel.machine`; what they are put together to is `graph.parallel.programs`.
Ids are paths with the step first: ``(step, what, of what, micro-batch ...)``.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Ref:
    """Value number `index` of a buffer (it lies in slot ``index mod slots``), or one of its `parts`.

    With `turn`, parts are counted from the reader's index along those axes.
    """

    buffer: str
    index: int = 0
    part: int = 0
    parts: int = 1
    turn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The rank with my coordinates in another role, or `by` places further along some axes of mine."""

    role: str | None = None
    along: tuple[str, ...] = ()
    by: int = 0


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
    """Send a value to a peer. A lane is a stream and a FIFO channel to each peer."""

    tag: Path
    what: Ref
    to: Peer | Rank
    lane: str = "wire"
    note: object = None
    wait: bool = False

    @property
    def id(self) -> Path:
        return (*self.tag, "send")

    @property
    def reads(self) -> tuple[Ref, ...]:
        return (self.what,)

    @property
    def writes(self) -> tuple[Ref, ...]:
        return ()

    @property
    def on(self) -> str:
        return self.lane + ">"


@record
class Recv:
    """Receive a value. `source` as text: whichever rank of that role comes first; then the tag is the message's.

    `add` combines with what is there instead of replacing it. `timeout` is in seconds; when it ends the value is None.
    """

    tag: Path
    into: Ref
    source: Peer | Rank | str
    lane: str = "wire"
    add: bool = False
    wait: bool = False
    timeout: float | None = None
    note: None = None

    @property
    def id(self) -> Path:
        return (*self.tag, "recv")

    @property
    def reads(self) -> tuple[Ref, ...]:
        return (self.into,) if self.add else ()

    @property
    def writes(self) -> tuple[Ref, ...]:
        return (self.into,)

    @property
    def on(self) -> str:
        return self.lane + "<"


@record
class Collective:
    """A collective operation over the group along some axes, in place."""

    id: Path
    algorithm: str
    what: Ref
    along: tuple[str, ...]
    on: str = "comm"
    wait: bool = False
    note: None = None

    @property
    def reads(self) -> tuple[Ref, ...]:
        return (self.what,)

    @property
    def writes(self) -> tuple[Ref, ...]:
        return (self.what,)


Instruction = Do | Send | Recv | Collective


class Message(NamedTuple):
    """What a program that waited on a `Recv` is sent."""

    source: Rank
    tag: Path
    note: object = None
