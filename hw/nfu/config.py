"""What an NFU is: operators, buffers, memory, clock, and its arithmetic bit by bit.

Where descriptions of DianNao differ or are silent, the choice is an option here: where products are cut, how, how wide the adders
are, what happens on overflow, and how the function units come by their straight lines.
"""

from enum import StrEnum

from graph.errors import GraphError
from graph.fixed_point import Fixed, Rounding
from graph.record import record
from hw.errors import HwError

WIDEST_SUM = 62
"""Bits of the widest adder: sums are 64-bit words here, with room to notice an overflow."""


class Cut(StrEnum):
    """Where the fraction bits that a product has too many are cut off."""

    PRODUCT = "product"  # in the multipliers: every product is rounded
    TREE = "tree"  # behind the adder trees: once a cycle
    OUTPUT = "output"  # before the function units: once a neuron


class Overflow(StrEnum):
    """What an adder does whose sum is too wide for it. Outputs of the function units always saturate."""

    WRAP = "wrap"
    SATURATE = "saturate"


class Lines(StrEnum):
    """How the straight lines of a function are drawn."""

    CHORDS = "chords"  # through the function at both ends of a segment
    MINIMAX = "minimax"  # chords moved by half their greatest error


@record
class Arithmetic:
    """What happens to a sum of products on its way.

    Parameters
    ----------
    cut : where products lose the fraction bits that a neuron has no room for.
    rounding : how.
    product_bits : width of a product as it enters the trees. With a later cut than the product it must hold it whole.
    tree_bits : width of every adder of a tree.
    sum_bits : width of the partial sums in NBout, and of the adder that adds to them.
    overflow : what these three do with what they cannot hold.
    seed : of stochastic rounding.
    """

    cut: Cut = Cut.PRODUCT
    rounding: Rounding = Rounding.ZERO
    product_bits: int = 16
    tree_bits: int = 16
    sum_bits: int = 16
    overflow: Overflow = Overflow.WRAP
    seed: int = 0

    def __post_init__(self) -> None:
        widths = {"product_bits": self.product_bits, "tree_bits": self.tree_bits, "sum_bits": self.sum_bits}
        for what, bits in widths.items():
            if not 2 <= bits <= WIDEST_SUM:
                raise HwError(f"{what} must lie between 2 and {WIDEST_SUM}, got {bits}")
        if not 0 <= self.seed < 2**63:
            raise HwError(f"seed must be at least 0 and below 2^63, got {self.seed}")


WIDE = Arithmetic(cut=Cut.OUTPUT, rounding=Rounding.NEAREST, product_bits=32, tree_bits=48, sum_bits=48)
"""Exact sums, and one rounding at the end: what Gupta et al. 2015 train with."""


@record
class Nfu:
    """An NFU and its memory. The defaults are DianNao's; rows are what a buffer's port reads or writes in a cycle.

    Parameters
    ----------
    tn : neurons computed side by side; words of a row of NBout.
    ti : inputs of each of them; words of a row of NBin. A row of SB has tn x ti words.
    nbin_rows, nbout_rows, sb_rows : sizes of the buffers.
    clock_hz : cycles per second.
    dram_bytes_per_second : of the main memory, which all three DMA engines share.
    dram_latency_seconds : of the first word.
    dram_joules_per_byte : read or written. DDR3 takes 6.18 nJ for 256 bits: Chen et al., DaDianNao (MICRO 2014; quoted from memory,
        not re-read; 322 times the 0.0192 nJ of their eDRAM, and the paper says 321).
    neuron, synapse : formats of what is stored.
    arithmetic : of sums.
    lines : of the functions.
    segments : how many straight lines a function has.
    reach : functions that end in a constant are approximated on [-reach, reach] (tanh on half of it) and constant beyond.
    stage_cycles : clock stages of NFU-1, NFU-2 and NFU-3.
    technology_nm : feature size, for studies of area and energy.
    """

    tn: int = 16
    ti: int = 16
    nbin_rows: int = 64
    nbout_rows: int = 64
    sb_rows: int = 64
    clock_hz: float = 0.98e9
    dram_bytes_per_second: float = 250e9
    dram_latency_seconds: float = 0.0
    dram_joules_per_byte: float = 6.18e-9 / 32
    neuron: Fixed = Fixed()
    synapse: Fixed = Fixed()
    arithmetic: Arithmetic = Arithmetic()
    lines: Lines = Lines.MINIMAX
    segments: int = 16
    reach: float = 6.0
    stage_cycles: tuple[int, int, int] = (3, 2, 3)
    technology_nm: float = 65.0

    def __post_init__(self) -> None:
        counts = {
            "tn": self.tn,
            "ti": self.ti,
            "nbin_rows": self.nbin_rows,
            "nbout_rows": self.nbout_rows,
            "sb_rows": self.sb_rows,
        }
        for what, n in counts.items():
            if not 1 <= n <= 1 << 20:
                raise HwError(f"{what} must be a whole number from 1 to {1 << 20}, got {n}")
        positive = {"clock_hz": self.clock_hz, "dram_bytes_per_second": self.dram_bytes_per_second, "reach": self.reach}
        positive |= {"technology_nm": self.technology_nm}
        for what, x in positive.items():
            if not 0 < x < 1e18:
                raise HwError(f"{what} must be above 0, got {x}")
        if not 0 <= self.dram_latency_seconds < 1:
            raise HwError(f"dram_latency_seconds must be at least 0 and below a second, got {self.dram_latency_seconds}")
        if not 0 <= self.dram_joules_per_byte < 1:
            raise HwError(f"dram_joules_per_byte must be at least 0 and below a joule, got {self.dram_joules_per_byte}")
        if self.segments < 2 or self.segments % 2:
            raise HwError(f"segments must be an even number, so that zero is a bound, got {self.segments}")
        if len(self.stage_cycles) != 3 or min(self.stage_cycles) < 1:
            raise HwError(f"stage_cycles are three whole numbers of at least 1, got {self.stage_cycles}")
        self._check_widths()

    def _check_widths(self) -> None:
        a, whole = self.arithmetic, self.neuron.bits + self.synapse.bits
        if a.cut is not Cut.PRODUCT and a.product_bits < whole:
            raise HwError(
                f"product_bits is {a.product_bits}, but a product of {self.neuron.bits} by {self.synapse.bits} bits that is cut "
                f"behind the multiplier (cut: {a.cut}) has {whole}"
            )

    @property
    def word_bytes(self) -> int:
        """Bytes of a neuron in memory: whole bytes, at least one."""
        return -(-self.neuron.bits // 8)

    @property
    def synapse_bytes(self) -> int:
        """Bytes of a synapse in memory."""
        return -(-self.synapse.bits // 8)

    @property
    def multipliers(self) -> int:
        """Products of a cycle."""
        return self.tn * self.ti

    @property
    def operations(self) -> int:
        """Operations of NFU-1 and NFU-2 in a cycle: tn x ti products and tn trees of ti - 1 adders; 496 in DianNao."""
        return self.tn * (2 * self.ti - 1)

    @property
    def peak_operations(self) -> int:
        """With the multiplier and the adder of each function unit: 528 in DianNao."""
        return self.operations + 2 * self.tn

    @property
    def depth(self) -> int:
        """Cycles from a row of NBin to the output that it makes."""
        return sum(self.stage_cycles)

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """Bytes of each buffer, as many as its words take."""
        rows = {"nbin": self.nbin_rows * self.ti, "nbout": self.nbout_rows * self.tn}
        return {k: n * self.word_bytes for k, n in rows.items()} | {"sb": self.sb_rows * self.tn * self.ti * self.synapse_bytes}

    def transfer_cycles(self, nbytes: int) -> int:
        """Whole cycles that the main memory takes for so many bytes."""
        return -(-nbytes * round(self.clock_hz) // round(self.dram_bytes_per_second))

    def dram_cycles(self, nbytes: int) -> float:
        """The same without rounding: a bound."""
        return nbytes * self.clock_hz / self.dram_bytes_per_second

    @property
    def latency_cycles(self) -> int:
        """Whole cycles before the first word comes."""
        return round(self.dram_latency_seconds * self.clock_hz)


def fixed(bits: int, fraction: int, what: str) -> Fixed:
    """A format; raises `HwError` that names the field."""
    try:
        return Fixed(bits=bits, fraction=fraction)
    except GraphError as e:
        raise HwError(f"{what}: {e}") from e
