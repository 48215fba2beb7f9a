"""``trainscape predict FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded

_DETAILS = ("flow", "message", "closed-form")


@click.command("predict")
@files_argument
@click.option("--detail", type=click.Choice(_DETAILS), default="flow", show_default=True, help="Of the network.")
@common(scenario=True, writes=True)
def command(options: Options, files: tuple[str, ...], detail: str) -> int:
    """Predict a training step of scenario FILEs: time, traffic, memory. With --out also a trace, a picture and a report."""

    def work(loaded: Loaded, options: Options) -> dict[str, Any]:
        from trainscape.build import Built
        from trainscape.predict import predict
        from trainscape.report.tables import comparison_table, plain_table, prediction_rows
        from trainscape.results import enforce, prediction_run, with_expectations

        run = prediction_run(predict(Built(loaded.scenario), detail=detail))
        document = with_expectations(loaded, run.document, options)
        title = f"{loaded.scenario.name}: {run.title}"
        options.output.show(plain_table(("", ""), prediction_rows(document["predicted"]), title=title, is_headed=False))
        options.output.show(comparison_table(document, ""))
        if options.out is not None:
            document = options.publish(loaded, title, document, [run])
        enforce(document)
        return document

    return each(options, files, work)
