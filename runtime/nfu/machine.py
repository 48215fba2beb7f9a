"""The functional NFU: a program's instructions on NBin, NBout, SB and a memory of words (what they compute: `arithmetic`).

An instruction does, in this order: DMA of synapses, neurons and biases; the walk; the function units, which put outputs where the
sums were; DMA of the outputs. A row of NBin has ti words, of SB tn x ti, of NBout tn sums. Boxes begin with row 0 of NBin and of
SB. Words of a row that a box leaves over are zeros, and rows that it leaves over keep what they hold. Lanes from `neurons` on are
zero after RESET and after a load of biases; otherwise they stay as they are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hw.nfu.activation import outputs, table
from hw.nfu.config import Nfu
from hw.nfu.isa import FUNCTIONS, KEYS, Op, Program
from runtime.errors import RunError
from runtime.native import native
from runtime.nfu.arithmetic import Rules, drawn, limited, output_of, rules, shifted
from runtime.nfu.check import check

LOAD, STORE, MULT, MAX, RESET, LINEAR = (int(o) for o in (Op.LOAD, Op.STORE, Op.MULT, Op.MAX, Op.RESET, Op.LINEAR))
INSTRUCTION = np.dtype([(key.replace(".", "_"), np.int64) for key in KEYS])
"""An instruction as compiled code sees it: fields named by unit and operand."""

Words = npt.NDArray[np.int16]
Sums = npt.NDArray[np.int64]
Instruction = Any  # an element of an array of INSTRUCTION


def run(program: Program, nfu: Nfu, memory: Words) -> None:
    """Execute a program.

    Parameters
    ----------
    program : what to do; checked before anything is done (`runtime.nfu.check`).
    nfu : the hardware.
    memory : i16 [words], changed in place; addresses of the program count its words.

    Raises
    ------
    HwError : the program is malformed, or does not fit the hardware or the memory; names the instruction and the operand.
    RunError : the memory is no contiguous, writable vector of i16.
    """
    if memory.dtype != np.int16 or memory.ndim != 1 or not (memory.flags.c_contiguous and memory.flags.writeable):
        raise RunError(f"the memory of an NFU is a contiguous, writable vector of i16, got {memory.dtype} {list(memory.shape)}")
    check(program, nfu, len(memory))
    instructions = program.table().view(INSTRUCTION)[:, 0]
    nbin, sb = np.zeros((nfu.nbin_rows, nfu.ti), np.int16), np.zeros((nfu.sb_rows, nfu.ti, nfu.tn), np.int16)
    nbout = np.zeros((nfu.nbout_rows, nfu.tn), np.int64)
    _play(instructions, memory, nbin, sb, nbout, rules(nfu), _functions(program, nfu))


def _functions(program: Program, nfu: Nfu) -> Words:
    """What the function units make of every word, [function, word]; zeros for those that are not used."""
    used = set(np.unique(program["nfu.nfu3"]).tolist())
    found = np.zeros((len(FUNCTIONS), 1 << nfu.neuron.bits), np.int16)
    for function, op in FUNCTIONS.items():
        if op in used:
            found[op - LINEAR] = outputs(table(function, nfu, program.scale))
    return found


@native
def _play(instructions: Instruction, memory: Words, nbin: Words, sb: Words, nbout: Sums, how: Rules, functions: Words) -> None:
    ti, tn = nbin.shape[1], nbout.shape[1]
    lanes, rest = np.empty((ti, tn), np.int64), np.empty((ti, tn), np.int64)
    for k in range(len(instructions)):
        now = instructions[k]
        state = output_of(np.uint64(how.seed), np.uint64(k))
        is_product = now.nfu_nfu1 == MULT
        width = ti if is_product else min(ti, tn)
        if now.sb_op == LOAD:
            _load_synapses(now, memory, sb, how)
        if now.nbin_op == LOAD:
            _load_neurons(now, memory, nbin, how, width)
        if now.nbout_read_op == LOAD:
            _load_biases(now, memory, nbout, how)
        if is_product:
            _multiply(now, nbin, sb, nbout, how, state, lanes, rest)
        else:
            _pool(now, nbin, nbout, how, width)
        if now.nbout_write_op == STORE:
            _apply(now, nbout, how, functions, state, is_product, ti)
            _store(now, memory, nbout, tn if is_product else width)


# --- DMA ---


@native
def _load_synapses(now: Instruction, memory: Words, sb: Words, how: Rules) -> None:
    """[position][tap][neuron][map] -> row (position, tap, row of maps), transposed: [map, neuron]."""
    ti, words = sb.shape[1], now.nbin_words
    map_rows = -(-words // ti)
    taps = now.nfu_taps_y * now.nfu_taps_x
    if not now.sb_reuse:
        taps *= now.nfu_positions_y * now.nfu_positions_x
    sb[: taps * map_rows] = 0
    at = now.sb_address
    for tap in range(taps):
        for n in range(now.nfu_neurons):
            for m in range(map_rows):
                row = sb[tap * map_rows + m]
                for i in range(min(ti, words - m * ti)):
                    row[i, n] = limited(np.int64(memory[at]), how.synapse)
                    at += 1


@native
def _load_neurons(now: Instruction, memory: Words, nbin: Words, how: Rules, width: int) -> None:
    """A box -> row (pixel, row of maps)."""
    words = now.nbin_words
    map_rows = -(-words // width)
    nbin[: now.nbin_rows * now.nbin_columns * map_rows] = 0
    to = 0
    for y in range(now.nbin_rows):
        for x in range(now.nbin_columns):
            at = now.nbin_address + y * now.nbin_row_pitch + x * now.nbin_pitch
            for i in range(words):
                nbin[to + i // width, i % width] = limited(np.int64(memory[at + i]), how.neuron)
            to += map_rows


@native
def _load_biases(now: Instruction, memory: Words, nbout: Sums, how: Rules) -> None:
    """To every row that the walk adds to."""
    for p in range(now.nfu_positions_y * now.nfu_positions_x):
        row = nbout[now.nbout_begin + p]
        row[:] = 0
        for n in range(now.nfu_neurons):
            word = limited(np.int64(memory[now.nbout_bias + n]), how.neuron)
            row[n] = limited(word << how.bias_shift, how.sum_limit)


@native
def _store(now: Instruction, memory: Words, nbout: Sums, width: int) -> None:
    """Row output_begin + (row of maps) x positions + position -> `words` of each position."""
    positions = now.nfu_positions_y * now.nfu_positions_x
    for p in range(positions):
        y, x = p // now.nfu_positions_x, p % now.nfu_positions_x
        at = now.nbout_address + y * now.nbout_row_pitch + x * now.nbout_pitch
        for i in range(now.nbout_words):
            memory[at + i] = nbout[now.nfu_output_begin + i // width * positions + p, i % width]


# --- NFU ---


@native
def _multiply(
    now: Instruction, nbin: Words, sb: Words, nbout: Sums, how: Rules, state: np.uint64, lanes: Sums, rest: Sums
) -> None:
    """NFU-1 and NFU-2 over sums of products."""
    ti, tn = lanes.shape
    neurons = now.nfu_neurons
    map_rows = -(-now.nbin_words // ti)
    taps = now.nfu_taps_y * now.nfu_taps_x * map_rows
    tree = np.empty(tn, np.int64)
    cycle = 0
    for p in range(now.nfu_positions_y * now.nfu_positions_x):
        sums = nbout[now.nbout_begin + p]
        if now.nfu_nfu2_in == RESET:
            sums[:] = 0
        corner_y, corner_x = p // now.nfu_positions_x * now.nbin_stride_y, p % now.nfu_positions_x * now.nbin_stride_x
        synapses = 0 if now.sb_reuse else p * taps
        for y in range(now.nfu_taps_y):
            for x in range(now.nfu_taps_x):
                first = ((corner_y + y) * now.nbin_columns + corner_x + x) * map_rows
                for m in range(map_rows):
                    begin = np.uint64(cycle * tn * ti)
                    if how.is_flat:
                        _flat(nbin[first + m], sb[synapses], neurons, how, state, begin, tree)
                    else:
                        _tree(nbin[first + m], sb[synapses], neurons, how, state, begin, tree, lanes, rest)
                    _add(sums, tree, neurons, how, state, begin, ti)
                    synapses += 1
                    cycle += 1


@native
def _flat(x: Words, w: Words, neurons: int, how: Rules, state: np.uint64, begin: np.uint64, tree: Sums) -> None:
    """The trees' results where the order of additions cannot matter. Zeros are left out: however rounded, they stay zeros."""
    ti = len(x)
    tree[:neurons] = 0
    for i in range(ti):
        a = np.int64(x[i])
        if a == 0:
            continue
        row = w[i]
        if how.product.is_random:
            for n in range(neurons):
                r = drawn(state, begin + np.uint64(n * ti + i), how.product.bits)
                tree[n] += limited(shifted(a * row[n], how.product, r), how.product_limit)
        else:
            for n in range(neurons):
                tree[n] += limited(shifted(a * row[n], how.product, 0), how.product_limit)
    for n in range(neurons):
        tree[n] = limited(tree[n], how.adder_limit)


@native
def _tree(
    x: Words, w: Words, neurons: int, how: Rules, state: np.uint64, begin: np.uint64, tree: Sums, lanes: Sums, rest: Sums
) -> None:
    """The trees' results, adder by adder."""
    ti = len(x)
    for i in range(ti):
        a, row, to = np.int64(x[i]), w[i], lanes[i]
        if how.product.is_random:
            for n in range(neurons):
                r = drawn(state, begin + np.uint64(n * ti + i), how.product.bits)
                to[n] = limited(shifted(a * row[n], how.product, r), how.product_limit)
        else:
            for n in range(neurons):
                to[n] = limited(shifted(a * row[n], how.product, 0), how.product_limit)
    width = ti
    while width > 1:
        for j in range(width // 2):
            left, right, to = lanes[2 * j], lanes[2 * j + 1], rest[j]
            for n in range(neurons):
                to[n] = limited(left[n] + right[n], how.adder_limit)
        if width % 2:
            rest[width // 2] = lanes[width - 1]
        width = (width + 1) // 2
        lanes, rest = rest, lanes
    tree[:neurons] = lanes[0, :neurons]


@native
def _add(sums: Sums, tree: Sums, neurons: int, how: Rules, state: np.uint64, begin: np.uint64, ti: int) -> None:
    """The trees' results to the sums."""
    if how.tree.is_random:
        for n in range(neurons):
            r = drawn(state, begin + np.uint64(n * ti), how.tree.bits)
            sums[n] = limited(sums[n] + shifted(tree[n], how.tree, r), how.sum_limit)
    else:
        for n in range(neurons):
            sums[n] = limited(sums[n] + shifted(tree[n], how.tree, 0), how.sum_limit)


@native
def _pool(now: Instruction, nbin: Words, nbout: Sums, how: Rules, width: int) -> None:
    """NFU-2 over words, a lane each."""
    positions, map_rows = now.nfu_positions_y * now.nfu_positions_x, -(-now.nbin_words // width)
    is_new, is_max, neurons = now.nfu_nfu2_in == RESET, now.nfu_nfu2 == MAX, now.nfu_neurons
    for p in range(positions):
        corner_y, corner_x = p // now.nfu_positions_x * now.nbin_stride_y, p % now.nfu_positions_x * now.nbin_stride_x
        for m in range(map_rows):
            sums = nbout[now.nbout_begin + m * positions + p]
            if is_new:
                sums[:] = 0
                sums[:neurons] = how.lowest if is_max else 0
            for y in range(now.nfu_taps_y):
                for x in range(now.nfu_taps_x):
                    row = nbin[((corner_y + y) * now.nbin_columns + corner_x + x) * map_rows + m]
                    for n in range(neurons):
                        word = np.int64(row[n])
                        sums[n] = max(sums[n], word) if is_max else limited(sums[n] + word, how.sum_limit)


@native
def _apply(now: Instruction, nbout: Sums, how: Rules, functions: Words, state: np.uint64, is_product: bool, ti: int) -> None:
    """NFU-3 over rows of sums."""
    tn = nbout.shape[1]
    function = functions[now.nfu_nfu3 - LINEAR]
    for k in range(now.nfu_output_end - now.nfu_output_begin):
        row = nbout[now.nfu_output_begin + k]
        for n in range(tn):
            s = row[n]
            if is_product:
                r = drawn(state, np.uint64((k * tn + n) * ti), how.output.bits) if how.output.is_random else 0
                s = shifted(s, how.output, r)
            row[n] = function[min(max(s, how.lowest), how.highest) - how.lowest]
