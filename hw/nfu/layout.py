"""DianNao's layout as published, block by block, and how blocks grow and shrink: what `energy` and `area` have in common.

The table is that of Chen et al., DianNao (ASPLOS 2014), after placing and routing in 65 nm: 3.02 mm2 and 485 mW are in its
abstract; the blocks are quoted from memory, not re-read, and add up to both totals exactly.

Other NFUs are scaled from it. Each law is an assumption that is exact for DianNao itself; b is a width in bits over DianNao's 16:

    multipliers      tn ti b_neuron b_synapse: the cells of an array multiplier, however much of the product is kept
    trees            tn (ti - 1) b_tree; the adders of partial sums tn b_sum
    SRAM, energy     width of a row x sqrt(rows): bits that are read, each over lines that grow as the side of a square array
    SRAM, area       bits, and for NBin and NBout the width of the port; see `area`
    CP, AXIMUX, rest as they are
    technology       (nm / 65)^2, area as the square of length; energy as capacitance (length) times the square of a supply
                     voltage that falls with the root of length. At constant field it would be the cube, without any change of
                     voltage 1
    rounding         stochastic rounding of results takes less than 4 % of an array of multipliers and adders (Gupta et al. 2015,
                     which rounds the sum at the end of each row); of products, ti times as many places
"""

from collections.abc import Mapping
from math import sqrt
from types import MappingProxyType

from graph.fixed_point import Rounding
from hw.nfu.config import Cut, Nfu

BLOCKS = ("sb", "nbin", "nbout", "nfu", "cp", "aximux", "other")

AREA_UM2: Mapping[str, int] = MappingProxyType(
    {"sb": 1_153_814, "nbin": 427_992, "nbout": 433_906, "nfu": 846_563, "cp": 141_809, "aximux": 9_767, "other": 9_226}
)
POWER_MW: Mapping[str, int] = MappingProxyType(
    {"sb": 105, "nbin": 91, "nbout": 92, "nfu": 132, "cp": 31, "aximux": 8, "other": 26}
)
CLOCK_SHARE = 132 / 484
"""Of the power: the clock network's in the second split of the same total (combinational 89 mW, memory 177, registers 86, clock
132, which make 484 of the 485; quoted from memory, not re-read)."""

DIANNAO = Nfu()
MULTIPLY, ADD = 0.8, 0.06
"""Energy of a 16-bit multiplication and addition, of which only the ratio is used: tayler-hetherington/dnn-sim, configuration."""
STOCHASTIC_SHARE = 0.04
"""Gupta et al. 2015, abstract and section 5: the overhead of stochastic rounding in their array is below this."""


def shrink(nfu: Nfu) -> float:
    """Area, or energy of an access, relative to 65 nm."""
    return (nfu.technology_nm / DIANNAO.technology_nm) ** 2


def rounding_overhead(nfu: Nfu) -> float:
    """What the NFU has beside its operators for stochastic rounding, relative to them."""
    if nfu.arithmetic.rounding is not Rounding.STOCHASTIC:
        return 0.0
    return STOCHASTIC_SHARE * (nfu.ti if nfu.arithmetic.cut is Cut.PRODUCT else 1)


def sum_bits(nfu: Nfu) -> int:
    """Bits of a word of NBout, which holds partial sums and results."""
    return max(nfu.arithmetic.sum_bits, nfu.neuron.bits)


def row_bits(nfu: Nfu) -> dict[str, int]:
    """Bits of a row of each buffer."""
    return {
        "sb": nfu.tn * nfu.ti * nfu.synapse.bits,
        "nbin": nfu.ti * nfu.neuron.bits,
        "nbout": nfu.tn * sum_bits(nfu),
    }


def rows(nfu: Nfu) -> dict[str, int]:
    """Rows of each buffer."""
    return {"sb": nfu.sb_rows, "nbin": nfu.nbin_rows, "nbout": nfu.nbout_rows}


def row_energy(nfu: Nfu, buffer: str) -> float:
    """Energy of reading or writing a row, relative to the same buffer of DianNao in its technology."""
    return row_bits(nfu)[buffer] / row_bits(DIANNAO)[buffer] * sqrt(rows(nfu)[buffer] / rows(DIANNAO)[buffer])


def multiplier_cells(nfu: Nfu) -> float:
    """Cells of a multiplier of a neuron and a synapse, relative to 16 x 16 bits."""
    return nfu.neuron.bits * nfu.synapse.bits / (DIANNAO.neuron.bits * DIANNAO.synapse.bits)
