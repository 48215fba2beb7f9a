"""``trainscape schema``"""

import click

from trainscape.commands.options import Options, common


@click.command("schema")
@common(scenario=False)
def command(options: Options) -> int:
    """Print the JSON Schema of scenario files, for completion and checks in editors.

    The copy in the package, trainscape/scenario.schema.json, is made by this command.
    """
    from trainscape.schema import schema, schema_text

    if options.output.as_json:
        options.output.emit(schema())
    else:
        options.output.write(schema_text())
    return 0
