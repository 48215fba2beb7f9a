"""A plan is data: roles (classes of like ranks), each with the name of a program and its parameters.

A program is a registered generator of four instructions (`graph.parallel.instruction`): `Do`, `Send`, `Recv`, `Collective`. It
never sees a clock, an array or its own coordinates, so every rank of a role issues the same stream, and like ranks can be
folded. Order is never written down: instructions on one stream run in order; across streams the buffers that they read and
write order them. The players (`graph.parallel.check`, `sim`, `runtime`) share `graph.parallel.machine`, which keeps that order.

Ids are paths with the step first: ``(step, what, of what, micro-batch ...)``. A collective's transfers carry its path plus
``(hop, "send" | "recv")``, so both engines produce the same ids and a prefix is a coarser action.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property
from hashlib import sha256
from inspect import getsource
from itertools import product
from typing import Any

from graph.errors import InvalidPlan, nearest
from graph.ir import Graph
from graph.parallel.algorithm import COLLECTIVES, Group
from graph.parallel.instruction import Collective, Coordinate, Do, Instruction, Message, Path, Peer, Rank, Recv, Ref, Send
from graph.record import record
from graph.registry import Registry

__all__ = [
    "PROGRAMS", "Buffer", "BufferKind", "Collective", "Coordinate", "Do", "Exchange", "Instruction", "Loss", "Message", "Path",
    "Peer", "Plan", "Program", "Rank", "Recv", "Ref", "Role", "Send", "Shard", "program",
]  # fmt: skip

REMEMBERED = 32  # collectives of whose transfers a plan keeps hold


class BufferKind(StrEnum):
    """What a buffer holds; the checker counts gradients and versions of parameters."""

    PARAMETER = "parameter"
    GRADIENT = "gradient"
    STATE = "state"
    ACTIVATION = "activation"
    DATA = "data"


class Exchange(StrEnum):
    """What becomes of a value that every rank writes and a collective completes; the checker holds it to that."""

    NONE = "none"
    GATHER = "gather"  # whoever reads it finds the same at every rank
    SUM = "sum"  # somebody who reads it finds what every rank wrote, once


@record
class Buffer:
    """Memory of a role that its program names.

    Parameters
    ----------
    size : elements of one slot.
    itemsize : bytes of an element.
    kind : a `BufferKind`, or its text.
    slots : values kept at once.
    sharded : axes along which ranks hold different elements; along the others they are replicas.
    is_cut : it holds only a part of its values: packed, padded and cut evenly along `sharded`, part i at index i.
    copies : axes along which every rank makes the same values by itself: of a gradient one copy counts, and none may be summed.
    exchange : an `Exchange`, or its text: what ranks put together in it, piece by piece.
    shared : the buffer lives once, in this role's memory, under every rank that names it (HOGWILD!).
    values : names of the graph values that it holds, in order, contiguous.
    """

    size: int
    itemsize: int = 4
    kind: str = "activation"
    slots: int = 1
    sharded: tuple[str, ...] = ()
    is_cut: bool = False
    copies: tuple[str, ...] = ()
    exchange: str = "none"
    shared: str | None = None
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in set(BufferKind):
            raise InvalidPlan(f"unknown kind of buffer {self.kind!r}; {nearest(self.kind, BufferKind)}")
        if self.exchange not in set(Exchange):
            raise InvalidPlan(f"unknown exchange {self.exchange!r}; {nearest(self.exchange, Exchange)}")
        if self.size < 0 or self.itemsize < 1 or self.slots < 1:
            raise InvalidPlan(
                f"a buffer has size >= 0, itemsize >= 1 and slots >= 1, "
                f"got size {self.size}, itemsize {self.itemsize}, slots {self.slots}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return self.size * self.itemsize * self.slots


class Loss(StrEnum):
    """What the losses that ranks of a role compute are of the whole batch's loss."""

    SHARE = "share"  # they add up to it
    COPY = "copy"  # each is it
    NONE = "none"  # the role computes none


@record
class Shard:
    """How a parameter (and its state) is cut over ranks: rank i of the group along some axes holds part i.

    Parameters
    ----------
    axis : of the whole tensor, which is cut evenly along it.
    along : the role's axes over which it is cut.
    """

    axis: int
    along: tuple[str, ...]


@record
class Role:
    """A class of like ranks.

    Parameters
    ----------
    name : e.g. ``"worker"``, ``"server"``, ``"stage.3"``.
    program : name of a registered program.
    params : its parameters.
    axes : axis -> size; the role's ranks are their product.
    buffers : named memory.
    graph : what a rank of it computes in a step, in pieces; None: it runs named kernels only, or stands for no graph at all.
    segments : kernel name of a `Do` -> names of the graph's nodes that it runs, in order.
    places : stream -> place: ``"device"``, the next free device of the system, or ``"host"``, a computer around devices.
    is_turned : with an axis ``"node"``: ranks of node k begin k / nodes of the way around the ring of their devices. Where that
        many of them deal with a server of their own node, these stand at the same places in every node.
    batch_along : axes along which the samples of a step are divided; None: all of the role's axes; (): each rank sees all.
    sample_parts : parts of a rank's micro-batch; part p of all ranks, in rank order, are samples that stand together in the step.
        1: all samples of a rank stand together.
    shards : parameter -> how it is cut; what is not named is whole at every rank.
    loss : a `Loss`, or its text.
    """

    name: str
    program: str
    params: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)
    buffers: Mapping[str, Buffer] = field(default_factory=dict)
    graph: Graph | None = field(default=None, repr=False)
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=lambda: {"compute": "device"})
    is_turned: bool = False
    batch_along: tuple[str, ...] | None = None
    sample_parts: int = 1
    shards: Mapping[str, Shard] = field(default_factory=dict)
    loss: str = "share"

    def __post_init__(self) -> None:
        for axis, size in self.axes.items():
            if size < 1:
                raise InvalidPlan(f"role {self.name!r}: axis {axis!r} has {size} ranks; it needs at least 1")
        if self.loss not in set(Loss):
            raise InvalidPlan(f"role {self.name!r}: loss is {self.loss!r}; {nearest(self.loss, Loss)}")
        for axis in (*(self.batch_along or ()), *(a for s in self.shards.values() for a in s.along)):
            if axis not in self.axes:
                raise InvalidPlan(f"role {self.name!r} has no axis {axis!r}; {nearest(axis, self.axes)}")

    @property
    def sample_axes(self) -> tuple[str, ...]:
        """Axes along which the samples of a step are divided."""
        return tuple(self.axes) if self.batch_along is None else self.batch_along

    @property
    def nbytes(self) -> int:
        """Bytes of its own buffers; a buffer that lives in another role's memory is counted there."""
        return sum(b.nbytes for b in self.buffers.values() if b.shared in (None, self.name))


Program = Callable[..., Generator[Instruction, Any, None]]


PROGRAMS: Registry[Program] = Registry("program")


def program(f: Program) -> Program:
    """Decorator: register a generator function as a program under its own name."""
    return PROGRAMS.add(f.__name__, f)


@dataclass(frozen=True)
class Plan:
    """Roles, and how many unread messages a lane holds.

    Raises `InvalidPlan` when two roles share a name, a program is unknown, or a lane has no room.
    """

    roles: tuple[Role, ...]
    slots: int = 2

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InvalidPlan(f"a lane needs room for at least 1 message, got {self.slots}")
        names = [r.name for r in self.roles]
        if twice := [n for n in dict.fromkeys(names) if names.count(n) > 1]:
            raise InvalidPlan(f"two roles are named {twice[0]!r}")
        for r in self.roles:
            if r.program not in PROGRAMS:
                raise InvalidPlan(f"role {r.name!r} plays unknown program {r.program!r}; {nearest(r.program, PROGRAMS)}")

    @cached_property
    def role(self) -> dict[str, Role]:
        return {r.name: r for r in self.roles}

    @cached_property
    def ranks(self) -> tuple[Rank, ...]:
        return tuple(Rank(r.name, at) for r in self.roles for at in product(*map(range, r.axes.values())))

    @cached_property
    def _indices(self) -> dict[tuple[Rank, tuple[str, ...]], tuple[int, int]]:
        return {}

    @cached_property
    def _transfers(self) -> dict[tuple[Collective, int, int], tuple[Instruction, ...]]:
        return {}

    @cached_property
    def _peers(self) -> dict[tuple[Rank, Peer], Rank]:
        return {}

    def first_rank(self, role: str) -> Rank:
        """The rank of a role whose coordinates are all zero."""
        return Rank(role, (0,) * len(self.role[role].axes))

    def start(self, rank: Rank) -> Generator[Instruction, Any, None]:
        """The stream of instructions of a rank."""
        role = self.role[rank.role]
        return PROGRAMS[role.program](self, role, **role.params)

    def shortened(self, steps: int) -> "Plan":
        """The same plan with at most `steps` steps, where a program has the parameter ``steps``: enough to prove a long one."""

        def cut(r: Role) -> Role:
            if r.params.get("steps", 0) <= steps:
                return r
            return replace(r, params={**r.params, "steps": steps})

        return Plan(tuple(map(cut, self.roles)), self.slots)

    def index(self, rank: Rank, along: tuple[str, ...]) -> tuple[int, int]:
        """(index, size) of a rank in its group along some axes."""
        known = self._indices.get((rank, along))
        if known is None:
            known = self._indices[rank, along] = self._index(rank, along)
        return known

    def _index(self, rank: Rank, along: tuple[str, ...]) -> tuple[int, int]:
        axes = self.role[rank.role].axes
        for axis in along:
            if axis not in axes:
                raise InvalidPlan(f"role {rank.role!r} has no axis {axis!r}; {nearest(axis, axes)}")
        i, n = 0, 1
        for (axis, size), c in zip(axes.items(), rank.at, strict=True):
            if axis in along:
                i, n = i * size + c, n * size
        return i, n

    def peer(self, me: Rank, p: Peer | Rank) -> Rank:
        """The rank that `p` names, seen from `me`."""
        if isinstance(p, Rank):
            return p
        known = self._peers.get((me, p))
        if known is None:
            known = self._peers[me, p] = self._peer(me, p)
        return known

    def _peer(self, me: Rank, p: Peer) -> Rank:
        name = p.role or me.role
        if name not in self.role:
            raise InvalidPlan(f"{me} names a peer of role {name!r}, which the plan does not have; {nearest(name, self.role)}")
        if p.at:
            return Rank(name, tuple(self._coordinate(me, name, axis, p.at) for axis in self.role[name].axes))
        if not p.by:
            return Rank(name, me.at if self.role[name].axes else ())
        i, n = self.index(me, p.along)
        i, at = (i + p.by) % n, list(me.at)
        for k, (axis, size) in reversed(list(enumerate(self.role[me.role].axes.items()))):
            if axis in p.along:
                i, at[k] = divmod(i, size)
        return Rank(name, tuple(at))

    def _coordinate(self, me: Rank, role: str, axis: str, at: tuple[Coordinate, ...]) -> int:
        """Where a peer of `role` stands along an axis of its own."""
        c = next((c for c in at if c.axis == axis), None)
        if c is None:
            return self.index(me, (axis,))[0]
        return (self.index(me, c.mine)[0] // c.over * c.times + c.plus) % self.role[role].axes[axis]

    def group(self, me: Rank, along: tuple[str, ...]) -> list[Rank]:
        """The ranks of my group along some axes, me first."""
        return [self.peer(me, Peer(None, along, d)) for d in range(self.index(me, along)[1])]

    def transfers(self, me: Rank, c: Collective) -> Sequence[Instruction]:
        """The sends and receives of one rank in a collective, in order; raises `InvalidPlan` when its group cannot play it."""
        (i, n), algorithm = self.index(me, c.along), COLLECTIVES[c.algorithm]
        key = c, n, 0 if algorithm.symmetric else i
        found = self._transfers.get(key)
        if found is None:
            found = tuple(algorithm.program(Group(c, i, n)))
            if algorithm.symmetric:  # others of the group will ask for the same
                if len(self._transfers) >= REMEMBERED:
                    del self._transfers[next(iter(self._transfers))]
                self._transfers[key] = found
        return found

    def key(self, me: Rank, ref: Ref) -> tuple[str, int, int, int]:
        """(buffer, slot, part, parts): what a `Ref` means to `me`."""
        part = (ref.part + self.index(me, ref.turn)[0] * ref.stride) % ref.parts if ref.turn else ref.part % ref.parts
        return ref.buffer, ref.index % self.buffer(me, ref.buffer).slots, part, ref.parts

    def buffer(self, me: Rank, name: str) -> Buffer:
        """A buffer of this rank's role; raises `InvalidPlan` when it has none of that name."""
        buffers = self.role[me.role].buffers
        if name not in buffers:
            raise InvalidPlan(f"role {me.role!r} has no buffer {name!r}; {nearest(name, buffers)}")
        return buffers[name]

    def extent(self, me: Rank, ref: Ref) -> tuple[int, int]:
        """(first element, elements) of what a `Ref` means in its slot; the first ``size mod parts`` parts are one longer."""
        _, _, part, parts = self.key(me, ref)
        whole, rest = divmod(self.buffer(me, ref.buffer).size, parts)
        return part * whole + min(part, rest), whole + (part < rest)

    def nbytes(self, me: Rank, ref: Ref) -> int:
        """Bytes of what a `Ref` means to `me`."""
        return self.extent(me, ref)[1] * self.buffer(me, ref.buffer).itemsize

    @cached_property
    def hash(self) -> str:
        """Identity of the plan: its roles, and the source of the programs and collectives they name.

        Not how often it is repeated: a plan of 4 steps that is simulated and one of 400 that is run are the same.
        """
        text = [repr(self.slots)]
        for r in self.roles:
            params = sorted((k, v) for k, v in r.params.items() if k != "steps")
            text += [repr((r.name, r.program, params, tuple(r.axes.items()), tuple(r.buffers.items())))]
            text += [repr((tuple(r.segments.items()), tuple(r.places.items()), r.is_turned)), _source(PROGRAMS[r.program])]
            text += [repr((r.batch_along, r.sample_parts, tuple(r.shards.items()), str(r.loss)))]
            text += [_source(COLLECTIVES[v].program) for v in r.params.values() if isinstance(v, str) and v in COLLECTIVES]
        return sha256("\n".join(text).encode()).hexdigest()[:16]


@cache
def _source(f: Callable[..., Any]) -> str:
    """Text that changes when a function does; its bytecode, when it was typed at a prompt and has no file."""
    try:
        return getsource(f)
    except (OSError, TypeError):
        return f"{f.__qualname__} {f.__code__.co_code.hex()}"
