"""``trainscape check FILE...``"""

from collections.abc import Mapping
from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded


@click.command("check")
@files_argument
@click.option("--sensitivity", "is_sensitive", is_flag=True, help="Change every number by 10 % and say what comes of it.")
@common(scenario=True)
def command(options: Options, files: tuple[str, ...], is_sensitive: bool) -> int:
    """Check scenario FILEs: every mistake with its line and column, then the plan: no deadlock, every gradient once, it fits."""

    def work(loaded: Loaded, options: Options) -> dict[str, Any]:
        document = _check(loaded, options)
        return {**document, "sensitivity": _sensitivity(loaded, options)} if is_sensitive else document

    return each(options, files, work)


def _check(loaded: Loaded, options: Options) -> dict[str, Any]:
    from trainscape.build import Built
    from trainscape.proof import prove
    from trainscape.report.comparison import differs

    s = loaded.scenario
    built = Built(s)
    proof = prove(built)
    ranks = f"{s.parallel.ranks} rank{'s' if s.parallel.ranks > 1 else ''}"
    where = f"{s.system.name}, {s.system.platform}" if s.system.platform else s.system.name
    options.output.show(
        f"{loaded.file}: ok ({s.model.name}, batch {s.model.batch}, {ranks} on {where}{_asked(s.system.algorithm)})"
    )
    if proof["actions"]:
        options.output.detail(
            f"plan proved over {proof['steps']} steps: {proof['actions']} actions, no deadlock, every gradient once"
        )
    else:
        options.output.note(f"the plan of {s.parallel.ranks} ranks was not played: its programs are those of a smaller one")
    if built.differs:
        options.output.note(differs(built.differs))
    return {"ok": True, "warnings": list(loaded.warnings), "proof": proof, "differs": built.differs or None}


def _asked(algorithm: str | Mapping[str, str] | None) -> str:
    if algorithm is None or isinstance(algorithm, str):
        return f", algorithm {algorithm}" if algorithm else ""
    return f", {', '.join(f'{op} by {name}' for op, name in algorithm.items())}"


def _sensitivity(loaded: Loaded, options: Options) -> list[dict[str, Any]]:
    from trainscape.report.sensitivity import effects_table, reasons_table
    from trainscape.sensitivity import sensitivity

    with options.output.progress() as bars:
        task = bars.add_task("changing numbers", total=None)
        effects = sensitivity(loaded.scenario, on_number=lambda key: bars.update(task, description=key, advance=1))
    documents = [e.document() for e in effects]
    title = f"{loaded.scenario.name}: what changing a number by 10 % changes"
    options.output.show(effects_table(documents, title))
    if any(not d["has_effect"] for d in documents):
        options.output.show(reasons_table(documents, "Numbers without effect, and why"))
    return documents
