"""``trainscape predict FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each, files_argument
from trainscape.load import Loaded

_DETAILS = ("flow", "message", "closed-form")


@click.command("predict")
@files_argument
@click.option("--detail", type=click.Choice(_DETAILS), default="flow", show_default=True, help="Of the network.")
@click.option("--explain", "is_explained", is_flag=True, help="Also the chain of formulas, with this scenario's numbers.")
@common(scenario=True, writes=True)
def command(options: Options, files: tuple[str, ...], detail: str, is_explained: bool) -> int:
    """Predict a training step of scenario FILEs: time, traffic, memory. With --out also a trace, a picture and a report."""

    def work(loaded: Loaded, options: Options) -> dict[str, Any]:
        from trainscape.build import Built
        from trainscape.predict import predict
        from trainscape.report.tables import comparison_table, plain_table, prediction_rows
        from trainscape.results import enforce, prediction_run, with_expectations

        prediction = predict(Built(loaded.scenario), detail=detail)
        run = prediction_run(prediction)
        document = with_expectations(loaded, run.document, options)
        title = f"{loaded.scenario.name}: {run.title}"
        options.output.show(plain_table(("", ""), prediction_rows(document["predicted"]), title=title, is_headed=False))
        options.output.show(comparison_table(document, ""))
        if is_explained:
            from trainscape.explain import explain
            from trainscape.report.explanation_text import explanation_text

            sections = explain(prediction)
            document["explanation"] = [s.document() for s in sections]
            for part in explanation_text(sections):
                options.output.show(part)
        if options.out is not None:
            document = options.publish(loaded, title, document, [run])
        enforce(document)
        return document

    return each(options, files, work)
