"""What a catalogue file of each kind holds. A file that fits becomes a `Device`, `Link` or `System`."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from hw.catalogue.nfu import nfu_device
from hw.catalogue.reader import File, Section, choice
from hw.device import ConvolutionLibrary, Device, Efficiency, Engines
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.link import DrivenBy, Link
from hw.system import Group, Host, Network, System, Wire
from hw.units import Quantity

Item = Device | Link | System
Load = Callable[[str], Item]
T = TypeVar("T", Device, Link)


class Kind(StrEnum):
    """Kinds of catalogue entries."""

    DEVICE = "device"
    LINK = "link"
    SYSTEM = "system"


class Memory(StrEnum):
    """Whether devices of a kind in a node have a memory each."""

    OWN = "own"
    SHARED = "shared"  # one, of the size and rate of the device's


def _device(s: Section, load: Load) -> Callable[[], Device]:
    platform = choice(s, "platform", Platform, Platform.CUDA)
    if platform is Platform.NFU:
        return nfu_device(s, _inside(s, "nfu"), _inside(s, "memory"), _refer(s, "processor", load, Device))
    engines = choice(s, "engines", Engines, Engines.SEPARATE)
    name, title, cores = s.text("name"), s.text("title"), s.whole("cores", Quantity.COUNT)
    peaks, memory, launch, power = (_inside(s, key) for key in ("peak", "memory", "launch", "power"))
    peak = {dtype: peaks.number(dtype, Quantity.FLOP_PER_SECOND) for dtype in peaks}
    size, bandwidth = memory.whole("size", Quantity.BYTES), memory.number("bandwidth", Quantity.BYTES_PER_SECOND)
    floor, issue = launch.number("floor", Quantity.SECONDS), launch.number("issue", Quantity.SECONDS)
    depth = launch.whole("depth", Quantity.COUNT)
    efficiency, convolution = _efficiency(_inside(s, "efficiency")), s.section("convolution")
    library = _convolution(convolution) if convolution is not None else ConvolutionLibrary
    watts, idle = power.number("tdp", Quantity.WATTS), power.number("idle", Quantity.FRACTION)
    price = s.number("price", Quantity.USD_PER_HOUR) if s.has("price") else None
    for inside in (peaks, memory, launch, power):
        inside.close()
    return lambda: Device(
        name=name,
        title=title,
        platform=platform,
        engines=engines,
        peak=peak,
        memory_nbytes=size,
        memory_bytes_per_second=bandwidth,
        cores=cores,
        launch_seconds=floor,
        issue_seconds=issue,
        launch_depth=depth,
        efficiency=efficiency(),
        convolution=library(),
        watts=watts,
        idle_fraction=idle,
        usd_per_hour=price,
    )


def _efficiency(s: Section) -> Callable[[], Efficiency]:
    matrix, memory = s.number("matrix", Quantity.FRACTION), s.number("memory", Quantity.FRACTION)
    latency, depth = s.number("memory_latency", Quantity.SECONDS), s.number("depth_half", Quantity.COUNT)
    s.close()
    return lambda: Efficiency(matrix=matrix, memory=memory, memory_seconds=latency, depth_half=depth)


def _convolution(s: Section) -> Callable[[], ConvolutionLibrary]:
    rates = {key: s.number(key, Quantity.FRACTION, 1.0) for key in ("forward", "grad_input", "grad_weight", "strided")}
    rates |= {key: s.number(key, Quantity.FRACTION, 0.0) for key in ("winograd", "winograd_grad_weight", "fft")}
    call = s.number("call", Quantity.SECONDS, 0.0)
    s.close()
    return lambda: ConvolutionLibrary(**rates, call_seconds=call)


def _link(s: Section, load: Load) -> Callable[[], Link]:
    name, title, of = s.text("name"), s.text("title"), s.text("of")
    rate, reached = s.number("bandwidth", Quantity.BYTES_PER_SECOND), s.number("efficiency", Quantity.FRACTION)
    latency = s.number("latency", Quantity.SECONDS)
    driven = choice(s, "driven_by", DrivenBy, DrivenBy.ENGINE)
    return lambda: Link(
        name=name, title=title, kind=of, bytes_per_second=rate, efficiency=reached, latency_seconds=latency, driven_by=driven
    )


def _system(s: Section, load: Load) -> Callable[[], System]:
    name, title = s.text("name"), s.text("title")
    device = _refer(s, "device", load, Device)
    count, nodes = s.whole("count", Quantity.COUNT), s.whole("nodes", Quantity.COUNT, 1)
    is_shared = choice(s, "memory", Memory, Memory.OWN) is Memory.SHARED
    others = [_group(inside, load) for inside in s.sections("others")]
    wires = tuple(w for inside in s.sections("wires") for w in _wires(inside, load))
    network, host = s.section("network"), s.section("host")
    net = _network(network, load) if network is not None else None
    around = _host(host, load) if host is not None else None
    watts = s.number("power", Quantity.WATTS) if s.has("power") else None
    price = s.number("price", Quantity.USD_PER_HOUR) if s.has("price") else None

    def make() -> System:
        if device is None:
            raise HwError("a system needs a device")
        return System(
            name=name, title=title, device=device, count=count, shares_memory=is_shared,
            others=tuple(group() for group in others), wires=wires, nodes=nodes, network=net,
            host=None if around is None else around(),
            watts=watts, usd_per_hour=price,
        )  # fmt: skip

    return make


def _group(s: Section, load: Load) -> Callable[[], Group]:
    device, count, prefix = _refer(s, "device", load, Device), s.whole("count", Quantity.COUNT), s.text("prefix", "")
    is_shared = choice(s, "memory", Memory, Memory.OWN) is Memory.SHARED
    s.close()

    def make() -> Group:
        if device is None:
            raise HwError("a kind of devices needs a device")
        return Group(device=device, count=count, prefix=prefix, shares_memory=is_shared)

    return make


def _host(s: Section, load: Load) -> Callable[[], Host]:
    cores, memory = s.whole("cores", Quantity.COUNT), s.whole("memory", Quantity.BYTES)
    device, sockets, at = None, 1, tuple[str, ...]()
    if s.has("device"):
        device, sockets, at = _refer(s, "device", load, Device), s.whole("sockets", Quantity.COUNT), s.texts("at")
    s.close()
    return lambda: Host(
        cores=cores,
        memory_nbytes=memory,
        title="" if device is None else device.title,
        device=device,
        sockets=sockets,
        at=at,
    )


def _wires(s: Section, load: Load) -> tuple[Wire, ...]:
    link, count, made = _refer(s, "link", load, Link), s.whole("count", Quantity.COUNT, 1), []
    for pair in s.texts("between"):
        ends = pair.split()
        if len(ends) != 2 or ends[0] == ends[1]:
            s.problem(f"a wire is between two different parts, e.g. 'gpu0 gpu1', got {pair!r}", s.line_of("between"))
        elif link is not None:
            made.append(Wire(a=ends[0], b=ends[1], link=link, count=count))
    s.close()
    return tuple(made)


def _network(s: Section, load: Load) -> Network | None:
    link, count, at = _refer(s, "link", load, Link), s.whole("count", Quantity.COUNT), s.texts("at")
    factor = s.number("oversubscription", Quantity.FRACTION, 1.0)
    s.close()
    return Network(link=link, count=count, at=at, oversubscription=factor) if link is not None and at else None


def _inside(s: Section, key: str) -> Section:
    """A section that must be there; when it is not, one that has nothing."""
    found = s.section(key)
    if found is not None:
        return found
    s.problem(f"{key} is missing")
    return _Nothing(s)


class _Nothing(Section):
    """Stands for a section that is missing, which has been noted already: answers everything and notes nothing more."""

    def __init__(self, parent: Section) -> None:
        self.path, self.file, self.line = parent.path, File(parent.file.name), parent.line
        self._nodes, self._lines, self._asked = {}, {}, set()


def _refer(s: Section, key: str, load: Load, kind: type[T]) -> T | None:
    name = s.text(key)
    if not name:
        return None
    try:
        item = load(name)
    except HwError as e:
        s.problem(f"{key}: {e}", s.line_of(key))
        return None
    if not isinstance(item, kind):
        s.problem(f"{key}: {name!r} is a {type(item).__name__.lower()}, not a {kind.__name__.lower()}", s.line_of(key))
        return None
    return item


MAKERS: dict[Kind, Callable[[Section, Load], Callable[[], Item]]] = {
    Kind.DEVICE: _device,
    Kind.LINK: _link,
    Kind.SYSTEM: _system,
}
