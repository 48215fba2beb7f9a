"""When instructions begin, and what they wait for.

The three stages of the NFU are one pipeline, into which a row goes every cycle. Each buffer has a DMA engine; all three share the
main memory, which serves requests in the order in which they were made, each for a whole number of cycles. While instruction k
computes, the engines bring what k + 1 needs (rows are overwritten as they fall free) and take away what k - 1 has made. So k + 1
begins when k is through, its data are there, and the results of k - 1 are away:

    busy[k]      = max(cycles[k], function rows[k])
    begin[k + 1] = begin[k] + max(busy[k], transfer(results[k - 1]) + transfer(loads[k + 1]))
    begin[0]     = latency + transfer(loads[0])
    total        = begin[n - 1] + max(busy[n - 1] + depth of the pipeline, transfer(results[n - 2])) + transfer(results[n - 1])

Partial sums are read by NFU-2 one stage before they are written, so adding to them costs nothing. `sim.nfu` plays the same
programs event by event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, fields

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.nfu.config import Nfu
from hw.nfu.isa import Op, Program
from hw.nfu.nest import Index, Nest
from hw.nfu.steps import Steps

STALLS = ("fill", "synapses", "neurons", "results", "function", "drain")
"""What the NFU waits for: the first load; loads of synapses; of neurons and biases; stores; the function units; the end of the
pipeline and the last store."""


@record
class Moves:
    """What instructions move and do; each field an array along them.

    Parameters
    ----------
    cycles : of NFU-1 and NFU-2.
    function_rows : of NFU-3.
    synapse_bytes, neuron_bytes, result_bytes : loaded into SB; loaded into NBin, and biases into NBout; stored.
    """

    cycles: Index
    function_rows: Index
    synapse_bytes: Index
    neuron_bytes: Index
    result_bytes: Index


def moves_of(steps: Steps) -> Moves:
    """Of instructions of a nest."""
    nfu = steps.nest.nfu
    return Moves(
        cycles=steps.cycles,
        function_rows=steps.function_rows,
        synapse_bytes=steps.synapse_words * nfu.synapse_bytes,
        neuron_bytes=(steps.input_words + steps.bias_words) * nfu.word_bytes,
        result_bytes=steps.result_words * nfu.word_bytes,
    )


def moves_in(program: Program, nfu: Nfu) -> Moves:
    """Of the instructions of a program, from their operands alone."""
    p = program
    positions = p["nfu.positions_y"] * p["nfu.positions_x"]
    is_pool = p["nfu.nfu1"] == Op.NOP
    lanes = np.where(is_pool, min(nfu.ti, nfu.tn), nfu.ti)
    box = p["nbin.rows"] * p["nbin.columns"] * p["nbin.words"]
    bias = np.where(p["nbout.read_op"] == Op.LOAD, p["nfu.neurons"], 0)
    return Moves(
        cycles=positions * p["nfu.taps_y"] * p["nfu.taps_x"] * -(-p["nbin.words"] // lanes),
        function_rows=p["nfu.output_end"] - p["nfu.output_begin"],
        synapse_bytes=np.where(p["sb.op"] == Op.LOAD, p["sb.size"], 0) * nfu.synapse_bytes,
        neuron_bytes=(np.where(p["nbin.op"] == Op.LOAD, box, 0) + bias) * nfu.word_bytes,
        result_bytes=np.where(p["nbout.write_op"] == Op.STORE, positions * p["nbout.words"], 0) * nfu.word_bytes,
    )


def _transfer(nfu: Nfu, nbytes: Index) -> Index:
    rate = round(nfu.dram_bytes_per_second)
    return -(-nbytes * round(nfu.clock_hz) // rate)


@record
class Slots:
    """Cycles from the beginning of an instruction to that of the next, and what of them is waiting.

    Parameters
    ----------
    cycles : i64.
    waits : one of `STALLS` -> f64; what was waited for at the same time shares by its bytes.
    """

    cycles: Index
    waits: Mapping[str, npt.NDArray[np.float64]]


def slots(nfu: Nfu, before: Index, now: Moves, after: Moves) -> Slots:
    """The formula above.

    Parameters
    ----------
    nfu : the hardware.
    before : bytes that the instruction before has to store.
    now, after : the instruction, and the next one.
    """
    away, coming = _transfer(nfu, before), _transfer(nfu, after.synapse_bytes + after.neuron_bytes)
    busy = np.maximum(now.cycles, now.function_rows)
    cycles = np.maximum(busy, away + coming)
    waits, moved = cycles - busy, np.maximum(before + after.synapse_bytes + after.neuron_bytes, 1)
    return Slots(
        cycles=cycles,
        waits={
            "function": (busy - now.cycles).astype(np.float64),
            "synapses": waits * after.synapse_bytes / moved,
            "neurons": waits * after.neuron_bytes / moved,
            "results": waits * before / moved,
        },
    )


@record
class Timing:
    """Cycles of a layer.

    Parameters
    ----------
    total_cycles : from the first request until the last word is stored.
    busy_cycles : of NFU-1 and NFU-2.
    stalls : one of `STALLS` -> cycles; with `busy_cycles` they add up to the total.
    begins : of each instruction, where they were looked at one by one.
    """

    total_cycles: int
    busy_cycles: int
    stalls: Mapping[str, float]
    begins: Index = field(default_factory=lambda: np.zeros(0, np.int64))

    def __add__(self, other: "Timing") -> "Timing":
        """One after the other."""
        return Timing(
            total_cycles=self.total_cycles + other.total_cycles,
            busy_cycles=self.busy_cycles + other.busy_cycles,
            stalls={k: self.stalls[k] + other.stalls[k] for k in STALLS},
        )


def timing(nfu: Nfu, moves: Moves) -> Timing:
    """Instruction by instruction, of all of a program in their order."""
    n = len(moves.cycles)
    if not n:
        return total(())
    before = np.concatenate(([0], moves.result_bytes[:-1]))
    before[-1] = 0  # it is waited for at the end
    after = Moves(**{f.name: np.concatenate((getattr(moves, f.name)[1:], [0])) for f in fields(Moves)})
    s = slots(nfu, before, moves, after)
    first, last = _ends(nfu, _at(moves, 0), _at(moves, n - 2) if n > 1 else None, _at(moves, n - 1))
    begins = first + np.concatenate(([0], np.cumsum(s.cycles)[:-1]))
    waits = {k: float(w.sum()) for k, w in s.waits.items()}
    return Timing(
        total_cycles=first + int(s.cycles.sum()) + last,
        busy_cycles=int(moves.cycles.sum()),
        stalls=_stalls(first, waits, last),
        begins=begins,
    )


def _at(moves: Moves, i: int) -> Moves:
    return Moves(**{f.name: getattr(moves, f.name)[i : i + 1] for f in fields(Moves)})


def _ends(nfu: Nfu, first: Moves, before: Moves | None, last: Moves) -> tuple[int, int]:
    """(cycles before the first instruction begins, cycles after the last one is through)."""
    fill = nfu.latency_cycles + int(_transfer(nfu, first.synapse_bytes + first.neuron_bytes)[0])
    busy = max(int(last.cycles[0]), int(last.function_rows[0]))
    away = 0 if before is None else int(_transfer(nfu, before.result_bytes)[0])
    return fill, max(nfu.depth, away - busy) + int(_transfer(nfu, last.result_bytes)[0])


def _stalls(fill: int, waits: Mapping[str, float], drain: int) -> dict[str, float]:
    found = {"fill": float(fill), **waits, "drain": float(drain)}
    return {k: found[k] for k in STALLS}


def weighted(nest: Nest) -> Timing:
    """The same for a nest, from its classes of instructions: one of each, its neighbours, and how many are like it."""
    nfu, n = nest.nfu, len(nest)
    k, many = nest.classes()
    now, after = moves_of(Steps(nest, k)), moves_of(Steps(nest, k + 1))
    s = slots(nfu, np.where(k == n - 1, 0, moves_of(Steps(nest, k - 1)).result_bytes), now, after)
    edge = moves_of(Steps(nest, np.array([0, n - 2, n - 1])))
    fill, drain = _ends(nfu, _at(edge, 0), _at(edge, 1), _at(edge, 2))
    waits = {k: float(w @ many) for k, w in s.waits.items()}
    return Timing(
        total_cycles=fill + int(s.cycles @ many) + drain,
        busy_cycles=int(now.cycles @ many),
        stalls=_stalls(fill, waits, drain),
    )


def total(timings: Iterable[Timing]) -> Timing:
    """One after the other."""
    found = Timing(total_cycles=0, busy_cycles=0, stalls=dict.fromkeys(STALLS, 0.0))
    for t in timings:
        found = found + t
    return found
