"""Area of an NFU, block by block: DianNao's as published, and a law to grow and shrink it by (`hw.nfu.layout`).

    SB            so much a bit: 4.40 um2, periphery included
    NBin, NBout   as much a bit; what they have beyond that in DianNao (some 356,000 um2 each: wide ports over few bits, their DMA
                  engines and queues, the interleaving for pooling) goes with the width of a row
    NFU           Tn x Ti + Tn multipliers of 1,309.32 um2 (16 bits, truncated; published apart), and the rest (trees, registers,
                  filler) with Tn x Ti and the width of a tree
    CP, rest      as they are

The paper's smaller NFU, Tn = Ti = 8, has 0.85 mm2, 3.59 times less than the 3.02 mm2 (quoted from memory, not re-read). The law
gives 1.10 mm2, 2.8 times less: what it keeps or only halves (CP, NBin, NBout) cannot fall as far. It has not been bent to meet
that figure.
"""

from collections.abc import Mapping

from hw.nfu.config import Nfu
from hw.nfu.layout import AREA_UM2, DIANNAO, multiplier_cells, rounding_overhead, row_bits, rows, shrink

MULTIPLIER_UM2 = 1_309.32
"""A 16-bit truncated fixed-point multiplier: DianNao, table of multipliers (quoted from memory, not re-read; 6.11 times less than
one of 32-bit floats, and the paper says 6.10)."""


def area_um2(nfu: Nfu) -> Mapping[str, float]:
    """Square micrometres of ``sb``, ``nbin``, ``nbout``, ``nfu``, ``cp``, ``aximux`` and ``other``."""
    found = {b: _buffer(nfu, b) for b in ("sb", "nbin", "nbout")}
    found["nfu"] = _operators(nfu) * (1.0 + rounding_overhead(nfu))
    found |= {b: float(AREA_UM2[b]) for b in ("cp", "aximux", "other")}
    return {b: a * shrink(nfu) for b, a in found.items()}


def area_m2(nfu: Nfu) -> float:
    """Square metres of the chip; its main memory is none of it."""
    return sum(area_um2(nfu).values()) * 1e-12


def _buffer(nfu: Nfu, buffer: str) -> float:
    cell = AREA_UM2["sb"] / (row_bits(DIANNAO)["sb"] * DIANNAO.sb_rows)
    width = row_bits(nfu)[buffer] / row_bits(DIANNAO)[buffer]
    further = row_bits(nfu)[buffer] * (rows(nfu)[buffer] - rows(DIANNAO)[buffer])
    return AREA_UM2[buffer] * width + cell * further


def _operators(nfu: Nfu) -> float:
    def multipliers(n: Nfu) -> float:
        function = (n.neuron.bits / DIANNAO.neuron.bits) ** 2
        return MULTIPLIER_UM2 * (n.multipliers * multiplier_cells(n) + n.tn * function)

    rest = AREA_UM2["nfu"] - multipliers(DIANNAO)
    width = nfu.arithmetic.tree_bits / DIANNAO.arithmetic.tree_bits
    return multipliers(nfu) + rest * width * nfu.multipliers / DIANNAO.multipliers
