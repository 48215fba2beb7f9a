"""``trainscape check FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded


@click.command("check")
@files_argument
@common(scenario=True)
def command(options: Options, files: tuple[str, ...]) -> int:
    """Check scenario FILEs and report every mistake, with its line and column."""
    return each(options, files, _check)


def _check(loaded: Loaded, options: Options) -> dict[str, Any]:
    s = loaded.scenario
    ranks = f"{s.parallel.ranks} rank{'s' if s.parallel.ranks > 1 else ''}"
    options.output.show(f"{loaded.file}: ok ({s.model.name}, batch {s.model.batch}, {ranks} on {s.system.name})")
    return {"ok": True, "warnings": list(loaded.warnings)}
