"""``trainscape completion SHELL``"""

import click

from trainscape.commands.options import Options, common
from trainscape.report.json_document import result

_HOW = {
    "bash": 'eval "$(trainscape completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(trainscape completion zsh)"   # in ~/.zshrc',
    "fish": "trainscape completion fish > ~/.config/fish/completions/trainscape.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_HOW)))
@common(scenario=False)
def command(options: Options, shell: str) -> int:
    """Print a script that makes SHELL complete trainscape's commands and options."""
    from click.shell_completion import get_completion_class

    from trainscape.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "trainscape", "_TRAINSCAPE_COMPLETE")
    text = script.source_template % script.source_vars()
    if options.output.as_json:
        options.output.emit(result(options.command, shell=shell, script=text, install=_HOW[shell]))
    else:
        options.output.write(text)
        options.output.detail(_HOW[shell])
    return 0
