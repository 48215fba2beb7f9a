"""``trainscape validate FILE...`` and ``trainscape validate --published``"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.options import Options, common, each
from trainscape.exit_codes import ExitCode
from trainscape.load import Loaded
from trainscape.report.json_document import result

if TYPE_CHECKING:
    from trainscape.build import Built


@click.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option("--published", "is_published", is_flag=True, help="Hold predictions against published tables; takes no FILE.")
@click.option("--only", metavar="NAME", help="With --published: one source, e.g. krizhevsky_2014.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True),
    help="Of scenarios that train nothing: take the parameters of a checkpoint, or of a run folder's newest.",
)
@common(scenario=True, writes=True)
def command(options: Options, files: tuple[str, ...], is_published: bool, only: str | None, checkpoint: Path | None) -> int:
    """Predict scenario FILEs, then run them for real on this computer, and compare step and kinds of actions.

    Scenarios on NFUs are emulated, not measured: values bit by bit, time instruction by instruction.

    Writes runs/<name>/ (or --out). Ends with 0 only when the verdict is ok; with 4 when it is outside or inconclusive.

    With --published, predict the rows of published tables instead, and score the predictions; ends with 4 when a bar is missed.
    Nothing is run or written.
    """
    if is_published:
        if files or checkpoint is not None:
            raise click.UsageError("--published takes no FILE, and no --checkpoint")
        return _published(options, only)
    if only is not None:
        raise click.UsageError("--only goes with --published")
    if not files:
        raise click.UsageError("Missing argument 'FILE...'.")
    return each(options, files, lambda loaded, options: _validate(loaded, options, checkpoint))


def _published(options: Options, only: str | None) -> ExitCode:
    from trainscape.published import TABLES, scores
    from trainscape.report.published import HEADER, cells, constant_lines, verdict
    from trainscape.report.tables import plain_table

    if only is not None and only not in TABLES:
        raise click.BadParameter(f"{only!r} is no published table; choose {', '.join(TABLES)}", param_hint="--only")
    found = []
    for score in scores(only):
        options.output.note(f"{score.table.name}, {score.table.what}, by {score.predictor}: {len(score.scored)} rows")
        found.append(score)
    options.output.show(plain_table(HEADER, [cells(s) for s in found]))
    options.output.show("Errors of scaling are points of efficiency. In brackets: a predictor that the bar is not for.")
    for line in constant_lines(found):
        options.output.show(line)
    missed = verdict(found)
    for line in missed:
        options.output.error(line)
    options.output.emit(result(options.command, tables=[s.document() for s in found], missed=missed))
    return ExitCode.OUTSIDE_TOLERANCE if missed else ExitCode.OK


def _validate(loaded: Loaded, options: Options, checkpoint: Path | None) -> dict[str, Any]:
    from trainscape.build import Built
    from trainscape.results import require_runnable

    built = Built(loaded.scenario)
    require_runnable(built)
    return (_emulated if built.is_emulated else _measured)(built, loaded, options, checkpoint)


def _measured(built: "Built", loaded: Loaded, options: Options, checkpoint: Path | None) -> dict[str, Any]:
    from trainscape.progress import progress
    from trainscape.report.markdown import error_sentence
    from trainscape.report.tables import comparison_table
    from trainscape.results import enforce, validation_run, with_expectations
    from trainscape.validate import check, validate

    check(built, checkpoint, loaded.data_folder)
    folder = options.run_folder(loaded)
    with progress(options.output, loaded.scenario.name) as shown:
        validation = validate(built, data=loaded.data_folder, saved=checkpoint, instruments=[shown])
    run = validation_run(validation)
    document = with_expectations(loaded, run.document, options)
    title = f"{loaded.scenario.name}: {run.title}"
    options.output.show(comparison_table(document, title))
    options.output.show(error_sentence(document))
    document = options.publish(loaded, title, document, [run], folder=folder)
    enforce(document)
    return document


def _emulated(built: "Built", loaded: Loaded, options: Options, checkpoint: Path | None) -> dict[str, Any]:
    from trainscape.emulate import emulate
    from trainscape.progress import progress
    from trainscape.report.emulation import sentences, value_cells
    from trainscape.report.tables import comparison_table, plain_table
    from trainscape.results import emulation_run, enforce, with_expectations

    with progress(options.output, loaded.scenario.name) as shown:
        emulation = emulate(built, data=loaded.data_folder, saved=checkpoint, instruments=[shown])
    run = emulation_run(emulation)
    document = with_expectations(loaded, run.document, options)
    title = f"{loaded.scenario.name}: {run.title}"
    options.output.show(comparison_table(document, title))
    options.output.show(plain_table(*value_cells(document)))
    for line in sentences(document):
        options.output.show(line)
    document = options.publish(loaded, title, document, [run])
    enforce(document)
    return document
