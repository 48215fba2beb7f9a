"""Energy, modelled: a device draws its thermal design power while it works and a fraction of it while it waits.

Over T seconds, with W the design power, i the idle fraction, and b the seconds in which a device computes:

    device   W (b + i (T - b)); where its cost model knows what kernels take, the sum of that, and W i (T - b)
    node     the sum of its devices, and throughout: its stated power less W for each device, where that is known; else what its
             processors draw, as devices of their own, where they are known
    system   the nodes that a plan uses

This is an upper estimate for work that does not use all of a device (memory-bound kernels draw less than the design power), and
leaves out network switches and cooling.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from graph.errors import GraphError, InvalidPlan
from graph.parallel.plan import Do, Rank
from graph.parallel.unroll import instructions
from graph.record import record
from graph.step_stats import Interval, is_transfer, step_of, union
from graph.timeline import Timeline
from hw.cost.record import Metered
from hw.device import Device
from hw.errors import HwError
from hw.model import PlacedModel
from hw.system import Group, System


@record
class Energy:
    """Modelled joules, and what they rest on.

    Parameters
    ----------
    joules : the estimate.
    basis : in words, for reports.
    """

    joules: float
    basis: str


def joules(device: Device, busy_seconds: float, total_seconds: float) -> float:
    """Joules of one device that works for `busy_seconds` out of `total_seconds`; a processor of its own that waits with it draws
    its idle power.

    Raises `HwError` when the device has no stated power, or is busy for longer than the whole.
    """
    if not device.watts:
        raise HwError(f"device {device.name!r} has no stated power")
    if not 0 <= busy_seconds <= total_seconds * (1 + 1e-9):
        raise HwError(f"busy for {busy_seconds} s out of {total_seconds} s")
    idle = max(0.0, total_seconds - busy_seconds)
    beside = 0.0 if device.processor is None else device.processor.watts * device.processor.idle_fraction
    return device.watts * (busy_seconds + device.idle_fraction * idle) + beside * idle


def rest_watts(system: System) -> float | None:
    """Watts of a node beside its devices and processors; None where the node's power is not stated."""
    return None if system.watts is None else max(0.0, system.watts - sum(g.count * g.device.watts for g in system.groups))


def energy_joules(timeline: Timeline, placed: PlacedModel) -> Energy:
    """Modelled joules of one step of a plan, on all nodes that it uses.

    Parameters
    ----------
    timeline : of one or more steps; the first is left out when there are others, as in `graph.step_stats`.
    placed : what it was played on.

    Raises
    ------
    HwError : the system's devices have no stated power (this computer has none).
    GraphError : the timeline is empty.
    """
    system = placed.system
    if not len(timeline):
        raise GraphError("an empty timeline has no steps, and takes no energy")
    begin, end, steps = _window(timeline)
    busy = _busy_seconds(timeline, placed, begin, end)
    nodes = {system.node_of(place) for place in placed.places.values()}
    metered = _metered(placed)
    total = 0.0
    for k in nodes:
        here = [system.at(k, p) for p in system.local]
        each = ((system.device_at(p), busy.get(p, 0.0), metered.get(p)) for p in here)
        total += sum(_of_device(device, b, end - begin, kernels, steps) for device, b, kernels in each)
        total += _around(system, busy.get(system.at(k, "host"), 0.0), end - begin)
    return Energy(joules=total / steps, basis=_basis(system, {system.kind_at(place) for place in metered}))


def _of_device(device: Device, busy: float, total: float, kernels: float | None, steps: int) -> float:
    """Joules of one device; `kernels` are those of what it computes in a step, where they are known."""
    drawn = joules(device, busy, total)
    return drawn if kernels is None else drawn - device.watts * busy + kernels * steps


def _metered(placed: PlacedModel) -> dict[str, float]:
    """Place -> joules of the kernels of one step there, where cost models know them all; a program that waits for what it hears
    does not say beforehand what it computes, and its device draws its design power.
    """
    found: dict[str, float | None] = {}
    for rank, place in placed.places.items():
        before, mine = found.get(place, 0.0), _step_joules(placed, rank)
        found[place] = None if before is None or mine is None else before + mine
    return {place: total for place, total in found.items() if total is not None}


def _step_joules(placed: PlacedModel, rank: Rank) -> float | None:
    cost, segments = placed.cost_of(rank), placed.lowered[rank.role].segments
    if not isinstance(cost, Metered):
        return None
    try:
        kernels = [i.kernel for i in instructions(placed.plan, rank) if isinstance(i, Do)]
    except InvalidPlan:
        return None
    each = [cost.joules(c) for kernel in kernels for c in segments[kernel]]
    known = [e for e in each if e is not None]
    return sum(known) if len(known) == len(each) else None


def _window(timeline: Timeline) -> tuple[float, float, int]:
    """(begin, end, steps) of what is counted: from the end of the first step on, when there are others."""
    ends: dict[int, float] = defaultdict(float)
    for r in timeline:
        ends[step_of(r)] = max(ends[step_of(r)], r.end)
    first, *others = sorted(ends)
    if not others:
        return min(r.start for r in timeline), ends[first], 1
    return ends[first], max(ends.values()), len(others)


def _busy_seconds(timeline: Timeline, placed: PlacedModel, begin: float, end: float) -> dict[str, float]:
    """Place -> seconds of the window in which ranks compute there. A folded rank stands for those that it is like.

    Ranks take turns on a device, so their seconds add up; of a host each has an even share, and its seconds count as much.
    """
    crowd, hosts = Counter(placed.places.values()), set(placed.system.host_places)
    spans: dict[Rank, list[Interval]] = defaultdict(list)
    for r in timeline:
        if r.is_leaf and not is_transfer(r) and r.stream != "input":
            spans[r.rank].append((max(r.start, begin), min(r.end, end)))
    length = {rank: _length(mine) for rank, mine in spans.items()}
    found: dict[str, float] = defaultdict(float)
    for rank in placed.plan.ranks:
        mine = length.get(rank if rank in length else _like(timeline, rank), 0.0)
        place = placed.places[rank]
        found[place] = min(found[place] + mine / (crowd[place] if place in hosts else 1), end - begin)
    return found


def _like(timeline: Timeline, rank: Rank) -> Rank:
    """The rank of the same role that was played for this one; which one does not matter, for like ranks compute alike."""
    return next((r for r, n in timeline.like.items() if r.role == rank.role and n > 1), rank)


def _length(spans: Iterable[Interval]) -> float:
    return sum(b - a for a, b in union((a, b) for a, b in spans if b > a))


def _around(system: System, busy: float, total: float) -> float:
    """Joules of a node beside its devices."""
    rest = rest_watts(system)
    if rest is not None:
        return rest * total
    processors = None if system.host is None else system.host.whole
    return 0.0 if processors is None or not processors.watts else joules(processors, busy, total)


def _basis(system: System, metered: Collection[str]) -> str:
    said = [_basis_of(g, g.kind in metered, "device" if not system.others else g.kind) for g in system.groups]
    text = "modelled: " + "; ".join(said)
    rest = rest_watts(system)
    processors = None if system.host is None else system.host.whole
    if rest is not None:
        return text + f"; {rest:g} W for the rest of each node throughout"
    if processors is not None and processors.watts:
        return text + f"; {processors.watts:g} W busy, {processors.idle_fraction:.0%} of it idle, for each node's processors"
    return text + "; hosts left out"


def _basis_of(g: Group, is_metered: bool, name: str) -> str:
    idle = f"{g.device.idle_fraction:.0%} of"
    if is_metered and g.device.processor is not None:
        processor = f"{g.device.processor.watts:g} W for its processor while that works"
        return f"what each layer takes, its memory included, {processor}, and {idle} {g.device.watts:g} W idle, for each {name}"
    if is_metered:
        return f"what each kernel takes, and {idle} {g.device.watts:g} W idle, for each {name}"
    return f"{g.device.watts:g} W busy, {idle} it idle, for each {name}"
