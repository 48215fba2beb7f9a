"""Tables and sentences of `trainscape nfu`, from the rows of its documents."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainscape.report.tables import nbytes, plain_table, seconds

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
HEADER = (
    "layer", "macs", "NFU cycles", "DRAM cycles", "bound", "instructions", "total cycles", "moved", "waits for", "time",
    "energy",
)  # fmt: skip
VALUES = (
    "Errors are distances from float64 on the same rounded operands; 'rounding operands' is what those make by themselves. "
    "Inputs are uniform on [0, 1), of a pooling on [-1, 1); synapses normal with deviation 1 / sqrt(products of a neuron), "
    "biases with 0.1."
)


def layers_table(rows: Sequence[Row], title: str) -> "Table":
    """A line a layer: compulsory figures up to the bound, then what is scheduled."""
    lines = [
        (
            r["name"],
            f"{r['macs']:,}",
            f"{r['nfu_cycles']:,}",
            cycles(r["dram_cycles"]),
            {"nfu": "NFU", "dram": "DRAM", None: ""}[r["bound"]],
            f"{r['scheduled']['instructions']:,}",
            f"{r['scheduled']['total_cycles']:,}",
            nbytes(r["scheduled"]["dram_bytes"]),
            stalls_text(r["scheduled"]),
            seconds(r["time_s"]),
            joules(r["energy_J"]["total"]),
        )
        for r in rows
    ]
    explained = f"{title}. Compulsory up to the bound (each word moved once), then as scheduled."
    return plain_table(HEADER, lines, title=explained)


def cycles(value: float | None) -> str:
    """Cycles that need not be whole; empty for none."""
    return "" if value is None else f"{value:,.1f}" if value < 10_000 else f"{value:,.0f}"


def joules(value: float) -> str:
    """Joules with three digits and a unit."""
    for unit, factor in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12)):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {unit}" if value / factor < 1000 else f"{value / factor:,.0f} {unit}"
    return "0 J"


def square_mm(area_m2: float) -> str:
    """An area in mm2."""
    found = area_m2 * 1e6
    return f"{found:,.0f} mm2" if found >= 100 else f"{found:.3g} mm2"


def stalls_text(scheduled: Row) -> str:
    """The two things that most of the waiting is for, each with its share of all cycles."""
    total = max(scheduled["total_cycles"], 1)
    shares = sorted(((x / total, k) for k, x in scheduled["stalls"].items()), reverse=True)[:2]
    return ", ".join(f"{100 * share:.1f} % {name}" for share, name in shares if share >= 0.0005)


def processor_line(processor: Sequence[Row]) -> str:
    """What the processor does beside the NFU; empty where it does nothing."""
    if not processor:
        return ""
    count: dict[str, int] = {}
    for p in processor:
        count[p["op"]] = count.get(p["op"], 0) + 1
    what = ", ".join(f"{n} {op}" for op, n in count.items())
    time, energy = sum(p["time_s"] for p in processor), sum(p["energy_J"] for p in processor)
    return f"on the device's processor: {what}; {seconds(time)}, {joules(energy)}"


def totals_line(rows: Sequence[Row], total: Row) -> str:
    """All of it in a sentence."""
    e, s = total["energy_J"], total["scheduled"]
    processor = f", {joules(e['processor'])} the processor" if "processor" in e else ""
    parts = f"{joules(e['chip'])} the chip, {joules(e['dram'])} its memory{processor}"
    what = "all layers" if len(rows) > 1 else rows[0]["name"]
    return (
        f"{what}: {s['total_cycles']:,} cycles; {seconds(total['time_s'])}; {joules(e['total'])} ({parts}); "
        f"{square_mm(total['area_m2'])}"
    )


def values_table(rows: Sequence[Row]) -> "Table":
    """Errors of values that were computed."""
    header = ("layer", "outputs", "from", "to", "max error", "mean", "rms", "bias", "expected bias", "rounding operands (rms)")
    lines = [_values_line(r["name"], r["values"]) for r in rows]
    used = [i for i in range(len(header)) if any(line[i] for line in lines)]
    cells = [[line[i] for i in used] for line in lines]
    return plain_table(
        [header[i] for i in used], cells, title=f"computed bit by bit, beside float64 (seed {rows[0]['values']['seed']})"
    )


def _values_line(name: str, v: Row) -> list[str]:
    low, high = v["range"]
    errors = [_five(v["error"][k]) for k in ("max", "mean", "rms", "bias")]
    expected = "" if v["expected_bias"] is None else _five(v["expected_bias"])
    rounding = _five(v["quantization_error"]["rms"])
    return [name, f"{v['outputs']:,}", f"{low:.3g}", f"{high:.3g}", *errors, expected, rounding]


def _five(value: float) -> str:
    return f"{value:+.5f}" if value < 0 else f"{value:.5f}"


def baseline_table(found: Row) -> "Table":
    """The SIMD core beside the NFU."""
    lines = [
        (r["name"], seconds(r["simd_s"]), seconds(r["nfu_s"]), f"{r['speedup']:.1f}", joules(r["simd_J"]), joules(r["nfu_J"]),
         f"{r['energy_reduction']:.1f}")
        for r in found["layers"]
    ]  # fmt: skip
    header = ("layer", "SIMD", "NFU", "times faster", "SIMD takes", "NFU takes", "times less")
    return plain_table(header, lines, title="beside a core with 128-bit SIMD at 2 GHz (memory included)")


def baseline_sentence(found: Row) -> str:
    """Our means beside the published ones, and why they differ; without those where nothing is published."""
    if found["published_speedup"] is None:
        return (
            f"On average {found['mean_speedup']:.1f} times faster (geometric mean {found['geometric_mean_speedup']:.1f}) and "
            f"{found['mean_energy_reduction']:.1f} times less energy (geometric mean "
            f"{found['geometric_mean_energy_reduction']:.1f}); what is published is of DianNao, one sample at a time."
        )
    return (
        f"On average {found['mean_speedup']:.1f} times faster (geometric mean {found['geometric_mean_speedup']:.1f}; published "
        f"{found['published_speedup']}) and {found['mean_energy_reduction']:.1f} times less energy (geometric mean "
        f"{found['geometric_mean_energy_reduction']:.1f}; published {found['published_energy_reduction']}): our core runs tiled "
        f"loops at 4 multiply-adds a cycle and waits for memory only where synapses pass once, while the published one was "
        f"simulated cycle by cycle without a prefetcher and is slower; figures of single layers, which would tell more, have not "
        f"been found."
    )


def listing_table(found: Row) -> "Table":
    """What a program does."""
    rows = [("instructions", f"{found['instructions']:,}", "")]
    for key, counts in found["operations"].items():
        unit, _, operand = key.partition(".")
        name = {"sb": "SB", "nbin": "NBin", "nbout": "NBout", "nfu": "NFU"}[unit]
        rows.append((f"{name} {operand}", ", ".join(f"{n:,} {op}" for op, n in counts.items()), ""))
    names = {"sb_loaded": "loaded into SB", "nbin_loaded": "loaded into NBin, and biases", "nbout_stored": "stored from NBout"}
    rows += [(names[k], nbytes(n), "") for k, n in found["bytes"].items()]
    spelled = {"sb": "SB", "nbin": "NBin", "nbout": "NBout"}
    rows += [(f"rows of {spelled[k]}", f"{r['used']:,}", f"of {r['has']:,}") for k, r in found["rows"].items()]
    return plain_table(("", "", ""), rows, is_headed=False)
