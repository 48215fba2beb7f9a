"""What a layer costs under a schedule, in closed form, and the schedule that costs least.

The closed form is a sum over classes of like instructions (`Nest.classes`), some hundreds of them whatever the layer's size. It
equals what counting instruction by instruction gives (`hw.nfu.timing.timing`).
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from graph.record import record
from hw.errors import HwError
from hw.nfu.activity import Activity
from hw.nfu.config import Nfu
from hw.nfu.layer import Layer
from hw.nfu.nest import Index, Nest, Order, Schedule
from hw.nfu.steps import Steps
from hw.nfu.timing import Timing, moves_of, weighted

CUTS = 7
"""Sizes of a tile that are tried along an extent: the largest ones that cut it evenly."""
EXACT = 4
"""Schedules whose cost is computed exactly, of those that an estimate finds best."""


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
    k, many = nest.classes()
    now = Steps(nest, k)
    first, last = Steps(nest, np.array([0])), Steps(nest, np.array([len(nest) - 1]))
    timed = weighted(
        nfu, moves_of(Steps(nest, k - 1)), moves_of(now), moves_of(Steps(nest, k + 1)), many, moves_of(first), moves_of(last)
    )
    return Cost(layer=layer, schedule=schedule, timing=timed, activity=activity(now, many, timed.total_cycles))


def activity(s: Steps, many: Index, cycles: int) -> Activity:
    """Accesses of instructions, each of which stands for `many`."""
    nfu, layer, is_pool = s.nest.nfu, s.nest.layer, s.nest.is_pool
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


def _estimate(layer: Layer, nfu: Nfu, s: Index, order: Order) -> Index:
    """About the cycles of each schedule: instructions times the longer of computing and moving, for full tiles."""
    rows, columns, wy, wx, maps, block = s
    is_pool, lanes = layer.kind.value == "pool", layer.lanes(nfu)
    ni, no = layer.ni // layer.groups, layer.no // layer.groups
    tiles = layer.batch * -(-layer.oy // rows) * -(-layer.ox // columns)
    parts = -(-layer.input_rows(nfu) // maps)
    window = -(-layer.ky // wy) * -(-layer.kx // wx)
    blocks = parts if is_pool else layer.output_rows(nfu) // block
    chunks = window if is_pool else window * parts
    each = 1 if is_pool else block
    instructions = layer.groups * blocks * tiles * chunks * each
    patch = ((rows - 1) * layer.sy + wy) * ((columns - 1) * layer.sx + wx)
    words = np.minimum(maps * lanes, ni)
    again = (chunks > 1) | (blocks == 1) | is_pool | (order is Order.SYNAPSES)
    loads = layer.groups * tiles * chunks * np.where(again, blocks, 1)
    moved = loads * patch * words * nfu.word_bytes + layer.outputs * nfu.word_bytes
    if not is_pool:
        stay = (chunks == 1) & (order is Order.SYNAPSES) & (block == 1) & (not layer.is_private)
        size = wy * wx * words * np.minimum(nfu.tn, no) * (rows * columns if layer.is_private else 1)
        moved = moved + np.where(stay, layer.groups * blocks, instructions) * size * nfu.synapse_bytes
    compute = np.int64(layer.nfu_cycles(nfu))
    seconds = np.maximum(compute, moved * (nfu.clock_hz / nfu.dram_bytes_per_second))
    first = (patch * words * nfu.word_bytes) * (nfu.clock_hz / nfu.dram_bytes_per_second)
    return np.asarray(seconds + first + instructions * 0.01 + moved * 1e-6, np.int64)


@lru_cache(maxsize=4096)
def best(layer: Layer, nfu: Nfu) -> Cost:
    """The layer under the schedule that takes the fewest cycles, of equal ones the one that moves the fewest bytes.

    Schedules are ranked by an estimate; the best ones of it are computed exactly.

    Raises
    ------
    HwError : no schedule fits the buffers.
    """
    found: list[tuple[int, int, tuple[int, ...], Order]] = []
    for order_number, (s, order) in enumerate(candidates(layer, nfu)):
        if not s.shape[1]:
            continue
        estimate = _estimate(layer, nfu, s, order)
        for i in np.argsort(estimate, kind="stable")[:EXACT]:
            found.append((int(estimate[i]), order_number, tuple(int(x) for x in s[:, i]), order))
    if not found:
        raise HwError(
            f"layer {layer.name!r}: no tile fits: one position of one window needs a row of each buffer, and NBin has "
            f"{nfu.nbin_rows}, NBout {nfu.nbout_rows}, SB {nfu.sb_rows}"
        )
    found.sort()
    costs = [cost(layer, nfu, _schedule(numbers, order)) for _, _, numbers, order in found[:EXACT]]
    return min(costs, key=lambda c: (c.total_cycles, c.dram_bytes))


def _schedule(numbers: tuple[int, ...], order: Order) -> Schedule:
    rows, columns, wy, wx, maps, block = numbers
    return Schedule(rows=rows, columns=columns, window_rows=wy, window_columns=wx, maps=maps, block=block, order=order)
