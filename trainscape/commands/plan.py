"""``trainscape plan FILE...``"""

from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded

if TYPE_CHECKING:
    from graph.parallel.plan import Role


@click.command("plan")
@files_argument
@click.option("--steps", type=click.IntRange(1, 100), default=1, show_default=True, help="Steps to write out.")
@common(scenario=True)
def command(options: Options, files: tuple[str, ...], steps: int) -> int:
    """Show the parallel plan of scenario FILEs: roles, buffers, and what the first rank of each role does in a step."""

    def work(loaded: Loaded, options: Options) -> dict[str, Any]:
        from graph.parallel.text import plan_text
        from trainscape.algorithms import words
        from trainscape.build import Built

        built = Built(loaded.scenario)
        plan = built.plan
        text = plan_text(plan, steps)
        options.output.show(text.rstrip())
        if said := words(loaded.scenario.system.algorithm, built.algorithms, built.kept_f32):
            options.output.show(f"algorithms: {said}")
        roles = [_role(r) for r in plan.roles]
        algorithms = dict(built.algorithms)
        ranks = [str(r) for r in plan.ranks]
        return {"plan": {"hash": plan.hash, "ranks": ranks, "roles": roles, "algorithms": algorithms, "text": text}}

    return each(options, files, work)


def _role(role: "Role") -> dict[str, Any]:
    buffers = {
        name: {"kind": str(b.kind), "slot_bytes": b.size * b.itemsize, "slots": b.slots, "values": list(b.values)}
        for name, b in role.buffers.items()
    }
    segments = {name: list(nodes) for name, nodes in role.segments.items()}
    return {"name": role.name, "program": role.program, "axes": dict(role.axes), "buffers": buffers, "segments": segments}
