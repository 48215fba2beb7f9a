"""What a layer costs under a schedule, in closed form, and the schedule that costs least.

The closed form is a sum over classes of like instructions (`Nest.classes`), some hundreds of them whatever the layer's size. It
equals what counting instruction by instruction gives (`hw.nfu.timing.timing`).
"""

from functools import lru_cache

import numpy as np

from graph.record import record
from hw.errors import HwError
from hw.nfu.activity import Activity
from hw.nfu.config import Nfu
from hw.nfu.estimate import Estimate, Values, candidates
from hw.nfu.layer import Layer
from hw.nfu.nest import Index, Nest, Schedule
from hw.nfu.steps import Steps
from hw.nfu.timing import Timing, weighted

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
    return _cost(nest, weighted(nest))


def _cost(nest: Nest, timed: Timing) -> Cost:
    return Cost(layer=nest.layer, schedule=nest.schedule, timing=timed, activity=activity(nest, timed.total_cycles))


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


def _least(values: Values, many: int) -> Index:
    """Where the smallest values are, at most so many, in ascending order; equal ones as they come."""
    if len(values) <= many:
        return np.argsort(values, kind="stable")
    enough = np.flatnonzero(values <= np.partition(values, many - 1)[many - 1])
    return enough[np.argsort(values[enough], kind="stable")[:many]]


def _picks(about: Estimate) -> dict[Schedule, int]:
    """Schedules whose cost is to be computed exactly, and the bytes that they move; of two that are the same program one."""
    cycles, moved, nbytes, n = about.cycles.ravel(), about.moved.ravel(), about.dram_bytes.ravel(), len(about.alike)
    as_fast = np.flatnonzero(cycles <= cycles.min() * (1 + SLACK))
    found: dict[int, int] = {}
    for i in (*_least(cycles, EXACT).tolist(), *as_fast[_least(moved[as_fast], EXACT)].tolist()):
        found.setdefault(i % n if about.alike[i % n] else i, i)
    return {about.schedule(i): int(nbytes[i]) for i in found.values()}


@lru_cache(maxsize=4096)
def best(layer: Layer, nfu: Nfu) -> Cost:
    """The layer under the schedule that takes the fewest cycles; of those that are as fast (`SLACK`) the one that moves least.

    Schedules are ranked by an estimate; the best ones of it are computed exactly.

    Raises
    ------
    HwError : no schedule fits the buffers.
    """
    about = Estimate(layer, nfu, candidates(layer, nfu))
    if not len(about.alike):
        raise HwError(
            f"layer {layer.name!r}: no tile fits: one position of one window needs a row of each buffer, and NBin has "
            f"{nfu.nbin_rows}, NBout {nfu.nbout_rows}, SB {nfu.sb_rows}"
        )
    picks = _picks(about)
    least = min(picks.values())
    timed = {s: weighted(Nest(layer, nfu, s)) for s, nbytes in picks.items() if nbytes == least}
    if min(t.total_cycles for t in timed.values()) > layer.nfu_cycles(nfu) * (1 + SLACK):  # else nothing that moves more can win
        timed |= {s: weighted(Nest(layer, nfu, s)) for s, nbytes in picks.items() if nbytes > least}
    enough = min(t.total_cycles for t in timed.values()) * (1 + SLACK)
    as_fast = (s for s, t in timed.items() if t.total_cycles <= enough)
    chosen = min(as_fast, key=lambda s: (picks[s], timed[s].total_cycles))
    return _cost(Nest(layer, nfu, chosen), timed[chosen])
