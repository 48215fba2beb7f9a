"""``trainscape model list | show NAME``"""

import click

from trainscape.commands.options import Options, common
from trainscape.report.json_document import result


@click.group("model")
def command() -> None:
    """Models of the zoo."""


@command.command("list")
@common(scenario=False)
def list_(options: Options) -> int:
    """List the models: nets, then single layers, which are for inference alone."""
    from trainscape.models import list_models, model_rows
    from trainscape.report.tables import plain_table

    models = list_models()
    for title, made, trains in (("nets", "classes", True), ("single layers, for inference", "maps", False)):
        rows = model_rows([m for m in models if m["trains"] is trains])
        options.output.show(plain_table(("model", "image", made, "parameters", "macs", "what it is"), rows, title=title))
    options.output.emit(result(options.command, models=models))
    return 0


@command.command("show")
@click.argument("name")
@common(scenario=True)
def show(options: Options, name: str) -> int:
    """Show the layers of model NAME for the images it was published for; --set input=digits or --set width=2 change that."""
    from trainscape.models import layer_rows, show_model
    from trainscape.names import one_of
    from trainscape.report.tables import nbytes, plain_table

    try:
        one_of("model", "trainscape model list")(name)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="NAME") from None
    document = show_model(name, options.overrides, options.seed)
    options.output.show(plain_table(("layer", "operators", "output", "parameters", "macs"), layer_rows(document)))
    options.output.show(
        f"{document['parameters']:,} parameters; per sample {document['forward_macs_per_sample']:,} multiply-adds forward, "
        f"{nbytes(document['activation_bytes_per_sample'])} of activations"
    )
    options.output.emit(result(options.command, **document))
    return 0
