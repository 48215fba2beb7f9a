"""The baseline that DianNao is measured against: one core with 128-bit SIMD at 2 GHz, as a small analytical model.

The paper simulates a 4-issue x86 core with gem5 and McPAT: 8 lanes of 16 bits, 32 KB of first and 2 MB of second level cache,
lines of 64 bytes, no prefetcher. Here such a core is `Core`; where the paper says nothing the constants are those of a core that
was built like it in the same technology, one half of an Intel Core 2 Duo T7250 (Merom). Loops are tiled for the second cache and
plain inside:

    vectors       positions x output maps x window rows x ceil(columns x input maps / 8): a row of a window is contiguous, with
                  groups a pixel is
    instructions  6 a vector: two loads, multiply, add, two for the loop; pooling 4: load, maximum, loop. 20 for every result
                  (sum of the lanes, function, store), of pooling 3 for every 8
    arithmetic    the longer of instructions / issue width and loads / load ports: 2 cycles a vector, 4 multiply-adds a cycle, the
                  8 operations with which the paper says that its NFU does 62 times as many
    memory        bytes: inputs and synapses, of which one stays in half of the second cache, part by part, while the other
                  passes; private kernels pass once; results are fetched and written back. Every line read from memory is a miss.
                  Those that lie within one window of instructions overlap; each group costs the latency less what the window
                  hides (first-order model of Karkhanis and Smith, ISCA 2004; quoted from memory, not re-read). Misses of the
                  first cache that hit the second are hidden by the window, stores by their buffer
    energy        the core's design power while it computes, a quarter of it while it waits, and the main memory's of `Nfu` for
                  its bytes

No constant has been chosen to meet a published figure. The published means over the ten layers are a speedup of 117.87 and an
energy 21.08 times less (abstract of the paper); `compared` gives ours, `docs/nfu.md` discusses the difference.
"""

from collections.abc import Iterable, Mapping
from math import ceil, exp, fsum, log

from graph.record import record
from hw.nfu.activity import Activity
from hw.nfu.benchmark import TEN
from hw.nfu.config import Nfu
from hw.nfu.energy import energy
from hw.nfu.layer import Kind, Layer
from hw.nfu.schedule import best

PUBLISHED_SPEEDUP, PUBLISHED_ENERGY = 117.87, 21.08
"""Means of the paper's abstract, over its ten layers."""

PRODUCTS, MAXIMA = 6, 4
"""Instructions of a vector, of sums of products and of pooling: a plain loop with full lanes, an assumption."""
RESULT, STORE = 20, 3
"""Instructions of a result, and of 8 results of pooling: assumptions, and small beside the others."""


@record
class Core:
    """A SIMD core.

    Parameters
    ----------
    lanes : of 16 bits (128-bit SIMD: abstract of the paper).
    clock_hz : cycles per second (same).
    issue : instructions a cycle (paper, as a review gives it).
    loads : a cycle (Merom has one load port: Fog, The microarchitecture of Intel, AMD and VIA CPUs; quoted from memory, not
        re-read).
    window : instructions in flight (Merom's reorder buffer has 96; same).
    misses : lines of the first cache that may be outstanding (Merom: 8; quoted from memory, not re-read).
    cache_bytes : of the second cache (paper, as a review gives it).
    line_bytes : of a line (same).
    latency_seconds : of main memory (assumed: as of the processors in the catalogue, about 90 ns).
    watts : while it computes (Intel, Core 2 Duo T7250, 65 nm, 2.0 GHz, 2 MB: design power 35 W for two cores; half of it is
        assumed).
    idle_fraction : of that, while it waits (assumed: as of the processors in the catalogue).
    """

    lanes: int = 8
    clock_hz: float = 2e9
    issue: int = 4
    loads: int = 1
    window: int = 96
    misses: int = 8
    cache_bytes: int = 2 << 20
    line_bytes: int = 64
    latency_seconds: float = 90e-9
    watts: float = 17.5
    idle_fraction: float = 0.25


CORE = Core()


def _vectors(layer: Layer, core: Core) -> tuple[int, int]:
    """Vectors that are loaded and worked on, and instructions beside them."""
    maps = layer.ni // layer.groups
    if layer.kind is Kind.POOL:
        groups = layer.positions * ceil(maps / core.lanes)
        return groups * layer.kx * layer.ky, groups * STORE
    row = ceil(layer.kx * maps / core.lanes) if layer.groups == 1 else layer.kx * ceil(maps / core.lanes)
    return layer.positions * layer.no * layer.ky * row, layer.outputs * RESULT


def busy_cycles(layer: Layer, core: Core = CORE) -> float:
    """Cycles of a layer whose data are all at hand."""
    vectors, beside = _vectors(layer, core)
    is_pool = layer.kind is Kind.POOL
    instructions = vectors * (MAXIMA if is_pool else PRODUCTS) + beside
    return max(instructions / core.issue, vectors * (1 if is_pool else 2) / core.loads)


def read_bytes(layer: Layer, core: Core = CORE) -> int:
    """Bytes of inputs and synapses that come from main memory."""
    inputs, synapses, half = 2 * layer.inputs, 2 * layer.synapses, core.cache_bytes // 2
    if layer.kind is Kind.POOL or layer.is_private:
        return inputs + synapses
    return min(inputs * ceil(synapses / half) + synapses, inputs + synapses * ceil(inputs / half))


def dram_bytes(layer: Layer, core: Core = CORE) -> int:
    """Bytes to and from main memory; a line of results is fetched before it is written."""
    return read_bytes(layer, core) + 4 * layer.outputs


def stall_cycles(layer: Layer, core: Core = CORE) -> float:
    """Cycles in which nothing is issued, for a line that has not come."""
    vectors, beside = _vectors(layer, core)
    instructions = vectors * (MAXIMA if layer.kind is Kind.POOL else PRODUCTS) + beside
    lines = read_bytes(layer, core) / core.line_bytes
    together = min(core.misses, max(1.0, core.window * lines / instructions))
    hidden = core.window / core.issue
    return lines / together * max(0.0, core.latency_seconds * core.clock_hz - hidden)


def simd_seconds(layer: Layer, core: Core = CORE) -> float:
    """Seconds of a layer on the core."""
    return (busy_cycles(layer, core) + stall_cycles(layer, core)) / core.clock_hz


def simd_joules(layer: Layer, nfu: Nfu, core: Core = CORE) -> float:
    """Joules of a layer on the core, the main memory included, which is that of `nfu`."""
    busy, waiting = busy_cycles(layer, core) / core.clock_hz, stall_cycles(layer, core) / core.clock_hz
    return core.watts * (busy + core.idle_fraction * waiting) + nfu.dram_joules_per_byte * dram_bytes(layer, core)


@record
class Against:
    """A layer on the NFU, as scheduled, and on the core.

    Parameters
    ----------
    nfu_seconds, nfu_joules : of the NFU, its main memory included.
    chip_joules : of it without the main memory.
    simd_seconds, simd_joules : of the core, its main memory included.
    simd_chip_joules : of it without the main memory.
    """

    nfu_seconds: float
    nfu_joules: float
    chip_joules: float
    simd_seconds: float
    simd_joules: float
    simd_chip_joules: float

    @property
    def speedup(self) -> float:
        """How many times faster the NFU is."""
        return self.simd_seconds / self.nfu_seconds

    @property
    def energy_reduction(self) -> float:
        """How many times less energy it takes."""
        return self.simd_joules / self.nfu_joules

    @property
    def chip_reduction(self) -> float:
        """The same if the main memory took none: 974.46 in the paper (quoted from memory, not re-read)."""
        return self.simd_chip_joules / self.chip_joules


def compared(nfu: Nfu, layers: Iterable[Layer] = TEN, core: Core = CORE) -> Mapping[str, Against]:
    """Layers by name on both; raises `HwError` when a layer has no schedule that fits the NFU."""
    return {layer.name: _against(layer, nfu, best(layer, nfu).activity, core) for layer in layers}


def _against(layer: Layer, nfu: Nfu, done: Activity, core: Core) -> Against:
    joules, simd = energy(nfu, done), simd_joules(layer, nfu, core)
    return Against(
        nfu_seconds=done.cycles / nfu.clock_hz,
        nfu_joules=joules["total"],
        chip_joules=joules["chip"],
        simd_seconds=simd_seconds(layer, core),
        simd_joules=simd,
        simd_chip_joules=simd - nfu.dram_joules_per_byte * dram_bytes(layer, core),
    )


def geometric_mean(ratios: Iterable[float]) -> float:
    """Of ratios, which is how they are averaged here."""
    logs = [log(r) for r in ratios]
    return exp(fsum(logs) / len(logs))
