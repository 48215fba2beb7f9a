"""Energy, modelled: a device draws its thermal design power while it works and a fraction of it while it waits.

Over T seconds, with W the design power, i the idle fraction, and b the seconds in which a device computes:

    device   W (b + i (T - b))
    node     the sum of its devices, and throughout: its stated power less W for each device, where that is known; else what its
             processors draw, as devices of their own, where they are known
    system   the nodes that a plan uses

This is an upper estimate for work that does not use all of a device (memory-bound kernels draw less than the design power), and
leaves out network switches and cooling.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from graph.errors import GraphError
from graph.parallel.plan import Rank
from graph.record import record
from graph.step_stats import Interval, is_transfer, step_of, union
from graph.timeline import Timeline
from hw.device import Device
from hw.errors import HwError
from hw.model import PlacedModel
from hw.system import System


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
    """Joules of one device that works for `busy_seconds` out of `total_seconds`.

    Raises `HwError` when the device has no stated power, or is busy for longer than the whole.
    """
    if not device.watts:
        raise HwError(f"device {device.name!r} has no stated power")
    if not 0 <= busy_seconds <= total_seconds * (1 + 1e-9):
        raise HwError(f"busy for {busy_seconds} s out of {total_seconds} s")
    idle = max(0.0, total_seconds - busy_seconds)
    return device.watts * (busy_seconds + device.idle_fraction * idle)


def rest_watts(system: System) -> float | None:
    """Watts of a node beside its devices and processors; None where the node's power is not stated."""
    return None if system.watts is None else max(0.0, system.watts - system.count * system.device.watts)


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
    total = 0.0
    for k in nodes:
        total += sum(joules(system.device, busy.get(system.at(k, p), 0.0), end - begin) for p in system.local)
        total += _around(system, busy.get(system.at(k, "host"), 0.0), end - begin)
    return Energy(joules=total / steps, basis=_basis(system))


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


def _basis(system: System) -> str:
    text = f"modelled: {system.device.watts:g} W busy, {system.device.idle_fraction:.0%} of it idle, for each device"
    rest = rest_watts(system)
    processors = None if system.host is None else system.host.whole
    if rest is not None:
        return text + f"; {rest:g} W for the rest of each node throughout"
    if processors is not None and processors.watts:
        return text + f"; {processors.watts:g} W busy, {processors.idle_fraction:.0%} of it idle, for each node's processors"
    return text + "; hosts left out"
