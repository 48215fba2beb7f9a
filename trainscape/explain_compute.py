"""The part of an explanation about kernels: work of each call, its roofline or its counts, and their sums by phase."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graph.parallel.plan import Do, Rank, Role
from graph.parallel.unroll import instructions
from graph.record import record
from hw.catalogue import HOST, describe
from hw.catalogue import names as catalogue_names
from hw.cost.convolution import remark
from hw.cost.nfu import NfuModel
from hw.cost.record import CostModel
from hw.cost.roofline import RooflineModel, roof, share_of
from hw.kernels.record import KERNELS, Call, Platform
from trainscape import explain_nfu
from trainscape.explanation import Line, Section, one, shown, total
from trainscape.report.tables import decimal, nbytes, seconds

if TYPE_CHECKING:
    from trainscape.build import Built

TOP = 8
"""Calls that are shown one by one; the rest is summed."""
STEP = 1
"""The step that is looked at: the second, since the first has nothing before it."""


@record
class Priced:
    """A kernel call of a step.

    Parameters
    ----------
    phase : what its action does: ``"forward"``, ``"update"`` ...
    call : the call.
    times : how often in a step.
    seconds : of one.
    """

    phase: str
    call: Call
    times: int
    seconds: float


def actions(built: "Built", rank: Rank) -> list[Do]:
    """What a rank's kernels do in a step; raises `InvalidPlan` for a program whose order depends on what it hears."""
    return [i for i in instructions(built.plan, rank, 1, first=STEP) if isinstance(i, Do)]


def is_compute(do: Do) -> bool:
    """Taking a batch goes on beside computing, on a stream of its own."""
    return do.on != "input"


def phases(built: "Built", rank: Rank) -> dict[str, float]:
    """Phase -> seconds of a step, exactly as the player prices its actions."""
    found: dict[str, float] = {}
    for do in actions(built, rank):
        if is_compute(do):
            phase = str(do.id[1])
            found[phase] = found.get(phase, 0.0) + built.placed.compute_seconds(rank, do)
    return found


def priced(built: "Built", rank: Rank) -> list[Priced]:
    """Every call of a step, the longest first."""
    segments = built.lowered[rank.role].segments
    times = Counter((do.kernel, str(do.id[1])) for do in actions(built, rank) if is_compute(do))
    found = [
        Priced(phase=phase, call=call, times=n, seconds=built.placed.call_seconds(rank, call))
        for (kernel, phase), n in times.items()
        for call in segments[kernel]
    ]
    return sorted(found, key=lambda p: -p.times * p.seconds)


def compute_section(built: "Built", role: Role) -> Section:
    """The kernels of a role's first rank."""
    rank = built.plan.first_rank(role.name)
    calls, by_phase = priced(built, rank), phases(built, rank)
    cost = built.placed.cost_of(rank)
    is_roofline = isinstance(cost, RooflineModel)
    header, rows = _table(built, rank, calls)
    n = len(actions(built, rank)) - sum(not is_compute(d) for d in actions(built, rank))
    over = built.placed.overheads.action
    if isinstance(cost, NfuModel):
        lines = explain_nfu.lines(cost, [(p.call, p.times) for p in calls], built.placed.busy(rank))
    else:
        lines = _roofline_lines(built, rank, calls[0]) if is_roofline and calls else _calibrated_lines(built, rank, calls)
    for phase in by_phase:
        mine = [p for p in calls if p.phase == phase]
        kernels = sum(p.times * p.seconds for p in mine)
        count = sum(p.times for p in mine)
        extra = by_phase[phase] - kernels
        numbers = f"{count} calls, {shown(kernels, 's')}"
        if over:
            numbers += f" + {shown(extra, 's')} of the player"
        lines.append(Line(symbol=f"t_{phase}", value=by_phase[phase], unit="s", formula="Σ t(call)", numbers=numbers))
    lines.append(total("t_compute", {f"t_{k}": v for k, v in by_phase.items()}, "s", f"{n} actions, one after another"))
    has_convolutions = is_roofline and any(KERNELS[p.call.kernel].op.startswith("conv2d") for p in calls)
    told = remark(built.placed.device_of(rank)) if has_convolutions else ""
    title = f"Kernels of {one(role)}, in a step"
    return Section(title=title, header=header, rows=rows, lines=lines, notes=(told,) if told else ())


def _table(built: "Built", rank: Rank, calls: Sequence[Priced]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    cost, busy = built.placed.cost_of(rank), built.placed.busy(rank)
    if isinstance(cost, NfuModel):
        parts: tuple[str, ...] = explain_nfu.COLUMNS
    else:
        parts = ("launch", "compute", "memory", "bound by") if isinstance(cost, RooflineModel) else ()
    rows: list[tuple[str, ...]] = []
    for p in calls[:TOP]:
        row: tuple[str, ...] = (p.call.layer, p.phase, p.call.kernel.partition(".")[2], str(p.times))
        row += (decimal(p.call.work.flop, "flop"), nbytes(_moved(cost, p.call)))
        if isinstance(cost, NfuModel):
            row += explain_nfu.columns(cost, p.call, busy)
        elif isinstance(cost, RooflineModel):
            r = roof(p.call, share_of(built.placed.device_of(rank), busy))
            row += (seconds(r.launch_seconds), seconds(r.compute_seconds), seconds(r.memory_seconds), r.bound)
        rows.append((*row, seconds(p.times * p.seconds)))
    rest = calls[TOP:]
    if rest:
        flop, moved = (sum(p.times * x(p.call) for p in rest) for x in (lambda c: c.work.flop, lambda c: _moved(cost, c)))
        others = (f"{len(rest)} others", "", "", str(sum(p.times for p in rest)), decimal(flop, "flop"), nbytes(moved))
        rows.append((*others, *("",) * len(parts), seconds(sum(p.times * p.seconds for p in rest))))
    return ("layer", "phase", "kernel", "times", "flop", "bytes", *parts, "all times"), rows


def _moved(cost: CostModel, call: Call) -> int:
    return explain_nfu.moved_bytes(cost, call) if isinstance(cost, NfuModel) else moved_bytes(call)


def moved_bytes(call: Call) -> int:
    """Bytes that are priced: what a GPU kernel's loops move, else the compulsory ones; see `hw.cost.roofline.roof`."""
    kernel = KERNELS[call.kernel]
    return int(kernel.terms(call.types, call.attrs)["bytes"]) if kernel.platform is Platform.CUDA else call.work.nbytes


def sources(name: str) -> Mapping[str, str]:
    """Quantity -> source, of an entry of the catalogue; empty for what is not in it."""
    return {} if name == HOST or name not in catalogue_names() else {r.quantity: r.source for r in describe(name)}


def _roofline_lines(built: "Built", rank: Rank, p: Priced) -> list[Line]:
    """The device's numbers, and the longest call worked out."""
    d, said = built.placed.device_of(rank), sources(built.placed.device_of(rank).name)
    dtype = KERNELS[p.call.kernel].arithmetic or built.scenario.system.precision.value
    peak, e = d.flop_per_second(dtype), d.efficiency
    found = [
        Line(symbol="P", value=peak, unit="flop/s", formula=f"peak for {dtype}", source=said.get(f"peak.{dtype}", "")),
        Line(symbol="W", value=d.memory_bytes_per_second, unit="B/s", formula="memory", source=said.get("memory.bandwidth", "")),
        Line(symbol="e_W", value=e.memory, unit="%", formula="reached of W", source=said.get("efficiency.memory", "")),
    ]
    r, flop, moved = roof(p.call, share_of(d, built.placed.busy(rank))), p.call.work.flop, moved_bytes(p.call)
    shape = flop / (peak * r.compute_seconds) if r.compute_seconds else 1.0
    at = f"{p.call.layer}, {p.phase}"
    floor = "; ".join(s for q, s in said.items() if q.startswith("launch.") and q != "launch.depth" and q != "launch.issue")
    found += [
        Line(symbol="L", value=r.launch_seconds, unit="s", formula="launch floor of this kernel", source=floor),
        Line(
            symbol="t_arithmetic",
            value=r.compute_seconds,
            unit="s",
            formula="F / (P e(shape))",
            numbers=f"{decimal(flop, 'flop')} / ({decimal(peak, 'flop/s')} x {100 * shape:.1f} %)",
            source=f"{at}; e(shape) from tiles and waves, {100 * e.matrix:g} % of P at best, more where an algorithm saves "
            f"multiply-adds: {said.get('efficiency.matrix', '')}",
        ),
        Line(
            symbol="t_traffic",
            value=r.memory_seconds,
            unit="s",
            formula="Q / (W e_W) + latency",
            numbers=f"{nbytes(moved)} / ({decimal(d.memory_bytes_per_second, 'B/s')} x {100 * e.memory:g} %)"
            f" + {shown(e.memory_seconds, 's')}",
            source=said.get("efficiency.memory_latency", ""),
        ),
        Line(
            symbol="t(call)",
            value=r.seconds,
            unit="s",
            formula="L + max(t_arithmetic, t_traffic)",
            numbers=f"{shown(r.launch_seconds, 's')} + max({shown(r.compute_seconds, 's')}, {shown(r.memory_seconds, 's')})",
            source="Williams, Waterman and Patterson, CACM 52(4), 2009",
        ),
    ]
    return found


def _calibrated_lines(built: "Built", rank: Rank, calls: Sequence[Priced]) -> list[Line]:
    """The longest call as counts times coefficients."""
    profile = built.profile
    if profile is None or not calls:
        return []
    p, placed = calls[0], built.placed
    terms = KERNELS[p.call.kernel].terms(p.call.types, p.call.attrs)
    each = profile.kernels[p.call.kernel].at(placed.busy(rank)).of_step(placed.touched(rank))
    counted = {t: n for t, n in terms.items() if n and each.get(t)}
    return [
        Line(
            symbol="t(call)",
            value=p.seconds,
            unit="s",
            formula="Σ coefficient[term] count[term]",
            numbers=" + ".join(f"{each[t]:.3g} s x {n:,.4g} {t}" for t, n in counted.items()),
            source=f"{p.call.layer}, {p.phase}, {p.call.kernel}; coefficients of the calibration of {profile.created}, "
            f"{placed.busy(rank)} busy",
        )
    ]
