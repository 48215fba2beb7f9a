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
MOST_SEGMENTS = 1 << 16
"""Straight lines of a function: one for each word of the widest format."""


def check_whole(what: str, n: object, least: int, most: int) -> None:
    """Raise `HwError`, naming the field, unless it is a whole number in these bounds."""
    if not isinstance(n, int) or isinstance(n, bool) or not least <= n <= most:
        raise HwError(f"{what} must be a whole number from {least} to {most}, got {n}")


def check_choice(what: str, value: object, choices: type[StrEnum]) -> None:
    """Raise `HwError`, naming the field, for what is no member of an enumeration; a string that equals one is none."""
    if not isinstance(value, choices):
        raise HwError(f"{what} must be a member of {choices.__name__} ({', '.join(choices)}), got {value!r}")


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
    seed : of stochastic rounding; 0 to 2^63 - 1.

    Raises
    ------
    HwError : a field is out of its range; the message begins with the field.
    """

    cut: Cut = Cut.PRODUCT
    rounding: Rounding = Rounding.ZERO
    product_bits: int = 16
    tree_bits: int = 16
    sum_bits: int = 16
    overflow: Overflow = Overflow.WRAP
    seed: int = 0

    def __post_init__(self) -> None:
        for what, kind in (("cut", Cut), ("rounding", Rounding), ("overflow", Overflow)):
            check_choice(what, getattr(self, what), kind)
        for what in ("product_bits", "tree_bits", "sum_bits"):
            check_whole(what, getattr(self, what), 2, WIDEST_SUM)
        check_whole("seed", self.seed, 0, 2**63 - 1)


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
    clock_hz : cycles per second; 1 to 1e12.
    dram_bytes_per_second : of the main memory, which all three DMA engines share; 1 to 1e15.
    dram_latency_seconds : of the first word.
    dram_joules_per_byte : read or written. DDR3 takes 6.18 nJ for 256 bits: Chen et al., DaDianNao (MICRO 2014; quoted from
        memory, not re-read; 322 times the 0.0192 nJ of their eDRAM, and the paper says 321).
    neuron, synapse : formats of what is stored.
    arithmetic : of sums.
    lines : of the functions.
    segments : how many straight lines a function has.
    reach : functions that end in a constant are approximated on [-reach, reach] (tanh on half of it) and constant beyond.
    stage_cycles : clock stages of NFU-1, NFU-2 and NFU-3.
    technology_nm : feature size, for studies of area and energy.

    Raises
    ------
    HwError : a field is out of its range, or two do not go together; the message begins with the field.
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
        for what in ("tn", "ti", "nbin_rows", "nbout_rows", "sb_rows"):
            check_whole(what, getattr(self, what), 1, 1 << 20)
        for what, x, most in (("clock_hz", self.clock_hz, 1e12), ("dram_bytes_per_second", self.dram_bytes_per_second, 1e15)):
            if not 1 <= x <= most:
                raise HwError(f"{what} must lie between 1 and {most:g}, got {x}")
        for what, x in (("reach", self.reach), ("technology_nm", self.technology_nm)):
            if not 0 < x < 1e18:
                raise HwError(f"{what} must be above 0 and below 1e18, got {x}")
        if not 0 <= self.dram_latency_seconds < 1:
            raise HwError(f"dram_latency_seconds must be at least 0 and below a second, got {self.dram_latency_seconds}")
        if not 0 <= self.dram_joules_per_byte < 1:
            raise HwError(f"dram_joules_per_byte must be at least 0 and below a joule, got {self.dram_joules_per_byte}")
        check_choice("lines", self.lines, Lines)
        check_whole("segments", self.segments, 2, MOST_SEGMENTS)
        if self.segments % 2:
            raise HwError(f"segments must be an even number, so that zero is a bound, got {self.segments}")
        if len(self.stage_cycles) != 3:
            raise HwError(f"stage_cycles are three whole numbers of at least 1, got {self.stage_cycles}")
        for n in self.stage_cycles:
            check_whole("stage_cycles", n, 1, 1 << 20)
        self._check_widths()
        self._check_sizes()

    def _check_widths(self) -> None:
        a, whole = self.arithmetic, self.neuron.bits + self.synapse.bits
        if a.cut is not Cut.PRODUCT and a.product_bits < whole:
            raise HwError(
                f"product_bits is {a.product_bits}, but a product of {self.neuron.bits} by {self.synapse.bits} bits that is cut "
                f"behind the multiplier (cut: {a.cut}) has {whole}"
            )

    def _check_sizes(self) -> None:
        """Cycles of a transfer are computed with 64 bits as bytes x clock / rate, and no transfer is longer than the buffers."""
        large = max(self.buffer_bytes, key=self.buffer_bytes.__getitem__)
        if sum(self.buffer_bytes.values()) * round(self.clock_hz) >= 2**63:
            raise HwError(
                f"{large}_rows is {getattr(self, f'{large}_rows')}, {self.buffer_bytes[large]:,} bytes, which is more than can "
                f"be counted at {self.clock_hz:g} Hz; all buffers together may have {2**63 // round(self.clock_hz):,}"
            )

    @property
    def word_bytes(self) -> int:
        """Bytes of a neuron in the NFU's memory: whole bytes, at least one, so one for 3 bits. (The arena in which plans are
        played and placed keeps i16, whatever the format.)
        """
        return -(-self.neuron.bits // 8)

    @property
    def synapse_bytes(self) -> int:
        """Bytes of a synapse in the NFU's memory; see `word_bytes`."""
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
        """Cycles from a row of NBin to the output that it makes; pooling passes through the stages of NFU-1 as well."""
        return sum(self.stage_cycles)

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """Bytes of each buffer, as many as its words take."""
        rows = {"nbin": self.nbin_rows * self.ti, "nbout": self.nbout_rows * self.tn}
        return {k: n * self.word_bytes for k, n in rows.items()} | {"sb": self.sb_rows * self.tn * self.ti * self.synapse_bytes}

    def dram_cycles(self, nbytes: int) -> float:
        """Cycles that the main memory takes for so many bytes, not rounded: a bound. Clock and rate count as whole numbers, as in
        `hw.nfu.timing`.
        """
        return nbytes * round(self.clock_hz) / round(self.dram_bytes_per_second)

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
