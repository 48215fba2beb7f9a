"""The catalogue: devices, links and systems, one YAML file each in this folder, every number with its source.

A file ``<name>.yaml`` begins with ``kind: device | link | system`` and is validated when it is loaded (`hw.catalogue.schema`).
The system ``host`` is not a file: it is made from this host's calibration profile, by `host_system`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from graph.errors import nearest
from hw.catalogue.host import HOST, host_gpu_system, host_system
from hw.catalogue.reader import Row, finish, read, read_sources
from hw.catalogue.schema import MAKERS, Item, Kind
from hw.device import Device
from hw.errors import HwError
from hw.link import Link
from hw.system import Network, System

__all__ = [
    "HOST", "Item", "Kind", "Row", "describe", "device", "host_gpu_system", "host_system", "link", "load", "names", "published",
    "read_file", "system",
]  # fmt: skip

FOLDER = Path(__file__).parent


@cache
def _kinds() -> dict[str, Kind]:
    """Name -> kind of every file, from its first line alone, so that listing is fast."""
    found: dict[str, Kind] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        with path.open(encoding="utf-8") as f:
            m = re.fullmatch(r"kind: (\w+)\s*", f.readline())
        if m is None or m[1] not in set(Kind):
            raise HwError(f"{path.name}:1: the first line must be `kind: device`, `kind: link` or `kind: system`")
        found[path.stem] = Kind(m[1])
    return found


def names(kind: Kind | str | None = None) -> tuple[str, ...]:
    """Names of the entries, of one kind or of all, in order."""
    if kind is not None and kind not in set(Kind):
        raise HwError(f"there is no kind {kind!r} in the catalogue; {nearest(str(kind), [k.value for k in Kind])}")
    return tuple(n for n, k in _kinds().items() if kind is None or k is Kind(kind))


@cache
def _entry(name: str) -> tuple[Item, tuple[Row, ...]]:
    if name == HOST:
        raise HwError(f"system {HOST!r} is this computer; it is made from its calibration profile, not from the catalogue")
    if name not in _kinds():
        raise HwError(f"nothing in the catalogue is named {name!r}; {nearest(name, _kinds())}")
    return read_file(FOLDER / f"{name}.yaml")


def read_file(path: Path) -> tuple[Item, tuple[Row, ...]]:
    """Read and validate one file in the catalogue's format; raises `HwError` with every mistake as ``file:line: what``."""
    top = read(path)
    sources = read_sources(top)
    kind = top.text("kind")
    if kind not in set(Kind):
        raise HwError(f"{path.name}:1: kind is {kind!r}; choose {' | '.join(Kind)}")
    make = MAKERS[Kind(kind)](top, load)
    if top.text("name") != path.stem:
        top.problem(f"name is {top.text('name')!r}, but the file is {path.name!r}", top.line_of("name"))
    rows = finish(top, sources)
    try:
        return make(), rows
    except HwError as e:
        raise HwError(f"{path.name}:1: {e}") from e


def load(name: str) -> Item:
    """The entry of this name; raises `HwError` with the nearest name, or with all mistakes of its file."""
    return _entry(name)[0]


def describe(name: str) -> tuple[Row, ...]:
    """Every number of an entry with its unit and source, in the order of the file."""
    return _entry(name)[1]


def published(name: str) -> Mapping[str, Row]:
    """What has been published of an NFU, by its key (``"area"``, ``"power"``, ``"operations"`` ...), to be read beside ours.
    Nothing is computed from it. Empty where nothing has been published.
    """
    return {r.quantity.removeprefix("published."): r for r in describe(name) if r.quantity.startswith("published.")}


def _of_kind(name: str, kind: Kind) -> Item:
    known = _kinds()
    if name in known and known[name] is not kind:
        raise HwError(f"{name!r} is a {known[name].value}, not a {kind.value}; {nearest(name, names(kind))}")
    if name not in known and name != HOST:
        raise HwError(f"there is no {kind.value} {name!r} in the catalogue; {nearest(name, names(kind))}")
    return load(name)


def device(name: str) -> Device:
    """The device of this name."""
    item = _of_kind(name, Kind.DEVICE)
    assert isinstance(item, Device)
    return item


def link(name: str) -> Link:
    """The link of this name."""
    item = _of_kind(name, Kind.LINK)
    assert isinstance(item, Link)
    return item


def system(name: str, *, nodes: int | None = None, network: str | None = None, oversubscription: float | None = None) -> System:
    """The system of this name, in so many copies joined by a network.

    Parameters
    ----------
    name : of the catalogue; of a device: that device by itself, with no computer around it.
    nodes : how many; by default as many as the entry has, which is one.
    network : link of the catalogue that takes the place of each of a node's network links; by default the system's own. A
        system without a network of its own is plugged into it with one link at its first socket.
    oversubscription : of the network, see `hw.system.Network`; by default its own.

    Raises
    ------
    HwError : an unknown name, fewer than one node, several nodes and no network, a link that is none.
    """
    item = _alone(name) if _kinds().get(name) is Kind.DEVICE else _of_kind(name, Kind.SYSTEM)
    assert isinstance(item, System)
    if nodes is not None and nodes < 1:
        raise HwError(f"system {name!r} is asked for with {nodes} nodes; it needs at least 1")
    net = item.network
    if network is not None:
        net = _network(item, network)
    if net is not None and oversubscription is not None:
        net = replace(net, oversubscription=oversubscription)
    count = item.nodes if nodes is None else nodes
    if count > 1 and net is None:
        raise HwError(f"system {name!r} has no network of its own to join {count} nodes; choose one of {', '.join(_networks())}")
    return replace(item, nodes=count, network=net)


def _alone(name: str) -> System:
    one = device(name)
    return System(name=name, title=f"{one.title}, by itself", device=one, count=1)


def _networks() -> tuple[str, ...]:
    """Names of the links that can join nodes."""
    return tuple(n for n in names(Kind.LINK) if link(n).kind == "network")


def _network(item: System, name: str) -> Network:
    if name not in _networks():
        raise HwError(f"{name!r} cannot join nodes; {nearest(name, _networks())}")
    if item.network is not None:
        return replace(item.network, link=link(name))
    at = item.host.at[:1] if item.host is not None and item.host.at else item.local
    return Network(link=link(name), at=at)
