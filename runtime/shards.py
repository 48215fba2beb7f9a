"""Which pieces of which parameters and state a rank holds, and who has the last word on them.

A checkpoint holds whole values under their own names, whatever the strategy. Each rank cuts its pieces out of them when it
begins, and those who keep a piece hand it in when the run is saved. Who keeps a value: the first role that renews it in a step;
where none does, the first that holds it; of its ranks those that are the first to hold their piece. A rank that only computes
with a value (a worker of a parameter server) may hold an old one.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy.typing as npt

from graph.autodiff import training_graph
from graph.init import init_parameters
from graph.ir import Graph, Kind
from graph.optimizer import Sgd
from graph.parallel.plan import Buffer, Plan, Rank, Role
from graph.record import record
from graph.tensor_type import TensorType
from graph.text import from_text
from runtime.errors import InvalidJob
from runtime.job import Job

KINDS = (Kind.PARAMETER, Kind.STATE)


@record
class Piece:
    """What a rank holds of a value, in one run of elements of a buffer.

    Parameters
    ----------
    name : of the value.
    buffer, at : where it lies: in slot 0 of a buffer, from this element on.
    axis : of the whole, along which it is cut; None: the whole, or a part of it, as one row of elements.
    first, last : ``first <= i < last`` along that axis.
    shape : its own; (elements,) where it is cut as one row.
    """

    name: str
    buffer: str
    at: int
    axis: int | None
    first: int
    last: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    def of(self, whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of this piece of the whole, which is contiguous."""
        if self.axis is None:
            return whole.reshape(-1)[self.first : self.last]
        return whole[(*[slice(None)] * self.axis, slice(self.first, self.last))]


def whole_graph(job: Job) -> Graph | None:
    """The training graph of the job's model on one rank: it names and types all parameters and state. None without a model."""
    return training_graph(from_text(job.model), Sgd(**job.optimizer)) if job.model else None


def whole_types(graph: Graph | None) -> dict[str, TensorType]:
    """Parameter or state -> its type."""
    return {v.name: v.type for kind in KINDS for v in graph.of_kind(kind)} if graph else {}


def drawn(graph: Graph | None, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Whole parameters and state to begin with."""
    return init_parameters(graph, seed) if graph else {}


def pieces(plan: Plan, rank: Rank, whole: Mapping[str, TensorType]) -> dict[str, Piece]:
    """What a rank holds, by name; raises `InvalidJob` when that is no piece of a value of the job's model."""
    role = plan.role[rank.role]
    known = {v.name for kind in KINDS for v in role.graph.of_kind(kind)} if role.graph else set[str]()
    found: dict[str, Piece] = {}
    for name, b in role.buffers.items():
        for v in (v for v in b.values if v in known and v not in whole):
            raise InvalidJob(f"{rank} holds {v!r}, which is no parameter or state of the job's model")
        if known.issuperset(b.values):
            cut = _cut_as_one(plan, rank, name, b, whole) if b.is_cut else _packed(plan, rank, name, b, whole)
            found.update((p.name, p) for p in cut)
    return found


def _cut_as_one(plan: Plan, rank: Rank, name: str, b: Buffer, whole: Mapping[str, TensorType]) -> Iterator[Piece]:
    """Of a buffer that holds an even part of its packed values."""
    low = plan.index(rank, b.sharded)[0] * b.size
    start = 0
    for v in b.values:
        end = start + whole[v].size
        first, last = max(start, low), min(end, low + b.size)
        if first < last:
            size = last - first
            yield Piece(name=v, buffer=name, at=first - low, axis=None, first=first - start, last=last - start, shape=(size,))
        start = end


def _packed(plan: Plan, rank: Rank, name: str, b: Buffer, whole: Mapping[str, TensorType]) -> Iterator[Piece]:
    """Of a buffer that holds its values one after the other, each whole or cut along an axis."""
    role, at = plan.role[rank.role], 0
    for v in b.values:
        shape = whole[v].shape
        shard = role.shards.get(v) or role.shards.get(v.rpartition(".")[0])  # state is cut as its parameter
        i, n = plan.index(rank, shard.along) if shard else (0, 1)
        axis = shard.axis if shard and n > 1 else None
        mine = shape if axis is None else (*shape[:axis], shape[axis] // n, *shape[axis + 1 :])
        count = whole[v].size if axis is None else mine[axis]
        held = role.graph.type_of(v) if role.graph else whole[v]
        if held.shape != mine or n * prod(mine) != whole[v].size:
            raise InvalidJob(f"{rank} holds {held} of {v!r}, which is {whole[v]} in the job's model, cut in {n}")
        first = 0 if axis is None else i * count
        own = (count,) if axis is None else mine
        yield Piece(name=v, buffer=name, at=at, axis=axis, first=first, last=first + count, shape=own)
        at += prod(mine)


def renewed(role: Role) -> frozenset[str]:
    """Parameters and state for which a rank of the role computes the new values."""
    if role.graph is None:
        return frozenset()
    nodes = {n for names in role.segments.values() for n in names}
    return frozenset(old for old, new in role.graph.updates.items() if role.graph.producer[new].name in nodes)


def keepers(plan: Plan, whole: Mapping[str, TensorType]) -> dict[str, dict[Rank, Piece]]:
    """Value -> rank -> the piece on which this rank has the last word. Raises `InvalidJob` when they do not make up the whole."""
    held = {rank: pieces(plan, rank, whole) for rank in plan.ranks}
    renews = {r.name: renewed(r) for r in plan.roles}
    found: dict[str, dict[Rank, Piece]] = {}
    for name, t in whole.items():
        holders = [rank for rank in plan.ranks if name in held[rank]]
        role = next((rank.role for rank in holders if name in renews[rank.role]), holders[0].role if holders else "")
        found[name], seen = {}, set[tuple[int, int]]()
        for rank in (r for r in holders if r.role == role):
            piece = held[rank][name]
            if (piece.first, piece.last) not in seen:
                seen.add((piece.first, piece.last))
                found[name][rank] = piece
        size = sum(p.size for p in found[name].values())
        if size != t.size:
            raise InvalidJob(f"the plan's ranks keep {size} elements of {name!r}, which has {t.size} in the job's model")
    return found


def cut(values: Mapping[str, npt.NDArray[Any]], mine: Mapping[str, Piece]) -> dict[str, npt.NDArray[Any]]:
    """A rank's pieces of whole values, copied out of them."""
    return {name: piece.of(values[name]).copy() for name, piece in mine.items()}
