"""The memory planner: an offset for every value, in one arena.

It works on the partial order of actions, not on one sequence: two values may share bytes only when every use of one is ordered
before every use of the other by a chain of waits, whatever the streams then do. Placement is greedy by size with best fit, the
offset calculation of Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (arXiv 2001.03288, 2020).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from graph.errors import GraphError, InvalidPlan
from graph.record import record

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Offsets = np.ndarray[Any, np.dtype[np.int64]]


@record
class Layout:
    """Where values lie.

    Parameters
    ----------
    offsets : value -> bytes from the start of the arena.
    nbytes : size of the arena.
    """

    offsets: Mapping[str, int]
    nbytes: int


@record
class _Block:
    """Values laid out as one: which actions use it, and, as a bit set, which actions precede all of those."""

    values: tuple[str, ...]
    size: int
    used: tuple[int, ...]
    before: int


def ancestors(needs: Sequence[Sequence[int]]) -> list[int]:
    """For each action the bit set of those that must have ended before it starts; raises `InvalidPlan` on a forward need."""
    before: list[int] = []
    for i, needed in enumerate(needs):
        found = 0
        for j in needed:
            if not 0 <= j < i:
                raise InvalidPlan(f"action {i} needs action {j}; it may only need earlier ones")
            found |= before[j] | 1 << j
        before.append(found)
    return before


def _block(
    values: tuple[str, ...], sizes: Mapping[str, int], uses: Mapping[str, tuple[int, ...]], before: Sequence[int]
) -> _Block:
    used, common = list[int](), -1
    for v in values:
        for a in uses[v]:
            if not 0 <= a < len(before):
                raise InvalidPlan(f"value {v!r} is used by action {a}, but there are {len(before)}")
            used.append(a)
            common &= before[a]
    if not used:
        raise InvalidPlan(f"nothing uses {', '.join(values)}: a value needs at least the action that defines it")
    return _Block(values=values, size=sum(sizes[v] for v in values), used=tuple(used), before=common)


def _blocks(
    sizes: Mapping[str, int], uses: Mapping[str, tuple[int, ...]], before: Sequence[int], groups: Sequence[tuple[str, ...]]
) -> list[_Block]:
    grouped = [v for g in groups for v in g]
    if len(set(grouped)) != len(grouped):
        raise GraphError("a value is in two groups, or twice in one")
    for v in (*grouped, *sizes):
        if v not in sizes or v not in uses or sizes[v] < 0:
            raise GraphError(f"value {v!r} needs a size >= 0 and its uses")
    alone = set(sizes).difference(grouped)
    members = [*(g for g in groups if g), *((v,) for v in sizes if v in alone)]
    return [_block(m, sizes, uses, before) for m in members]


def _conflicts(blocks: Sequence[_Block], actions: int) -> Flags:
    """For each pair of blocks whether neither is over before the other begins: blocks x blocks."""
    width = -(-actions // 8)
    bits = np.frombuffer(b"".join(b.before.to_bytes(width, "little") for b in blocks), np.uint8).reshape(len(blocks), width)
    before = np.unpackbits(bits, axis=1, bitorder="little").astype(bool)  # blocks x actions
    first = [0, *accumulate(len(b.used) for b in blocks)][:-1]
    precedes = np.logical_and.reduceat(before[:, list(chain.from_iterable(b.used for b in blocks))], first, axis=1)
    return ~(precedes | precedes.T)


def _gap(starts: Offsets, stops: Offsets, size: int) -> int:
    """The start of the smallest gap between these intervals that holds `size`, the first of like ones; else where all end."""
    order = np.lexsort((stops, starts))
    ends = np.maximum.accumulate(np.concatenate(([0], stops[order])))
    lengths = starts[order] - ends[:-1]
    wide = np.flatnonzero(lengths >= size)
    return int(ends[wide[lengths[wide].argmin()]] if len(wide) else ends[-1])


def plan_memory(
    sizes: Mapping[str, int],
    uses: Mapping[str, tuple[int, ...]],
    needs: Sequence[tuple[int, ...]],
    *,
    groups: Sequence[tuple[str, ...]] = (),
    align: int = 64,
) -> Layout:
    """Give every value an offset.

    Parameters
    ----------
    sizes : value -> bytes.
    uses : value -> the actions that touch it; at least the one that defines it.
    needs : for each action the earlier actions that must end before it starts.
    groups : values that lie one after the other without gaps, as one block (the gradients of a bucket).
    align : every block starts at a multiple of this.

    Returns
    -------
    Layout : its size is never more than that of all blocks side by side.

    Raises
    ------
    InvalidPlan : when an action needs a later one, or a value has no use.
    GraphError : when sizes, uses and groups do not fit together.
    """
    if align < 1:
        raise GraphError(f"align must be >= 1, got {align}")
    blocks = sorted(_blocks(sizes, uses, ancestors(needs), groups), key=lambda b: -b.size)
    if not blocks:
        return Layout(offsets={}, nbytes=0)
    conflicts = _conflicts(blocks, len(needs))
    starts, stops = np.zeros((2, len(blocks)), np.int64)
    offsets: dict[str, int] = {}
    for k, b in enumerate(blocks):
        length = b.size + -b.size % align
        others = np.flatnonzero(conflicts[k, :k])
        starts[k] = at = _gap(starts[others], stops[others], length)
        stops[k] = at + length
        for v in b.values:
            offsets[v] = at
            at += sizes[v]
    return Layout(offsets={v: offsets[v] for v in sizes}, nbytes=int(stops.max()))
