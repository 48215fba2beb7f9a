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

Left out, so that real hardware would be slower: ports of buffers are never contended; data that arrive while an instruction works
find room, also where all of its positions use the same rows to the end (a tile that fills SB, say), as if there were a second set
of rows for what is on its way; results are taken away as soon as an instruction is through, without the depth of the pipeline;
and instructions are at hand when they are wanted (`hw.nfu.energy`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeVar

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
    return Moves(
        cycles=steps.cycles,
        function_rows=steps.function_rows,
        synapse_bytes=steps.synapse_bytes,
        neuron_bytes=steps.neuron_bytes,
        result_bytes=steps.result_bytes,
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


Bytes = TypeVar("Bytes", int, Index)


def _transfer(nfu: Nfu, nbytes: Bytes) -> Bytes:
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


def slots(nfu: Nfu, *, results: Index, cycles: Index, function_rows: Index, synapses: Index, neurons: Index) -> Slots:
    """The formula above.

    Parameters
    ----------
    nfu : the hardware.
    results : bytes that the instruction before has to store.
    cycles, function_rows : of the instruction.
    synapses, neurons : bytes that the next one loads.
    """
    coming = synapses + neurons
    busy = np.maximum(cycles, function_rows)
    found = np.maximum(busy, _transfer(nfu, results) + _transfer(nfu, coming))
    waits, moved = (found - busy).astype(np.float64), np.maximum(results + coming, 1)
    return Slots(
        cycles=found,
        waits={
            "function": (busy - cycles).astype(np.float64),
            "synapses": waits * synapses / moved,
            "neurons": waits * neurons / moved,
            "results": waits * results / moved,
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
    synapses, neurons, results = moves.synapse_bytes, moves.neuron_bytes, moves.result_bytes
    before = np.concatenate(([0], results[:-1]))
    s = slots(
        nfu,
        results=np.concatenate((before[:-1], [0])),  # the last one is waited for at the end
        cycles=moves.cycles,
        function_rows=moves.function_rows,
        synapses=np.concatenate((synapses[1:], [0])),
        neurons=np.concatenate((neurons[1:], [0])),
    )
    first = _fill(nfu, int(synapses[0] + neurons[0]))
    last = _drain(nfu, int(before[-1]), max(int(moves.cycles[-1]), int(moves.function_rows[-1])), int(results[-1]))
    begins = first + np.concatenate(([0], np.cumsum(s.cycles)[:-1]))
    waits = {k: float(w.sum()) for k, w in s.waits.items()}
    return Timing(
        total_cycles=first + int(s.cycles.sum()) + last,
        busy_cycles=int(moves.cycles.sum()),
        stalls=_stalls(first, waits, last),
        begins=begins,
    )


def _fill(nfu: Nfu, loads: int) -> int:
    """Cycles before the first instruction begins, which loads so many bytes."""
    return nfu.latency_cycles + _transfer(nfu, loads)


def _drain(nfu: Nfu, before: int, busy: int, results: int) -> int:
    """Cycles after the last instruction is through: bytes stored by the one before, its own cycles, and the bytes it stores."""
    return max(nfu.depth, _transfer(nfu, before) - busy) + _transfer(nfu, results)


def _stalls(fill: int, waits: Mapping[str, float], drain: int) -> dict[str, float]:
    found = {"fill": float(fill), **waits, "drain": float(drain)}
    return {k: found[k] for k in STALLS}


def weighted(nest: Nest) -> Timing:
    """The same for a nest, from its classes of instructions: one of each, its neighbours, and how many are like it."""
    nfu, n = nest.nfu, len(nest)
    k, many = nest.classes()  # from the first instruction to the last one
    before, now, after = Steps(nest, k - 1).result_bytes, Steps(nest, k), Steps(nest, np.concatenate((k[:1], k + 1)))
    synapses, neurons = after.synapse_bytes, after.neuron_bytes
    s = slots(
        nfu,
        results=np.where(k == n - 1, 0, before),
        cycles=now.cycles,
        function_rows=now.function_rows,
        synapses=synapses[1:],
        neurons=neurons[1:],
    )
    fill = _fill(nfu, int(synapses[0] + neurons[0]))
    drain = _drain(nfu, int(before[-1]), max(int(now.cycles[-1]), int(now.function_rows[-1])), int(now.result_bytes[-1]))
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
