"""``trainscape nfu asm FILE``"""

from pathlib import Path

import click

from trainscape.commands.nfu_options import nfu_for
from trainscape.commands.options import Options, common
from trainscape.report.json_document import result


@click.command("asm")
@click.argument("file", metavar="FILE")
@click.option("--device", metavar="NAME", help="NFU of the catalogue that it must fit.  [default: diannao]")
@click.option("-o", "--output", "to", type=click.Path(path_type=Path, dir_okay=False), help="Write it in its plainest form.")
@common(scenario=True, own_device=True)
def command(options: Options, file: str, device: str | None, to: Path | None) -> int:
    """Assemble the program in FILE, check that the NFU can execute it, and count what it does.

    All mistakes of the text are reported, each as FILE:LINE:COLUMN. --set nfu.sb_rows=128 changes the NFU.
    """
    from hw.nfu.asm import disassemble
    from trainscape.nfu.figures import of_program
    from trainscape.nfu.listing import listing
    from trainscape.nfu.program import checked, write
    from trainscape.nfu.target import refuse_settings
    from trainscape.report.nfu import layers_table, listing_table

    name, nfu, others = nfu_for(options, device)
    refuse_settings(others, "a program")
    program = checked(file, nfu)
    found, row = listing(program, nfu), of_program(program, nfu, Path(file).name)
    options.output.show(listing_table(found))
    options.output.show(layers_table([row], f"{row['name']} on {name}"))
    if to is not None:
        write(to, disassemble(program))
        options.output.note(f"wrote {to}")
    options.output.emit(result(options.command, file=file, device=name, **found, layers=[row]))
    return 0
