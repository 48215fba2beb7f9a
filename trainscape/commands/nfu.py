"""``trainscape nfu run | asm | disasm | accuracy | explore``"""

import click

from trainscape.commands.lazy import Lazy

COMMANDS = {
    "run": "Cycles, traffic, energy and values of layers.",
    "asm": "Assemble and check a program.",
    "disasm": "Write the program of a layer as text.",
    "accuracy": "What fixed point does to a net's answers.",
    "explore": "Time, energy and area of many designs.",
}


@click.group("nfu", cls=Lazy, commands=COMMANDS, modules="trainscape.commands.nfu_{}")
def command() -> None:
    """A DianNao-style NFU: what layers, models and programs take on it, and what it computes."""
