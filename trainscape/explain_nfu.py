"""The part of an explanation about kernels of an NFU: where a layer's cycles go, what moves, and what its processor adds."""

from collections.abc import Sequence

from hw.cost.nfu import NfuModel, Scheduled, is_on_processor, scheduled
from hw.cost.roofline import roof, share_of
from hw.kernels.record import Call
from hw.nfu.energy import energy
from trainscape.explanation import Line, shown
from trainscape.report.tables import decimal, nbytes, seconds

COLUMNS = ("nfu", "dram", "waits", "bound by")
"""Of a call: seconds in which the NFU works, of moving its words, of waiting; of the processor: of arithmetic, memory, launch."""


def columns(model: NfuModel, call: Call, busy: int) -> tuple[str, ...]:
    """What `COLUMNS` say of a call, while so many devices work on one memory."""
    if is_on_processor(call):
        r = roof(call, share_of(model.processor, busy))
        return seconds(r.compute_seconds), seconds(r.memory_seconds), seconds(r.launch_seconds), "processor"
    s = scheduled(call, model.nfu, busy=busy)
    return seconds(s.nfu_seconds), seconds(s.dram_seconds), seconds(s.seconds - s.nfu_seconds), s.bound


def moved_bytes(model: NfuModel, call: Call) -> int:
    """Bytes to and from the main memory: of an NFU's layer those that its instructions move."""
    return call.work.nbytes if is_on_processor(call) else scheduled(call, model.nfu).cost.dram_bytes


def lines(model: NfuModel, calls: Sequence[tuple[Call, int]], busy: int) -> list[Line]:
    """The NFU's numbers, and the longest layer worked out.

    Parameters
    ----------
    model : cost model of the device.
    calls : with how often a step has them, the longest first.
    busy : devices that work on its memory.
    """
    layers = [(c, n) for c, n in calls if not is_on_processor(c)]
    others = [(c, n) for c, n in calls if is_on_processor(c)]
    found = _of_nfu(model, scheduled(layers[0][0], model.nfu, busy=busy)) if layers else []
    for symbol, mine, source in (
        ("t_nfu", layers, "layers, one after another, each begun when the one before is through"),
        ("t_processor", others, f"what the NFU has not, on its {model.processor.name}, which works while the NFU waits"),
    ):
        value, count = sum(n * model.seconds(c, busy=busy) for c, n in mine), sum(n for _, n in mine)
        found.append(Line(symbol=symbol, value=value, unit="s", formula="Σ t(call)", numbers=f"{count} calls", source=source))
    return found


def _of_nfu(model: NfuModel, s: Scheduled) -> list[Line]:
    nfu, layer, cost = s.nfu, s.cost.layer, s.cost
    compulsory = layer.compulsory_bytes(nfu)
    waits = {k: v for k, v in cost.timing.stalls.items() if round(v)}
    joules = energy(nfu, cost.activity)
    cut = cost.schedule
    window = f"{cut.window_rows} x {cut.window_columns} of the window"
    return [
        Line(symbol="f", value=nfu.clock_hz, unit="Hz", formula="clock", source=f"{nfu.tn} x {nfu.ti} multipliers"),
        Line(symbol="W", value=nfu.dram_bytes_per_second, unit="B/s", formula="memory", source="shared by its three DMA engines"),
        Line(
            symbol="c_nfu",
            value=cost.timing.busy_cycles,
            unit="",
            formula="positions x window x rows of maps in x rows of maps out",
            source=f"{layer.name}, {layer.macs:,} multiply-adds; idle lanes are in it",
        ),
        Line(
            symbol="Q",
            value=cost.dram_bytes,
            unit="B",
            formula="what the instructions move",
            numbers=f"{cost.instructions:,} instructions; each word once: {nbytes(compulsory)}",
            source=f"tiles of {cut.rows} x {cut.columns} positions, {window}, {cut.maps} rows of maps; {cut.order} outside",
        ),
        Line(
            symbol="t_dram",
            value=s.dram_seconds,
            unit="s",
            formula="Q / W",
            numbers=f"{nbytes(cost.dram_bytes)} / {decimal(nfu.dram_bytes_per_second, 'B/s')}",
        ),
        Line(
            symbol="c_wait",
            value=cost.total_cycles - cost.timing.busy_cycles,
            unit="",
            formula=" + ".join(waits),
            numbers=" + ".join(f"{v:,.0f}" for v in waits.values()),
            source="cycles in which the multipliers wait, by what for",
        ),
        Line(
            symbol="t(call)",
            value=s.seconds,
            unit="s",
            formula="(c_nfu + c_wait) / f",
            numbers=f"{cost.total_cycles:,} / {decimal(nfu.clock_hz, 'Hz')}",
            source="closed form of the best schedule (hw.nfu.schedule)",
        ),
        Line(
            symbol="E(call)",
            value=joules["total"],
            unit="J",
            formula="chip + dram",
            numbers=f"{shown(joules['chip'], 'J')} + {shown(joules['dram'], 'J')}",
            source="accesses and operations, counted (hw.nfu.energy)",
        ),
    ]
