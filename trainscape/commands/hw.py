"""``trainscape hw list | show NAME``"""

from typing import Any

import click

from trainscape.commands.options import Options, common
from trainscape.report.json_document import result

_UNITS = {
    "bytes": "bytes",
    "bytes per second": "bytes_per_s",
    "seconds": "s",
    "flop per second": "flop_per_s",
    "hertz": "hz",
    "watts": "w",
    "joules": "j",
    "US dollars": "usd",
    "US dollars per hour": "usd_per_h",
    "count": "count",
    "fraction": "fraction",
    "operations per second": "op_per_s",
    "metres": "m",
    "square metres": "m2",
}


@click.group("hw")
def command() -> None:
    """Systems, devices and links of the catalogue."""


@command.command("list")
@common(scenario=False)
def list_(options: Options) -> int:
    """List what the catalogue holds, and this computer."""
    from hw.catalogue import HOST, Kind, load, names
    from trainscape.host_profile import state
    from trainscape.report.tables import plain_table

    here = state()
    rows = [(HOST, "system", f"this computer ({here.status}: {here.text})", str(here.status))]
    kinds = (Kind.SYSTEM, Kind.DEVICE, Kind.LINK)
    rows += [(n, kind.value, load(n).title, _in_short(load(n))) for kind in kinds for n in names(kind)]
    options.output.show(plain_table(("name", "kind", "what it is", "in short"), rows))
    options.output.emit(result(options.command, entries=[{"name": n, "kind": k, "title": t} for n, k, t, _ in rows]))
    return 0


@command.command("show")
@click.argument("name")
@common(scenario=False)
def show(options: Options, name: str) -> int:
    """Show every number of the catalogue's entry NAME with its source; host is this computer's profile."""
    from graph.errors import nearest
    from hw.catalogue import HOST, describe, load, names
    from trainscape.report.tables import plain_table

    if name == HOST:
        return _host(options)
    if name not in names():
        message = f"nothing in the catalogue is named {name!r}; {nearest(name, (HOST, *names()))}"
        raise click.BadParameter(message, param_hint="NAME")
    entry, rows = load(name), describe(name)
    options.output.show(f"{name}: {entry.title}")
    parts = _parts(entry)
    if parts:
        options.output.show(plain_table(("part", "is", "joined to", "by", "each direction"), [tuple(p.values()) for p in parts]))
    options.output.show(plain_table(("quantity", "value", "source"), [(r.quantity, r.text, r.source) for r in rows]))
    quantities, notes = [_quantity(r) for r in rows], _notes(entry)
    for line in notes:
        options.output.show(line)
    options.output.emit(result(options.command, name=name, title=entry.title, quantities=quantities, parts=parts, notes=notes))
    return 0


def _in_short(entry: Any) -> str:
    """The few numbers that tell an entry from its like."""
    from hw.device import Device
    from hw.kernels.record import Platform
    from hw.link import Link
    from hw.units import Quantity, format

    if isinstance(entry, Link):
        return format(entry.capacity, Quantity.BYTES_PER_SECOND, digits=3)
    if isinstance(entry, Device) and entry.nfu is not None:
        n, rate = entry.nfu, format(entry.memory_bytes_per_second, Quantity.BYTES_PER_SECOND, digits=3)
        clock = format(n.clock_hz, Quantity.HERTZ, digits=3)
        return f"{n.tn} x {n.ti} multipliers, {n.neuron.bits} by {n.synapse.bits} bits, {clock}, {rate}"
    if isinstance(entry, Device):
        peak = format(entry.flop_per_second("f32"), Quantity.FLOP_PER_SECOND, digits=3)
        rate = format(entry.memory_bytes_per_second, Quantity.BYTES_PER_SECOND, digits=3)
        # a processor's memory is that of the system it is in
        has = (
            f"{entry.cores} core{'s' if entry.cores > 1 else ''}"
            if entry.platform is Platform.CPU
            else f"{entry.memory_nbytes / 2**30:.3g} GiB"
        )
        return f"{peak} f32, {has}, {rate}"
    network = f", {entry.network.count * len(entry.network.at)} x {entry.network.link.name}" if entry.network else ""
    return f"{', '.join(f'{g.count} x {g.device.name}' for g in entry.groups)}{network}"


def _notes(entry: Any) -> list[str]:
    """What its numbers do not tell: of a device, or of that of a system."""
    from hw.cost.convolution import remark
    from hw.device import Device
    from hw.system import System

    devices = [g.device for g in entry.groups] if isinstance(entry, System) else [entry]
    return [told for d in devices if isinstance(d, Device) for told in (remark(d), *_of_nfu(d)) if told]


def _of_nfu(device: Any) -> list[str]:
    """What follows from an NFU's numbers, beside what has been published of it."""
    from hw.catalogue import published
    from hw.nfu.figures import figures
    from hw.units import Quantity, format

    if device.nfu is None:
        return []
    said = published(device.name)
    found = figures(device.nfu)

    def line(key: str, what: str, kind: Quantity) -> str:
        beside = f" (published: {said[key].text})" if key in said else ""
        return f"{key.replace('_', '-')} of the template{what}: {format(found[key], kind, digits=3)}{beside}"

    rates = ("operations", *(k for k in ("multiply_adds",) if k in said))
    return [
        *(line(key, " at full rate", Quantity.OPERATIONS_PER_SECOND) for key in rates),
        line("area", "", Quantity.SQUARE_METRES),
        line("power", " at full rate", Quantity.WATTS),
    ]


def _parts(entry: Any) -> list[dict[str, str]]:
    """What a system is made of, and what joins it; nothing for a device or a link."""
    from hw.system import HOST_PART, System
    from hw.units import Quantity, format

    if not isinstance(entry, System):
        return []

    def row(part: str, to: str, link: Any, count: int) -> dict[str, str]:
        rate = format(link.capacity * count, Quantity.BYTES_PER_SECOND, digits=3)
        return {"part": part, "is": what.get(part, ""), "joined_to": to, "by": f"{count} x {link.name}", "each_direction": rate}

    what = {name: g.device.name for g in entry.groups for name in g.names}
    found = []
    for part in dict.fromkeys(p for w in entry.wires for p in (w.a, w.b)):
        found += [row(part, w.b, w.link, w.count) for w in entry.wires if w.a == part]
    if entry.host and entry.host.device and entry.host.memory:
        what[HOST_PART] = f"{entry.host.sockets} x {entry.host.device.name}"
        found += [row(HOST_PART, p, entry.host.memory, 1) for p in entry.host.at]
    if entry.network:
        found += [row(p, "network", entry.network.link, entry.network.count) for p in entry.network.at]
    return found


def _quantity(row: Any) -> dict[str, Any]:
    """A number of the catalogue; its SI unit is in the key."""
    return {"quantity": row.quantity, f"value_{_UNITS[row.kind.value]}": row.value, "text": row.text, "source": row.source}


def _host(options: Options) -> int:
    from trainscape.host_profile import require
    from trainscape.report.tables import plain_table, seconds

    profile = require()
    rows = [(name, str(busy), f"{100 * fit.rms:.1f} %") for name, k in profile.kernels.items() for busy, fit in k.busy.items()]
    options.output.show(f"host: {profile.cores} cores of {profile.cpu}, calibrated {profile.created}")
    options.output.show(plain_table(("kernel", "busy cores", "residual (rms)"), rows))
    action, step = seconds(profile.action_overhead_s), seconds(profile.step_overhead_s)
    options.output.show(f"overhead of an action {action}, of a step {step}")
    body = {k: v for k, v in profile.to_json().items() if k not in ("rows", "schema")}
    options.output.emit(result(options.command, name="host", profile=body))
    return 0
