"""The tables that the native step plays: one rank's step, unrolled from the plan, with addresses filled in.

Nothing is decided here. Order comes from `graph.parallel.unroll`, places from `hw.lower`, code from the kernels' registry.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Do, Path, Plan, Rank, Recv, Ref, Send
from graph.parallel.unroll import StepAction, unroll
from graph.record import record
from runtime.errors import InvalidJob
from runtime.scheduler import DO, HEADER, INPUT, LETTERS, LINE, RECV, RECV_ADD, SEND

Words = npt.NDArray[np.int64]
Wire = tuple[Rank, Rank, str]  # source, destination, lane


@record
class WirePlace:
    """Where a wire lies in shared memory: its address, and the bytes from letter to letter."""

    address: int
    stride: int


@record
class Row:
    """One kernel call: address of the code and of its block of arguments."""

    function: int
    argument: int


def tag_of(path: Path) -> int:
    """64 bits that stand for a letter's tag; the step is left out, it travels beside it."""
    return int.from_bytes(sha256(repr(path[1:]).encode()).digest()[:8], "little", signed=True)


def wire_sizes(plan: Plan) -> dict[Wire, tuple[int, int]]:
    """wire -> (bytes of its longest letter, bytes of all its letters in one step), from the streams of all ranks."""
    found: dict[Wire, tuple[int, int]] = {}
    for rank in plan.ranks:
        for a in unroll(plan, rank):
            if isinstance(a.ins, Send):
                wire, n = (rank, plan.peer(rank, a.ins.to), a.ins.lane), plan.nbytes(rank, a.ins.what)
                longest, total = found.get(wire, (0, 0))
                found[wire] = max(longest, n), total + n
    return found


def wire_layout(plan: Plan) -> tuple[dict[Wire, tuple[int, int]], int]:
    """(wire -> (offset, stride), bytes of all wires): where wires lie in the shared memory that carries them."""
    at, found = 0, {}
    for wire, (longest, _) in wire_sizes(plan).items():
        stride = HEADER + longest + (-longest % LINE)
        found[wire] = at, stride
        at += LETTERS + plan.slots * stride
    return found, at


class Table:
    """One rank's step as arrays.

    Parameters
    ----------
    plan, rank : whose step.
    rows : a `Do` -> its kernel calls; not asked for the input action.
    place : (`Ref`) -> address of what it names.
    wires : every wire of this rank.
    loss : a `Do` -> address of the loss that it has computed when it ends, or 0.

    Attributes
    ----------
    actions : all actions of the step, collectives included.
    leaves : those that the native step plays, in its numbering.
    kind, needs, place, nbytes, wire, stride, tag, loss, loss_index : i64[leaves], see `runtime.scheduler`.
    losses, inputs : how many losses a step has (one a micro-batch, or round), and how many batches it takes.
    """

    def __init__(
        self, plan: Plan, rank: Rank, *, rows: Callable[[Do], Sequence[Row]], place: Callable[[Ref], int],
        wires: Mapping[Wire, WirePlace], loss: Callable[[Do], int] = lambda do: 0,
    ) -> None:  # fmt: skip
        self.plan, self.rank = plan, rank
        self.actions = unroll(plan, rank)
        self.leaves: tuple[StepAction, ...] = tuple(a for a in self.actions if a.is_leaf)
        n = len(self.leaves)
        self.kind, self.place, self.nbytes, self.wire, self.stride, self.tag, self.loss, self.loss_index = np.zeros(
            (8, n), np.int64
        )
        self._order()
        self.losses = self.inputs = 0
        self.row_first = np.zeros(n + 1, np.int64)
        calls: list[Row] = []
        for i, a in enumerate(self.leaves):
            if isinstance(a.ins, Do) and a.ins.kernel == "input":
                ref = a.ins.writes[0]
                self.kind[i], self.place[i], self.nbytes[i] = INPUT, place(ref), plan.nbytes(rank, ref)
                self.inputs += 1
            elif isinstance(a.ins, Do):
                self.kind[i] = DO
                calls += rows(a.ins)
                if at := loss(a.ins):
                    self.loss[i], self.loss_index[i] = at, self.losses
                    self.losses += 1
            elif isinstance(a.ins, Send | Recv):
                self._letter(i, a.ins, place, wires)
            self.row_first[i + 1] = len(calls)
        self.function = np.array([r.function for r in calls], np.int64)
        self.argument = np.array([r.argument for r in calls], np.int64)
        self.left, self.letters, self.runs = np.zeros((3, n), np.int64)
        self.counts = np.zeros(2, np.int64)

    def _order(self) -> None:
        """Dependency counters and successors, between leaves."""
        number = {a.index: i for i, a in enumerate(self.leaves)}
        then: list[list[int]] = [[] for _ in self.leaves]
        for i, a in enumerate(self.leaves):
            for k in a.needs:
                then[number[k]].append(i)
        self.needs = np.array([len(a.needs) for a in self.leaves], np.int64)
        self.then_first = np.cumsum([0, *map(len, then)], dtype=np.int64)
        self.then = np.array([i for t in then for i in t], np.int64)

    def _letter(self, i: int, ins: Send | Recv, place: Callable[[Ref], int], wires: Mapping[Wire, WirePlace]) -> None:
        if isinstance(ins, Send):
            ref, wire = ins.what, (self.rank, self.plan.peer(self.rank, ins.to), ins.lane)
            self.kind[i] = SEND
        else:
            if isinstance(ins.source, str) or ins.timeout is not None:
                raise InvalidJob(f"{'/'.join(map(str, ins.id))}: workers here hear from one named rank, without a time-out")
            ref, wire = ins.into, (self.plan.peer(self.rank, ins.source), self.rank, ins.lane)
            self.kind[i] = RECV_ADD if ins.add else RECV
        if wire not in wires:
            raise InvalidJob(
                f"{'/'.join(map(str, ins.id))}: no wire {wire[0]} -> {wire[1]} on lane {wire[2]!r}: nobody sends there"
            )
        self.place[i], self.nbytes[i] = place(ref), self.plan.nbytes(self.rank, ref)
        self.wire[i], self.stride[i], self.tag[i] = wires[wire].address, wires[wire].stride, tag_of(ins.tag)

    def name(self, leaf: int, step: int) -> str:
        """The id of a leaf in a step, as text, and whom it waits for."""
        if leaf < 0:
            return "nothing"
        a = self.leaves[leaf]
        text = "/".join(map(str, (step, *a.id[1:])))
        if isinstance(a.ins, Send):
            return f"{text} for {self.plan.peer(self.rank, a.ins.to)}"
        if isinstance(a.ins, Recv) and not isinstance(a.ins.source, str):
            return f"{text} for {self.plan.peer(self.rank, a.ins.source)}"
        return text

    def arguments(self) -> tuple[Words, ...]:
        """The arrays in the order in which `runtime.scheduler.play` takes them, after `words`."""
        return (
            self.kind, self.needs, self.then_first, self.then, self.row_first, self.function, self.argument, self.place,
            self.nbytes, self.wire, self.stride, self.tag, self.loss, self.loss_index,
            self.left, self.letters, self.runs, self.counts,
        )  # fmt: skip
