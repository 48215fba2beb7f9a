"""What layers cost on an NFU: *compulsory*, each word moved once, beside *scheduled*, what the instructions move and take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from graph.fixed_point import Fixed
from hw.nfu.accesses import activity_in
from hw.nfu.activity import Activity
from hw.nfu.area import area_m2
from hw.nfu.config import Nfu
from hw.nfu.energy import energy
from hw.nfu.isa import Program
from hw.nfu.layer import Layer
from hw.nfu.nest import Schedule
from hw.nfu.schedule import Cost, best, cost
from hw.nfu.timing import STALLS, Timing
from trainscape.nfu.shape import shape_text

Figures = dict[str, Any]
_PLAIN = Nfu()
_COMPULSORY = ("macs", "nfu_cycles", "dram_bytes", "dram_cycles")


def of_layer(layer: Layer, nfu: Nfu, schedule: Schedule | None = None) -> Figures:
    """The figures of a layer.

    Parameters
    ----------
    layer, nfu : what, and on what.
    schedule : how; None: the one that takes the fewest cycles.

    Returns
    -------
    ``macs``, ``nfu_cycles``, ``dram_bytes``, ``dram_cycles`` and ``bound`` are compulsory; ``scheduled`` holds what instructions
    take, ``time_s`` and ``energy_J`` come from it.

    Raises
    ------
    HwError : the schedule does not fit, or none does.
    """
    found = best(layer, nfu) if schedule is None else cost(layer, nfu, schedule)
    nbytes = layer.compulsory_bytes(nfu)
    cycles, dram = layer.nfu_cycles(nfu), nfu.dram_cycles(nbytes)
    compulsory = {"macs": layer.macs, "nfu_cycles": cycles, "dram_bytes": nbytes, "dram_cycles": dram}
    scheduled = _scheduled(found.activity, found.timing) | {"schedule": schedule_document(found.schedule)}
    rest = _priced(nfu, found.activity)
    return {
        "name": layer.name,
        "kind": str(layer.kind),
        "shape": shape_text(layer),
        **compulsory,
        "bound": _bound(cycles, dram),
        "scheduled": scheduled,
        **rest,
    }


def of_program(program: Program, nfu: Nfu, name: str) -> Figures:
    """The same of a program, instruction by instruction. It has no compulsory bytes, for it does not say what its words are."""
    timed, done = activity_in(program, nfu)
    return {
        "name": name,
        "kind": "program",
        "macs": done.products,
        "nfu_cycles": done.busy_cycles,
        "dram_bytes": None,
        "dram_cycles": None,
        "bound": None,
        "scheduled": _scheduled(done, timed) | {"schedule": None},
        **_priced(nfu, done),
    }


def totals(layers: Sequence[Mapping[str, Any]], host: Iterable[Mapping[str, Any]], nfu: Nfu) -> Figures:
    """Sums over layers one after the other; seconds and joules of the processor's operators are added."""
    found: Figures = {k: _sum(row[k] for row in layers) for k in _COMPULSORY}
    counts = ("instructions", "dram_bytes", "total_cycles")
    scheduled = {k: sum(row["scheduled"][k] for row in layers) for k in counts}
    stalls = {k: sum(row["scheduled"]["stalls"][k] for row in layers) for k in STALLS}
    host = tuple(host)
    host_s = sum(h["time_s"] for h in host)
    joules = {k: sum(row["energy_J"][k] for row in layers) for k in (layers[0]["energy_J"] if layers else ())}
    if host:
        joules["processor"] = sum(h["energy_J"] for h in host)
        joules["total"] = joules.get("total", 0.0) + joules["processor"]
    return {
        **found,
        "scheduled": scheduled | {"stalls": stalls},
        "nfu_time_s": sum(row["time_s"] for row in layers),
        "processor_time_s": host_s,
        "time_s": sum(row["time_s"] for row in layers) + host_s,
        "energy_J": joules,
        "area_m2": area_m2(nfu),
    }


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return None if any(x is None for x in found) else sum(x for x in found if x is not None)


def schedule_document(s: Schedule) -> dict[str, Any]:
    """Every field, plain."""
    return {f.name: getattr(s, f.name) for f in fields(s)}


def _bound(nfu_cycles: int, dram_cycles: float) -> str:
    """What a layer cannot be faster than, each word moved once."""
    return "nfu" if nfu_cycles >= dram_cycles else "dram"


def _scheduled(done: Activity, timed: Timing) -> Figures:
    return {
        "instructions": done.instructions,
        "dram_bytes": done.dram_bytes,
        "total_cycles": timed.total_cycles,
        "stalls": dict(timed.stalls),
    }


def _priced(nfu: Nfu, done: Activity) -> Figures:
    return {"time_s": done.cycles / nfu.clock_hz, "energy_J": dict(energy(nfu, done)), "area_m2": area_m2(nfu)}


def timing_key(nfu: Nfu) -> Nfu:
    """The NFU less what neither schedules nor cycles depend on: two with the same key take the same cycles for a layer."""
    return replace(
        nfu,
        neuron=Fixed(bits=8 * nfu.word_bytes, fraction=0),
        synapse=Fixed(bits=8 * nfu.synapse_bytes, fraction=0),
        arithmetic=_PLAIN.arithmetic,
        lines=_PLAIN.lines,
        segments=_PLAIN.segments,
        reach=_PLAIN.reach,
        technology_nm=_PLAIN.technology_nm,
        dram_joules_per_byte=_PLAIN.dram_joules_per_byte,
    )


def costs(layers: Iterable[Layer], nfu: Nfu) -> tuple[Cost, ...]:
    """The best schedule of each layer, found once for all NFUs that take the same cycles."""
    key = timing_key(nfu)
    return tuple(best(layer, key) for layer in layers)
