"""A group of commands each of which is imported when it is used."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from graph.errors import nearest


class Lazy(click.Group):
    """A group whose commands are called ``command`` in modules of their own.

    Parameters
    ----------
    commands : name -> summary for the group's help.
    modules : the module of a command, its name standing for ``{}``.
    """

    def __init__(self, *args: Any, commands: Mapping[str, str], modules: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._summaries, self._modules = commands, modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries:
            return None
        command = import_module(self._modules.format(cmd_name)).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self._summaries:
            ctx.fail(f"no such command {args[0]!r}; {nearest(args[0], self._summaries)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))
