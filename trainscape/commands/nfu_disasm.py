"""``trainscape nfu disasm [LAYER]``"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainscape.commands.nfu_options import Asked, asks, find
from trainscape.commands.options import Options, common
from trainscape.report.json_document import result

if TYPE_CHECKING:
    from hw.nfu.layer import Layer


@click.command("disasm")
@asks
@click.option("--schedule", metavar="KEY=N,...", help="Force it, e.g. rows=4,columns=8,order=synapses; else the fastest.")
@click.option("--layer", "wanted", metavar="NAME", help="Of a model or a scenario, which one.")
@click.option("-o", "--output", "to", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file, e.g. class1.nfu.")
@common(scenario=True, own_device=True)
def command(options: Options, asked: Asked, schedule: str | None, wanted: str | None, to: Path | None) -> int:
    """Write the program of a layer as text, which nfu asm and nfu run read back."""
    from hw.nfu.asm import disassemble
    from hw.nfu.nest import Schedule
    from hw.nfu.schedule import best
    from trainscape.nfu.figures import schedule_document
    from trainscape.nfu.program import text_of, write
    from trainscape.nfu.schedules import read_schedule

    found, device, nfu = find(options, asked)
    forced = None if schedule is None else read_schedule(schedule)
    if found.program is not None:
        if forced is not None or wanted is not None:
            raise click.UsageError(f"{'--schedule' if wanted is None else '--layer'} means nothing for a program")
        text, document = disassemble(found.program), None
    else:
        layer = _one(found.layers, wanted, found.title)
        chosen: Schedule = forced or best(layer, nfu).schedule
        text, document = text_of(layer, nfu, chosen), schedule_document(chosen)
    if to is not None:
        write(to, text)
        options.output.note(f"wrote {to}")
    elif not options.output.as_json:
        options.output.write(text)
    options.output.emit(result(options.command, target=found.title, device=device, schedule=document, program=text))
    return 0


def _one(layers: "Sequence[Layer]", wanted: str | None, title: str) -> "Layer":
    """The layer that is named, or the only one."""
    from graph.errors import nearest

    names = {layer.name: layer for layer in layers}
    if wanted is None and len(layers) == 1:
        return layers[0]
    if wanted is None:
        raise click.UsageError(f"{title} has {len(layers)} layers; say which one with --layer: {', '.join(names)}")
    if wanted not in names:
        raise click.BadParameter(f"{title} has no layer {wanted!r}; {nearest(wanted, names)}", param_hint="--layer")
    return names[wanted]
