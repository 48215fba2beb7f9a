"""Joules of an NFU, block by block, from counts of what it did; those of the main memory apart.

Published is the power of each block of DianNao, under a load that is not described (`hw.nfu.layout`). From it come costs of
accesses: at full rate a cycle takes a row of SB, a row of NBin, a row of NBout (read or written), Tn x Ti products with their
additions, and an instruction in progress. So the energy of a block in a cycle, 107.1 pJ for SB, is that of one such access, less
the clock. What is published says nothing of how often each buffer was used; that NBout drew as much as NBin, which has the same
size and is read every cycle, speaks for as many accesses.

Of every block's power the share 132 / 484 is that of the clock network, and is drawn in every cycle, so a stalled cycle costs a
good quarter of a busy one. Whose clock it is has not been published: every block has the same share here. Leakage is not given
apart and counts with the accesses.

A fill by a DMA engine and a drain cost a row each. A product that is not wanted costs nothing: its lane holds zeros. NFU-3 works
after the last addition of a neuron only and is no part of the full rate; a row through it costs its Tn multiplications and
additions. Energy of an access does not depend on the clock rate, which changes power alone. Laws for other sizes stand in
`hw.nfu.layout`.

What the control processor takes is a part of every busy cycle, however long instructions are, and bringing them from main memory
is not charged: DianNao keeps them in a memory of its own, of 8 KB (quoted from memory, not re-read), and how many bits they have
is not known. A program of short ones (pooling: four cycles each) would notice.
"""

from collections.abc import Mapping

from hw.nfu.activity import Activity
from hw.nfu.config import Nfu
from hw.nfu.layout import (
    ADD,
    BLOCKS,
    CLOCK_SHARE,
    DIANNAO,
    MULTIPLY,
    POWER_MW,
    multiplier_cells,
    rounding_overhead,
    row_energy,
    shrink,
    sum_bits,
)


def energy(nfu: Nfu, activity: Activity) -> Mapping[str, float]:
    """Joules of what was done.

    Parameters
    ----------
    nfu : the hardware.
    activity : counts.

    Returns
    -------
    ``sb``, ``nbin``, ``nbout``, ``nfu``, ``cp``, ``other`` (AXIMUX and the rest): of accesses and operations; ``clock``: of all
    cycles; ``chip``: their sum; ``dram``: of the main memory; ``total``.
    """
    done = _done(nfu, activity)
    found = {b: _joules_a_cycle(b) * (1.0 - CLOCK_SHARE) * n * shrink(nfu) for b, n in done.items()}
    found["other"] += found.pop("aximux")
    found["clock"] = sum(_clock(nfu).values()) * activity.cycles
    chip, dram = sum(found.values()), nfu.dram_joules_per_byte * activity.dram_bytes
    return found | {"chip": chip, "dram": dram, "total": chip + dram}


def by_block(nfu: Nfu, activity: Activity) -> Mapping[str, float]:
    """The chip's joules as its layout was published: every block with its share of the clock.

    Returns
    -------
    ``sb``, ``nbin``, ``nbout``, ``nfu``, ``cp``, ``aximux``, ``other``.
    """
    done, clock = _done(nfu, activity), _clock(nfu)
    return {b: _joules_a_cycle(b) * (1.0 - CLOCK_SHARE) * done[b] * shrink(nfu) + clock[b] * activity.cycles for b in BLOCKS}


def full_rate(nfu: Nfu, cycles: int = 1) -> Activity:
    """What is done at full rate, without stalls, in so many cycles."""
    return Activity(
        cycles=cycles,
        busy_cycles=cycles,
        products=cycles * nfu.multipliers,
        sb_reads=cycles,
        nbin_reads=cycles,
        nbout_writes=cycles,
    )


def watts(nfu: Nfu) -> float:
    """Of the chip at full rate: 0.485 for DianNao."""
    return energy(nfu, full_rate(nfu))["chip"] * nfu.clock_hz


def idle_fraction(nfu: Nfu) -> float:
    """Of that, what a stalled cycle takes."""
    return energy(nfu, Activity(cycles=1))["chip"] / energy(nfu, full_rate(nfu))["chip"]


def _joules_a_cycle(block: str) -> float:
    return POWER_MW[block] * 1e-3 / DIANNAO.clock_hz


def _done(nfu: Nfu, a: Activity) -> dict[str, float]:
    """Accesses of each block, in units of what DianNao's does in a cycle at full rate."""
    each = _operations(nfu)
    full = _operations(DIANNAO)
    a_cycle = full["product"] * DIANNAO.multipliers + full["row"]
    operators = (a.products * each["product"] + a.busy_cycles * each["row"] + a.function_rows * each["function"]) / a_cycle
    return {
        "sb": (a.sb_reads + a.sb_fills) * row_energy(nfu, "sb"),
        "nbin": (a.nbin_reads + a.nbin_fills) * row_energy(nfu, "nbin"),
        "nbout": (a.nbout_reads + a.nbout_writes + a.nbout_fills + a.nbout_drains) * row_energy(nfu, "nbout"),
        "nfu": operators * (1.0 + rounding_overhead(nfu)),
        "cp": float(a.busy_cycles),
        "aximux": float(a.busy_cycles),
        "other": float(a.busy_cycles),
    }


def _operations(nfu: Nfu) -> dict[str, float]:
    """Cost of a product with its share of a tree; of a row of partial sums (or a row through the maxima of pooling); of a row
    through the function units. Only their ratios matter.
    """
    reference, arithmetic = DIANNAO.arithmetic, nfu.arithmetic
    tree = ADD * arithmetic.tree_bits / reference.tree_bits
    function = MULTIPLY * (nfu.neuron.bits / DIANNAO.neuron.bits) ** 2 + ADD * nfu.neuron.bits / DIANNAO.neuron.bits
    return {
        "product": MULTIPLY * multiplier_cells(nfu) + tree * (nfu.ti - 1) / nfu.ti,
        "row": nfu.tn * ADD * sum_bits(nfu) / sum_bits(DIANNAO),
        "function": nfu.tn * function,
    }


def _clock(nfu: Nfu) -> dict[str, float]:
    """Joules of the clock in a cycle: of each block its share of what it takes at full rate."""
    done = _done(nfu, full_rate(nfu))
    return {b: _joules_a_cycle(b) * CLOCK_SHARE * done[b] * shrink(nfu) for b in BLOCKS}
