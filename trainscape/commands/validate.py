"""``trainscape validate FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded


@click.command("validate")
@files_argument
@common(scenario=True, writes=True)
def command(options: Options, files: tuple[str, ...]) -> int:
    """Predict scenario FILEs on this computer, then train for real, and compare step and kinds of actions.

    Writes runs/<name>/ (or --out). Ends with 0 only when the verdict is ok; with 4 when it is outside or inconclusive.
    """
    return each(options, files, _validate)


def _validate(loaded: Loaded, options: Options) -> dict[str, Any]:
    from trainscape.build import Built
    from trainscape.progress import progress
    from trainscape.report.markdown import error_sentence
    from trainscape.report.tables import comparison_table
    from trainscape.results import enforce, require_host, validation_run, with_expectations
    from trainscape.validate import validate

    built = Built(loaded.scenario)
    require_host(built)
    folder = options.run_folder(loaded)
    with progress(options.output, loaded.scenario.name) as shown:
        validation = validate(built, data=loaded.data_folder, instruments=[shown])
    run = validation_run(validation)
    document = with_expectations(loaded, run.document, options)
    title = f"{loaded.scenario.name}: {run.title}"
    options.output.show(comparison_table(document, title))
    options.output.show(error_sentence(document))
    document = options.publish(loaded, title, document, [run], folder=folder)
    enforce(document)
    return document
