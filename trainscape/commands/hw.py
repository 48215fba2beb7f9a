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
    rows = [(HOST, "system", f"this computer ({here.status}: {here.text})")]
    rows += [(n, kind.value, load(n).title) for kind in (Kind.SYSTEM, Kind.DEVICE, Kind.LINK) for n in names(kind)]
    options.output.show(plain_table(("name", "kind", "what it is"), rows))
    options.output.emit(result(options.command, entries=[{"name": n, "kind": k, "title": t} for n, k, t in rows]))
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
    quantities = [_quantity(r) for r in rows]
    options.output.emit(result(options.command, name=name, title=entry.title, quantities=quantities, parts=parts))
    return 0


def _parts(entry: Any) -> list[dict[str, str]]:
    """What a system is made of, and what joins it; nothing for a device or a link."""
    from hw.system import System
    from hw.units import Quantity, format

    if not isinstance(entry, System):
        return []
    found = []
    for part in dict.fromkeys(p for w in entry.wires for p in (w.a, w.b)):
        for w in entry.wires:
            if w.a == part:
                rate = format(w.capacity, Quantity.BYTES_PER_SECOND, digits=3)
                is_a = entry.device.name if part in entry.local else ""
                found.append(
                    {"part": part, "is": is_a, "joined_to": w.b, "by": f"{w.count} x {w.link.name}", "each_direction": rate}
                )
    if entry.network:
        n = entry.network
        rate = format(n.link.capacity * n.count, Quantity.BYTES_PER_SECOND, digits=3)
        by = f"{n.count} x {n.link.name}"
        found += [{"part": p, "is": "", "joined_to": "network", "by": by, "each_direction": rate} for p in n.at]
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
