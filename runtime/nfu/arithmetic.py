"""What an NFU makes of neurons and synapses, bit by bit: the one definition, and the few operations of it as compiled code.

Neurons are whole numbers with fn = `nfu.neuron.fraction` fraction bits, synapses with fs = `nfu.synapse.fraction`. Buffers take
as many low bits of a word in memory as the format has. In the order of the datapath (`hw.nfu.config.Arithmetic`):

======== ================================================================================================== ============
unit     what happens                                                                                       fraction
======== ================================================================================================== ============
NFU-1    product = neuron x synapse, exact                                                                  fn + fs
\\        cut PRODUCT: shifted right by fs, rounded; limited to `product_bits`. Later cuts keep it whole      fn
NFU-2    tree: neighbours (0 + 1, 2 + 3, ...) level by level, each adder limited to `tree_bits`. An odd one
\\        out passes on unlimited, so does the one product of ti = 1. Lanes without a neuron add zeros
\\        cut TREE: the tree's result is shifted right by fs, rounded                                        fn
\\        sum = what NBout holds (or 0) + the tree's result, limited to `sum_bits`
\\        pooling: ADD adds words to the sum alike, MAX keeps the greater one; no shift anywhere             fn
NBout    a bias is a neuron's word; cut OUTPUT: shifted left by fs. It is limited to `sum_bits`
NFU-3    cut OUTPUT: a sum of products is shifted right by fs, rounded                                      fn
\\        saturated to a neuron's word; then straight lines (`hw.nfu.activation`)                            fn
======== ================================================================================================== ============

**Rounded** right shifts by s bits: FLOOR ``p >> s``; ZERO the same of the magnitude; NEAREST ``(p + 2^(s-1) - 1) >> s``, ties go
down; STOCHASTIC ``(p + r) >> s`` with r uniform on [0, 2^s). A shift by 0 bits changes nothing.

**Limited** to b bits: WRAP keeps the low b bits, in two's complement; SATURATE takes the nearest of -2^(b-1) ... 2^(b-1) - 1.

**Draws** are those of SplitMix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014): output j of
the generator with state s is ``mix(s + (j + 1) 0x9E3779B97F4A7C15)``. Instruction k has a generator of its own, whose state is
output k of the one that begins with `seed`. In it, cycle c of the walk, neuron n and lane i take the upper s bits of output
``(c tn + n) ti + i``; behind a tree i is 0, and of function units c counts the rows that go through them. So a draw depends only
on where it is used: the same program draws the same on every run, and another schedule draws otherwise.
"""

from typing import NamedTuple

import numpy as np

from graph.fixed_point import Rounding
from hw.nfu.config import Cut, Nfu, Overflow
from runtime.native import native

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
ONE, S27, S30, S31, S64 = (np.uint64(n) for n in (1, 27, 30, 31, 64))
Whole = int | np.int64
FREE = (0, -(1 << 63), (1 << 63) - 1)


class Shift(NamedTuple):
    """A rounded right shift: ``(p + add + (below if p < 0) + draw) >> bits``."""

    bits: int
    add: int
    below: int
    is_random: bool


class Limit(NamedTuple):
    """Bits that a word of 64 has too many (WRAP), and the least and the greatest one (SATURATE)."""

    spare: int
    low: int
    high: int


class Rules(NamedTuple):
    """The arithmetic of an NFU as numbers; see the table above.

    `is_flat`: the order of a tree's additions cannot matter, since it wraps or is too wide to overflow.
    """

    product: Shift
    product_limit: Limit
    adder_limit: Limit
    tree: Shift
    sum_limit: Limit
    output: Shift
    bias_shift: int
    is_flat: bool
    neuron: Limit
    synapse: Limit
    lowest: int
    highest: int
    seed: int


def rules(nfu: Nfu) -> Rules:
    """What `nfu` does, for compiled code."""
    a, fs = nfu.arithmetic, nfu.synapse.fraction
    widest = 1 << (nfu.neuron.bits + nfu.synapse.bits - 2)  # magnitude of a product; 2^fs divides it
    if a.cut is Cut.PRODUCT:
        widest = min(widest >> fs, 1 << (a.product_bits - 1))
    return Rules(
        product=_shift(nfu, Cut.PRODUCT),
        product_limit=_limit(a.product_bits, a.overflow) if a.cut is Cut.PRODUCT else Limit(*FREE),
        adder_limit=_limit(a.tree_bits, a.overflow) if nfu.ti > 1 else Limit(*FREE),
        tree=_shift(nfu, Cut.TREE),
        sum_limit=_limit(a.sum_bits, a.overflow),
        output=_shift(nfu, Cut.OUTPUT),
        bias_shift=fs if a.cut is Cut.OUTPUT else 0,
        is_flat=a.overflow is Overflow.WRAP or nfu.ti * widest < 1 << (a.tree_bits - 1),
        neuron=_limit(nfu.neuron.bits, Overflow.WRAP),
        synapse=_limit(nfu.synapse.bits, Overflow.WRAP),
        lowest=nfu.neuron.lowest,
        highest=nfu.neuron.highest,
        seed=a.seed,
    )


def _shift(nfu: Nfu, at: Cut) -> Shift:
    """What is cut off at a place."""
    bits = nfu.synapse.fraction if nfu.arithmetic.cut is at else 0
    rounding = nfu.arithmetic.rounding
    return Shift(
        bits=bits,
        add=(1 << bits - 1) - 1 if rounding is Rounding.NEAREST and bits else 0,
        below=(1 << bits) - 1 if rounding is Rounding.ZERO else 0,
        is_random=rounding is Rounding.STOCHASTIC and bits > 0,
    )


def _limit(bits: int, overflow: Overflow) -> Limit:
    if overflow is Overflow.WRAP:
        return Limit(64 - bits, *FREE[1:])
    return Limit(0, -(1 << bits - 1), (1 << bits - 1) - 1)


@native
def shifted(p: Whole, shift: Shift, draw: Whole) -> Whole:
    """The rounded shift."""
    return (p + shift.add + (shift.below & (p >> 63)) + draw) >> shift.bits


@native
def limited(x: Whole, limit: Limit) -> Whole:
    """The nearest word, or the low bits."""
    return min(max((x << limit.spare) >> limit.spare, limit.low), limit.high)


@native
def output_of(state: np.uint64, j: np.uint64) -> np.uint64:
    """Output j of SplitMix64."""
    z = state + (j + ONE) * GOLDEN
    z = (z ^ (z >> S30)) * MIX_1
    z = (z ^ (z >> S27)) * MIX_2
    return z ^ (z >> S31)


@native
def drawn(state: np.uint64, j: np.uint64, bits: int) -> Whole:
    """The upper bits of output j, 1 to 63 of them."""
    return np.int64(output_of(state, j) >> (S64 - np.uint64(bits)))
