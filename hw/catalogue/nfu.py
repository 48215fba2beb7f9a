"""What the file of an NFU holds: the numbers of `hw.nfu.config.Nfu`, its memory, its processor, and what has been published of
it.

A number that is not given is that of DianNao. Power is not given: it follows from the NFU (`hw.nfu.energy`), and so does its
area; what others have published stands in the section `published`, beside ours and read by nobody but reports.
"""

from collections.abc import Callable

from graph.fixed_point import Rounding
from hw.catalogue.reader import Section, choice
from hw.device import Device
from hw.kernels.record import Platform
from hw.nfu.config import Arithmetic, Cut, Lines, Nfu, Overflow, fixed
from hw.nfu.energy import idle_fraction, watts
from hw.units import Quantity

LAUNCH_DEPTH = 1000
"""An NFU reads its instructions from memory; whoever writes them there is never the bottleneck."""

PUBLISHED = {
    "area": Quantity.SQUARE_METRES,
    "power": Quantity.WATTS,
    "operations": Quantity.OPERATIONS_PER_SECOND,
    "multiply_adds": Quantity.OPERATIONS_PER_SECOND,
    "speedup": Quantity.FRACTION,
    "energy_reduction": Quantity.FRACTION,
}
"""Figures of the section `published`. Speedup and energy reduction: what their source compares with."""

D = Nfu()


def nfu_device(s: Section, n: Section, memory: Section, processor: Device | None) -> Callable[[], Device]:
    """Read a device of platform ``nfu``, `n` being its section of that name."""
    name, title, nfu = s.text("name"), s.text("title"), _nfu(n)
    size, rate = memory.whole("size", Quantity.BYTES), memory.number("bandwidth", Quantity.BYTES_PER_SECOND)
    latency = memory.number("latency", Quantity.SECONDS, D.dram_latency_seconds)
    per_byte = memory.number("energy_per_byte", Quantity.JOULES, D.dram_joules_per_byte)
    memory.close()
    said = s.section("published")
    if said is not None:
        for key, kind in PUBLISHED.items():
            if said.has(key):
                said.number(key, kind)
        said.close()

    def make() -> Device:
        it = nfu(rate, latency, per_byte)
        return Device(
            name=name,
            title=title,
            platform=Platform.NFU,
            peak={},
            memory_nbytes=size,
            memory_bytes_per_second=rate,
            launch_depth=LAUNCH_DEPTH,
            watts=watts(it),
            idle_fraction=idle_fraction(it),
            nfu=it,
            processor=processor,
        )

    return make


def _nfu(n: Section) -> Callable[[float, float, float], Nfu]:
    """Of bandwidth, latency and energy per byte of the main memory."""
    counts = ("tn", "ti", "nbin_rows", "nbout_rows", "sb_rows")
    sizes = {key: n.whole(key, Quantity.COUNT, getattr(D, key)) for key in (*counts, "segments")}
    clock, reach = n.number("clock", Quantity.HERTZ, D.clock_hz), n.number("reach", Quantity.FRACTION, D.reach)
    technology = n.number("technology", Quantity.METRES, D.technology_nm * 1e-9) * 1e9
    stages = tuple(n.whole(f"nfu{k + 1}_cycles", Quantity.COUNT, c) for k, c in enumerate(D.stage_cycles))
    formats = {what: _format(n, what) for what in ("neuron", "synapse")}
    lines, arithmetic = choice(n, "lines", Lines, D.lines), _arithmetic(n)
    n.close()

    def make(rate: float, latency: float, per_byte: float) -> Nfu:
        return Nfu(
            **sizes,
            clock_hz=clock,
            dram_bytes_per_second=rate,
            dram_latency_seconds=latency,
            dram_joules_per_byte=per_byte,
            neuron=fixed(*formats["neuron"], "neuron"),
            synapse=fixed(*formats["synapse"], "synapse"),
            arithmetic=arithmetic(),
            lines=lines,
            reach=reach,
            stage_cycles=(stages[0], stages[1], stages[2]),
            technology_nm=round(technology, 9),
        )

    return make


def _format(n: Section, what: str) -> tuple[int, int]:
    plain = getattr(D, what)
    bits = n.whole(f"{what}_bits", Quantity.COUNT, plain.bits)
    return bits, n.whole(f"{what}_fraction", Quantity.COUNT, plain.fraction)


def _arithmetic(n: Section) -> Callable[[], Arithmetic]:
    a = D.arithmetic
    cut, rounding = choice(n, "cut", Cut, a.cut), choice(n, "rounding", Rounding, a.rounding)
    overflow = choice(n, "overflow", Overflow, a.overflow)
    product, tree = n.whole("product_bits", Quantity.COUNT, a.product_bits), n.whole("tree_bits", Quantity.COUNT, a.tree_bits)
    sums = n.whole("sum_bits", Quantity.COUNT, a.sum_bits)
    return lambda: Arithmetic(cut=cut, rounding=rounding, product_bits=product, tree_bits=tree, sum_bits=sums, overflow=overflow)
