"""``trainscape check FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded


@click.command("check")
@files_argument
@common(scenario=True)
def command(options: Options, files: tuple[str, ...]) -> int:
    """Check scenario FILEs: every mistake with its line and column, then the plan: no deadlock, every gradient once, it fits."""
    return each(options, files, _check)


def _check(loaded: Loaded, options: Options) -> dict[str, Any]:
    from trainscape.build import Built
    from trainscape.proof import prove

    s = loaded.scenario
    proof = prove(Built(s))
    ranks = f"{s.parallel.ranks} rank{'s' if s.parallel.ranks > 1 else ''}"
    options.output.show(f"{loaded.file}: ok ({s.model.name}, batch {s.model.batch}, {ranks} on {s.system.name})")
    if proof["actions"]:
        options.output.detail(
            f"plan proved over {proof['steps']} steps: {proof['actions']} actions, no deadlock, every gradient once"
        )
    else:
        options.output.note(f"the plan of {s.parallel.ranks} ranks was not played: its programs are those of a smaller one")
    return {"ok": True, "warnings": list(loaded.warnings), "proof": proof}
