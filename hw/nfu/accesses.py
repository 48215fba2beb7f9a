"""What a program makes the units do, counted from its operands alone; `hw.nfu.schedule` has the same numbers in closed form."""

import numpy as np

from hw.nfu.activity import Activity
from hw.nfu.config import Nfu
from hw.nfu.isa import Column, Op, Program
from hw.nfu.timing import Timing, moves_in, timing


def rows_in(program: Program, nfu: Nfu) -> dict[str, Column]:
    """Rows that each instruction takes of ``sb``, ``nbin`` and ``nbout``; of NBout up to its last."""
    p = program
    maps, sums = _map_rows(p, nfu), _sum_rows(p, nfu)
    return {
        "sb": np.where(p["sb.op"] == Op.NOP, 0, _chunk_rows(p, maps)),
        "nbin": p["nbin.rows"] * p["nbin.columns"] * maps,
        "nbout": np.maximum(p["nbout.begin"] + sums, p["nfu.output_end"]),
    }


def activity_in(program: Program, nfu: Nfu) -> tuple[Timing, Activity]:
    """When a program is through, and its accesses; instruction by instruction."""
    p, moved = program, moves_in(program, nfu)
    timed = timing(nfu, moved)
    maps, sums, stores = _map_rows(p, nfu), _sum_rows(p, nfu), p["nbout.write_op"] == Op.STORE
    has_bias, is_pool = p["nbout.read_op"] == Op.LOAD, _is_pool(p)
    positions, taps = p["nfu.positions_y"] * p["nfu.positions_x"], p["nfu.taps_y"] * p["nfu.taps_x"]
    earlier = np.where(stores, moved.function_rows - sums, 0)  # complete, and waiting in NBout
    lanes = np.where(is_pool, min(nfu.ti, nfu.tn), nfu.tn)
    return timed, Activity(
        cycles=timed.total_cycles,
        busy_cycles=timed.busy_cycles,
        products=int(np.where(is_pool, 0, positions * taps * p["nbin.words"] * p["nfu.neurons"]).sum()),
        function_rows=int(moved.function_rows.sum()),
        sb_reads=int(np.where(is_pool, 0, moved.cycles).sum()),
        nbin_reads=int(moved.cycles.sum()),
        nbout_reads=int((np.where(p["nfu.nfu2_in"] == Op.RESET, 0, sums) + earlier).sum()),
        nbout_writes=int((sums + earlier).sum()),
        sb_fills=int(np.where(p["sb.op"] == Op.LOAD, _chunk_rows(p, maps), 0).sum()),
        nbin_fills=int(np.where(p["nbin.op"] == Op.LOAD, p["nbin.rows"] * p["nbin.columns"] * maps, 0).sum()),
        nbout_fills=int(np.where(has_bias, sums, 0).sum()),
        nbout_drains=int(np.where(stores, positions * -(-p["nbout.words"] // lanes), 0).sum()),
        dram_read_bytes=int((moved.synapse_bytes + moved.neuron_bytes).sum()),
        dram_write_bytes=int(moved.result_bytes.sum()),
        instructions=len(p),
    )


def _is_pool(p: Program) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(p["nfu.nfu1"] == Op.NOP)


def _map_rows(p: Program, nfu: Nfu) -> Column:
    """Rows of NBin that the maps of a pixel take."""
    return -(-p["nbin.words"] // np.where(_is_pool(p), min(nfu.ti, nfu.tn), nfu.ti))


def _sum_rows(p: Program, nfu: Nfu) -> Column:
    """Rows of NBout that are added to."""
    return p["nfu.positions_y"] * p["nfu.positions_x"] * np.where(_is_pool(p), _map_rows(p, nfu), 1)


def _chunk_rows(p: Program, maps: Column) -> Column:
    """Rows of SB that an instruction's synapses take."""
    each = p["nfu.taps_y"] * p["nfu.taps_x"] * maps
    return np.where(p["sb.reuse"] == 1, each, each * p["nfu.positions_y"] * p["nfu.positions_x"])
