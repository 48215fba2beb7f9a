"""A stream that was recorded while it ran, played again: how the imperative tape is a plan of one rank."""

from collections.abc import Generator
from typing import Any

from graph.parallel.plan import Instruction, Plan, Role


def recorded(plan: Plan, role: Role, *, tape: tuple[Instruction, ...]) -> Generator[Instruction, Any, None]:
    """The instructions as they were recorded."""
    yield from tape
