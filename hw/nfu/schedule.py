"""What a layer costs under a schedule, in closed form, and the schedule that costs least.

The closed form is a sum over classes of like instructions (`Nest.classes`), some hundreds of them whatever the layer's size. It
equals what counting instruction by instruction gives (`hw.nfu.timing.timing`).
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.errors import HwError
from hw.nfu.activity import Activity
from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer
from hw.nfu.nest import Index, Nest, Order, Schedule
from hw.nfu.steps import Steps
from hw.nfu.timing import Timing, weighted

CUTS = 7
"""Sizes of a tile that are tried along an extent: the largest ones that cut it evenly."""
EXACT = 6
"""Schedules whose cost is computed exactly: so many that an estimate finds fastest, and of those that are about as fast so many
that it finds to move least."""
SLACK = 0.005
"""Of the fewest cycles: what is not slower by more than this is as fast. Bytes cost energy."""


@record
class Cost:
    """A layer under a schedule.

    Parameters
    ----------
    layer, schedule : what, and how.
    timing : cycles.
    activity : what energy is computed from.
    """

    layer: Layer
    schedule: Schedule
    timing: Timing
    activity: Activity

    @property
    def total_cycles(self) -> int:
        """From the first request until the last word is stored."""
        return self.timing.total_cycles

    @property
    def instructions(self) -> int:
        """Of the program."""
        return self.activity.instructions

    @property
    def dram_bytes(self) -> int:
        """Moved to and from the main memory."""
        return self.activity.dram_bytes


def cost(layer: Layer, nfu: Nfu, schedule: Schedule) -> Cost:
    """Cycles and accesses of a layer under a schedule; raises `HwError` when it does not fit."""
    nest = Nest(layer, nfu, schedule)
    timed = weighted(nest)
    return Cost(layer=layer, schedule=schedule, timing=timed, activity=activity(nest, timed.total_cycles))


def activity(nest: Nest, cycles: int) -> Activity:
    """Accesses of all instructions, from the classes of like ones."""
    k, many = nest.classes()
    s, nfu, layer, is_pool = Steps(nest, k), nest.nfu, nest.layer, nest.is_pool
    lanes = layer.lanes(nfu) if is_pool else nfu.tn

    def count(x: Index) -> int:
        return int(x @ many)

    rows_in = np.where(s.loads_inputs, s.patch_rows * s.patch_columns * s.map_rows, 0)
    rows_sb = np.where(s.loads_synapses, s.taps_y * s.taps_x * s.map_rows * (s.positions if layer.is_private else 1), 0)
    earlier = np.where(s.stores, s.function_rows - s.sum_rows, 0)  # complete, and waiting in NBout
    return Activity(
        cycles=cycles,
        busy_cycles=count(s.cycles),
        products=layer.macs,
        function_rows=count(s.function_rows),
        sb_reads=0 if is_pool else count(s.cycles),
        nbin_reads=count(s.cycles),
        nbout_reads=count(np.where(s.begins & ~s.loads_bias, 0, s.sum_rows) + earlier),
        nbout_writes=count(s.sum_rows + earlier),
        sb_fills=count(rows_sb),
        nbin_fills=count(rows_in),
        nbout_fills=count(np.where(s.loads_bias, s.sum_rows, 0)),
        nbout_drains=count(np.where(s.stores, s.positions * -(-s.outputs // lanes), 0)),
        dram_read_bytes=count((s.input_words + s.bias_words) * nfu.word_bytes + s.synapse_words * nfu.synapse_bytes),
        dram_write_bytes=count(s.result_words) * nfu.word_bytes,
        instructions=int(many.sum()),
    )


def _cuts(extent: int, most: int) -> list[int]:
    """Sizes up to `most` that cut an extent into parts as even as can be, the largest first, few of them, and 1."""
    found: list[int] = []
    parts = max(1, -(-extent // max(most, 1)))
    while parts <= extent and len(found) < CUTS:
        size = -(-extent // parts)
        found.append(size)
        parts = -(-extent // (size - 1)) if size > 1 else extent + 1
    return found if 1 in found else [*found, 1]


def candidates(layer: Layer, nfu: Nfu) -> Iterable[tuple[Index, Order]]:
    """Schedules that fit: for each order i64 [6, n], rows, columns, window rows and columns, maps, block of each."""
    nest = Nest(layer, nfu, Schedule())
    outputs = 1 if nest.is_pool else layer.output_rows(nfu)
    blocks = [b for b in range(1, min(outputs, nfu.nbout_rows) + 1) if outputs % b == 0]
    window = nfu.sb_rows if not nest.is_pool else nfu.nbin_rows
    grid = np.meshgrid(
        _cuts(layer.oy, nfu.nbout_rows),
        _cuts(layer.ox, nfu.nbout_rows),
        _cuts(layer.ky, window),
        _cuts(layer.kx, window),
        _cuts(layer.input_rows(nfu), min(window, nfu.nbin_rows)),
        blocks,
        indexing="ij",
    )
    rows, columns, wy, wx, maps, block = (g.ravel().astype(np.int64) for g in grid)
    positions = rows * columns
    patch = ((rows - 1) * layer.sy + wy) * ((columns - 1) * layer.sx + wx)
    sums = positions * (maps if nest.is_pool else block)
    chunk = 0 * maps if nest.is_pool else wy * wx * maps * (positions if layer.is_private else 1)
    fits = (patch * maps <= nfu.nbin_rows) & (sums <= nfu.nbout_rows) & (chunk <= nfu.sb_rows)
    found = np.stack([a[fits] for a in (rows, columns, wy, wx, maps, block)])
    for order in Order:
        yield found, order


Reals = npt.NDArray[np.float64]


def _estimate(layer: Layer, nfu: Nfu, s: Index, order: Order) -> tuple[Reals, Reals]:
    """About the cycles of each schedule, and those of its transfers: as the closed form, but all chunks of a tile are taken to be
    alike, and what is moved seldom to be moved together with what is moved more often.
    """
    rows, columns, wy, wx, maps, block = s
    is_pool = layer.kind is Kind.POOL
    cuts_y, cuts_x, parts = -(-layer.ky // wy), -(-layer.kx // wx), -(-layer.input_rows(nfu) // maps)
    chunks = cuts_y * cuts_x * (1 if is_pool else parts)
    blocks = parts if is_pool else layer.output_rows(nfu) // block
    each = np.ones_like(block) if is_pool else block
    tiles_y, tiles_x = -(-layer.oy // rows), -(-layer.ox // columns)
    outside, tiles = order is Order.SYNAPSES, layer.batch * tiles_y * tiles_x
    again = (chunks > 1) | (outside & (tiles > 1)) | is_pool
    stay = (chunks == 1) & (each == 1) & (outside | (blocks == 1)) & (not layer.is_private)
    inner = chunks * blocks * each  # instructions of a tile, in a group
    loads = chunks * np.where(again, blocks, 1)
    rate, groups = nfu.clock_hz / nfu.dram_bytes_per_second, layer.groups
    positions = layer.ox * layer.oy if layer.is_private else 1
    synapse = layer.synapses / positions / groups / inner * nfu.synapse_bytes * rate * (not is_pool)
    total = np.where(stay, (groups * blocks - 1) * synapse, 0.0)
    moved = total.copy()
    for high, many_y in ((rows, tiles_y - 1), (layer.oy - (tiles_y - 1) * rows, np.ones_like(rows))):
        for wide, many_x in ((columns, tiles_x - 1), (layer.ox - (tiles_x - 1) * columns, np.ones_like(rows))):
            window = layer.ky * layer.kx * layer.input_rows(nfu) * (1 if is_pool else layer.output_rows(nfu))
            compute = high * wide * window / inner
            patch = ((high - 1) * layer.sy + layer.ky / cuts_y) * ((wide - 1) * layer.sx + layer.kx / cuts_x)
            inputs = patch * (layer.ni / groups / parts) * nfu.word_bytes * rate
            stores = high * wide * (layer.no / groups / blocks) * nfu.word_bytes * rate
            chunk = np.where(stay, 0.0, synapse * (high * wide if layer.is_private else 1))
            moves = ((loads, inputs), (inner, chunk), (blocks, stores))
            many = groups * layer.batch * many_y * many_x
            total = total + many * _slots(inner, compute, moves)
            moved = moved + many * sum(n * cycles for n, cycles in moves)
    return total + _edges(layer, nfu, s, blocks) + 1e-3 * tiles * inner, moved


def _edges(layer: Layer, nfu: Nfu, s: Index, blocks: Index) -> Reals:
    """About the cycles of the first load and of the last store of each schedule."""
    rows, columns, wy, wx, maps, _ = s
    words = np.minimum(maps * layer.lanes(nfu), layer.ni // layer.groups)
    patch = ((rows - 1) * layer.sy + wy) * ((columns - 1) * layer.sx + wx)
    neurons = 0 if layer.kind is Kind.POOL else min(nfu.tn, layer.no // layer.groups)
    chunk = wy * wx * words * neurons * (rows * columns if layer.is_private else 1)
    load = patch * words * nfu.word_bytes + chunk * nfu.synapse_bytes
    high, wide = layer.oy - (layer.oy - 1) // rows * rows, layer.ox - (layer.ox - 1) // columns * columns
    store = high * wide * (layer.no / layer.groups / blocks) * nfu.word_bytes
    rate = nfu.clock_hz / nfu.dram_bytes_per_second
    edges: Reals = np.ceil(load * rate) + np.ceil(store * rate)
    return edges


def _slots(instructions: Index, compute: Reals, moves: tuple[tuple[Index, Reals], ...]) -> Reals:
    """Cycles of instructions that each compute so long, and of which so many move something (how many, cycles of each)."""
    times, each = np.stack([n for n, _ in moves]), np.stack([c for _, c in moves])
    ranks = np.argsort(times, axis=0)
    times, each = np.take_along_axis(times, ranks, 0), np.take_along_axis(each, ranks, 0)
    found, done = np.zeros(len(instructions)), np.zeros_like(instructions)
    for i in range(len(moves)):
        found += (times[i] - done) * np.maximum(compute, np.ceil(each[i:].sum(axis=0)))
        done = times[i]
    total: Reals = found + (instructions - done) * compute
    return total


@lru_cache(maxsize=4096)
def best(layer: Layer, nfu: Nfu) -> Cost:
    """The layer under the schedule that takes the fewest cycles; of those that are as fast (`SLACK`) the one that moves least.

    Schedules are ranked by an estimate; the best ones of it are computed exactly.

    Raises
    ------
    HwError : no schedule fits the buffers.
    """
    found = [(s, order, *_estimate(layer, nfu, s, order)) for s, order in candidates(layer, nfu) if s.shape[1]]
    if not found:
        raise HwError(
            f"layer {layer.name!r}: no tile fits: one position of one window needs a row of each buffer, and NBin has "
            f"{nfu.nbin_rows}, NBout {nfu.nbout_rows}, SB {nfu.sb_rows}"
        )
    cuts = np.concatenate([s for s, *_ in found], axis=1)
    orders = [order for s, order, *_ in found for _ in range(s.shape[1])]
    cycles, moved = (np.concatenate([f[i] for f in found]) for i in (2, 3))
    fastest = np.argsort(cycles, kind="stable")[:EXACT]
    as_fast = np.flatnonzero(cycles <= cycles.min() * (1 + SLACK))
    lightest = as_fast[np.argsort(moved[as_fast], kind="stable")[:EXACT]]
    costs = [cost(layer, nfu, _schedule(cuts[:, i], orders[i])) for i in dict.fromkeys((*fastest, *lightest))]
    enough = min(c.total_cycles for c in costs) * (1 + SLACK)
    return min((c for c in costs if c.total_cycles <= enough), key=lambda c: (c.dram_bytes, c.total_cycles))


def _schedule(numbers: Index, order: Order) -> Schedule:
    rows, columns, wy, wx, maps, block = map(int, numbers)
    return Schedule(rows=rows, columns=columns, window_rows=wy, window_columns=wx, maps=maps, block=block, order=order)
