"""The numbers of a scenario and of its system that `check --sensitivity` changes, each with how to change it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from graph.record import record
from hw.device import Device
from hw.errors import HwError
from hw.link import Link
from hw.system import Group, System
from trainscape.scenario import Scenario
from trainscape.strategies import OPTION_KEYS, allowed

if TYPE_CHECKING:
    from trainscape.build import Built

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
PART = 0.1
"""By how much of itself a number is changed."""
TRIES = 400
"""Whole numbers that are tried when the first is not allowed."""
FRACTIONS = frozenset(("dropout", "momentum", "weight_decay", "idle_fraction", "winograd", "winograd_grad_weight", "fft"))
"""Numbers that may be 0, of which 1 is the whole."""
CALL_TIMES = ("launch_seconds", "issue_seconds", "convolution.call_seconds")
"""Times of a device that a call costs whatever it computes."""
RATE = "memory_bytes_per_second"
NOT_OF_AN_NFU = frozenset(("cores", "efficiency", "convolution"))
"""What a device has whose kernels are priced by a roofline."""


@record
class Number:
    """A number that can be changed.

    Parameters
    ----------
    key : dotted path.
    value : now.
    scenario : value -> the scenario with it; None for a number of the system. Raises `HwError` for a value out of range.
    system : value -> the system with it; None for a number of the scenario.
    grain : a whole number is changed by multiples of it.
    scale : what a tenth is taken of where the value is 0; None: nothing tells.
    """

    key: str
    value: float
    scenario: Callable[[float], Scenario] | None = None
    system: Callable[[float], System] | None = None
    grain: int = 1
    scale: float | None = None

    @property
    def size(self) -> float:
        """The value, or what stands in for it where it is 0."""
        return self.value or self.scale or self.value

    @property
    def is_unknown(self) -> bool:
        """It is 0, and nothing tells what would be a little of it."""
        return not self.size and not isinstance(self.value, int)

    def near(self) -> Iterator[float]:
        """Values to try, 10 % away and then further: a whole number by at least 1, and zero by a tenth of its scale."""
        x = self.value
        if isinstance(x, int):
            first = max(round(PART * abs(x) / self.grain), 1) * self.grain
            for k in range(first, max(abs(x), first) + 1, self.grain)[:TRIES]:
                yield from (x + k, x - k)
            return
        if x:
            yield from (x * (1 + PART), x * (1 - PART))
        elif self.size:
            yield PART * self.size


def scenario_numbers(s: Scenario) -> Iterator[Number]:
    """Every number of the scenario that means something, expectations left out: nothing is predicted from them."""
    yield from _of_section(s, (), s)


def _of_section(s: Scenario, path: tuple[str, ...], section: BaseModel) -> Iterator[Number]:
    mute = set(OPTION_KEYS) - set(allowed(s.parallel.strategy)) if path == ("parallel",) else set()
    for name in type(section).model_fields:
        value, at = getattr(section, name), (*path, name)
        if name in mute or at == ("expect",):
            continue
        if isinstance(value, BaseModel):
            yield from _of_section(s, at, value)
        elif isinstance(value, tuple):  # the extents of an image
            for k, x in enumerate(value):
                yield Number(key=".".join((*at, str(k))), value=x, scenario=_item_setter(s, at, value, k))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            grain = s.parallel.grain if at == ("model", "batch") else 1
            scale = _scale(name)
            yield Number(key=".".join(at), value=value, scenario=_setter(s, at), grain=grain, scale=scale)


def _scale(name: str, like: Iterable[float] = ()) -> float | None:
    """What a number that is 0 is measured by: of a fraction the whole, of others the least of its kind."""
    return 1.0 if name in FRACTIONS else min((x for x in like if x), default=None)


def _setter(s: Scenario, path: tuple[str, ...]) -> Callable[[float], Scenario]:
    return lambda value: with_value(s, path, value)


def _item_setter(s: Scenario, path: tuple[str, ...], old: tuple[int, ...], k: int) -> Callable[[float], Scenario]:
    return lambda value: with_value(s, path, (*old[:k], int(value), *old[k + 1 :]))


def with_value(s: Scenario, path: tuple[str, ...], value: Any) -> Scenario:
    """The scenario with a setting as the records hold it (SI units); raises `HwError` when that is out of range."""

    def put(section: M, rest: tuple[str, ...]) -> M:
        inner = value if len(rest) == 1 else put(getattr(section, rest[0]), rest[1:])
        return section.model_copy(update={rest[0]: inner})

    try:
        return Scenario.model_validate(put(s, path).settings() | {"expect": {}})
    except ValidationError as e:
        raise HwError(f"{'.'.join(path)}: {e.errors()[0]['msg']}") from None


def system_numbers(built: "Built") -> Iterator[Number]:
    """The numbers of a catalogue system's devices and links; of this computer none: calibration found them all together."""
    if built.is_host:
        return
    system = built.system
    for g in system.groups:
        of_device = {name: (value, put) for name, value, put in _of_device(g.device)}
        calls = [of_device[name][0] for name in CALL_TIMES if name in of_device]
        for name, (value, put) in of_device.items():
            scale = _scale(name.rpartition(".")[2], calls if name in CALL_TIMES else ())
            setter = _device_setter(system, g.kind, put)
            yield Number(key=f"system:{g.device.name}.{name}", value=value, system=setter, scale=scale)
    links = {w.link.name: w.link for w in system.wires}
    if system.network is not None and system.nodes > 1:
        links[system.network.link.name] = system.network.link
    latencies = [link.latency_seconds for link in links.values()]
    for link in links.values():
        for name in ("bytes_per_second", "latency_seconds"):
            value, scale = getattr(link, name), _scale(name, latencies)
            yield Number(key=f"system:{link.name}.{name}", value=value, system=_link_setter(system, link, name), scale=scale)


Put = Callable[[Device, float], Device]


def _of_device(d: Device) -> Iterator[tuple[str, float, Put]]:
    for f in fields(d):
        value = getattr(d, f.name)
        if d.nfu is not None and f.name in NOT_OF_AN_NFU:
            continue
        if f.name == RATE:
            yield RATE, value, _rate_put
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f.name, value, _field_put(f.name)
        elif isinstance(value, Mapping):
            for key, x in value.items():
                yield f"{f.name}.{key}", x, _key_put(f.name, key)
        elif hasattr(value, "__dataclass_fields__"):
            for inner in fields(value):
                x = getattr(value, inner.name)
                is_rate = f.name == "nfu" and inner.name == "dram_bytes_per_second"  # the device's
                if isinstance(x, int | float) and not isinstance(x, bool) and not is_rate:
                    yield f"{f.name}.{inner.name}", x, _inner_put(f.name, inner.name)


def _rate_put(d: Device, x: float) -> Device:
    """Of an NFU its own view of its memory, too."""
    return replace(d, memory_bytes_per_second=x, nfu=d.nfu and replace(d.nfu, dram_bytes_per_second=x))


def _with(item: T, name: str, value: Any) -> T:
    """A record with one field changed."""
    other: T = replace(item, **{name: value})  # type: ignore[type-var]  # it is a record, which the checker is not told
    return other


def _field_put(name: str) -> Put:
    return lambda d, x: _with(d, name, x)


def _key_put(name: str, key: str) -> Put:
    return lambda d, x: _with(d, name, {**getattr(d, name), key: x})


def _inner_put(name: str, inner: str) -> Put:
    return lambda d, x: _with(d, name, _with(getattr(d, name), inner, x))


def _device_setter(system: System, kind: str, put: Put) -> Callable[[float], System]:
    if kind == system.prefix:
        return lambda x: replace(system, device=put(system.device, x))

    def others(x: float) -> tuple[Group, ...]:
        return tuple(replace(g, device=put(g.device, x)) if g.kind == kind else g for g in system.others)

    return lambda x: replace(system, others=others(x))


def _link_setter(system: System, link: Link, name: str) -> Callable[[float], System]:
    def put(x: float) -> System:
        other = _with(link, name, x)
        wires = tuple(replace(w, link=other) if w.link.name == link.name else w for w in system.wires)
        net = system.network
        if net is not None and net.link.name == link.name:
            net = replace(net, link=other)
        return replace(system, wires=wires, network=net)

    return put
