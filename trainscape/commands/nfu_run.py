"""``trainscape nfu run [LAYER|MODEL|FILE]``"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.nfu_options import Asked, asks, find
from trainscape.commands.options import Options, common
from trainscape.report.json_document import result

if TYPE_CHECKING:
    from hw.nfu.config import Nfu
    from trainscape.nfu.target import Target


@click.command("run")
@asks
@click.option("--schedule", metavar="KEY=N,...", help="Force it, e.g. rows=4,columns=8,order=synapses; else the fastest.")
@click.option("--values", "has_values", is_flag=True, help="Compute them bit by bit, for random numbers, beside float64.")
@click.option("--force", is_flag=True, help="Compute values even where that takes long.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write what happens when, as a Chrome trace.")
@common(scenario=True, own_device=True)
def command(options: Options, asked: Asked, schedule: str | None, has_values: bool, force: bool, trace: Path | None) -> int:
    """What layers take on an NFU: cycles, traffic, time, energy; with --values also what it computes.

    LAYER is one of DianNao's ten, such as CONV1, or benchmark for all of them. MODEL is one of the zoo; its inference layers are
    looked at. FILE is a scenario (.yaml), whose model is looked at, or a program (.nfu).

    --set nfu.tn=32 changes the NFU, --set nfu.arithmetic.rounding=floor its arithmetic, --set input=digits a model.

    Two figures stand beside each other: compulsory, each word moved once; scheduled, what instructions move through the buffers.
    """
    from trainscape.nfu import figures
    from trainscape.nfu.schedules import read_schedule
    from trainscape.report.nfu import layers_table, processor_line, totals_line

    target, device, nfu = find(options, asked)
    forced = None if schedule is None else read_schedule(schedule)
    if forced is not None and target.program is None and len(target.layers) != 1:
        raise click.UsageError(f"--schedule is of one layer, and {target.title} has {len(target.layers)}")
    if target.program is not None:
        if forced is not None:
            raise click.UsageError("--schedule is of layers: a program is one already")
        if has_values:
            raise click.UsageError("--values are of layers: a program does not say what its words are")
        rows = [figures.of_program(target.program, nfu, target.title)]
    else:
        rows = [figures.of_layer(layer, nfu, forced) for layer in target.layers]
    if has_values:
        _add_values(options, target, nfu, rows, forced, force)
    total = figures.totals(rows, target.processor, nfu)
    document: dict[str, Any] = result(
        options.command, target=target.title, kind=target.kind, device=device, nfu=_nfu_document(nfu),
        model=None if target.model is None else target.model.model_dump(mode="json"),
        layers=rows, processor=list(target.processor), totals=total,
    )  # fmt: skip
    options.output.show(layers_table(rows, f"{target.title} on {device}"))
    for line in (processor_line(target.processor), totals_line(rows, total)):
        if line:
            options.output.show(line)
    if has_values:
        _show_values(options, rows)
    if target.kind == "benchmark":
        _against_simd(options, document, target, nfu)
    if trace is not None:
        _trace(options, target, nfu, rows, trace)
    options.output.emit(document)
    return 0


def _nfu_document(nfu: "Nfu") -> dict[str, Any]:
    from trainscape.nfu.config import document

    return document(nfu)


def _add_values(options: Options, target: "Target", nfu: "Nfu", rows: list[dict[str, Any]], forced: Any, is_forced: bool) -> None:
    from trainscape.nfu.values import refuse, values

    if not is_forced:
        for layer in target.layers:
            refuse(layer)
    with options.output.progress() as bars:
        task = bars.add_task("values", total=len(rows))
        for layer, row in zip(target.layers, rows, strict=True):
            bars.update(task, description=f"values of {layer.name}")
            row["values"] = values(layer, nfu, forced, options.seed or 0)
            bars.advance(task)


def _show_values(options: Options, rows: list[dict[str, Any]]) -> None:
    from trainscape.report.nfu import VALUES, values_table

    options.output.show(values_table(rows))
    options.output.note(VALUES)


def _against_simd(options: Options, document: dict[str, Any], target: "Target", nfu: "Nfu") -> None:
    from trainscape.nfu.baseline import against
    from trainscape.report.nfu import baseline_sentence, baseline_table

    document["simd"] = found = against(target.layers, nfu)
    options.output.show(baseline_table(found))
    options.output.show(baseline_sentence(found))


def _trace(options: Options, target: "Target", nfu: "Nfu", rows: list[dict[str, Any]], path: Path) -> None:
    from trainscape.nfu.trace import write_trace

    write_trace(path, target, nfu, [row["scheduled"]["schedule"] for row in rows])
    options.output.note(f"wrote {path}; open it in ui.perfetto.dev")
