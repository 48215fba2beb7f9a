"""Exit codes, and the one place that says which error ends in which."""

import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click

from trainscape.errors import MissingCapability, OutsideTolerance, RunFolderError, ScenarioError, TimedOut


class ExitCode(IntEnum):
    """What the command line returns; the name in lower case is the `kind` of a JSON error."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INVALID_INPUT = 3
    OUTSIDE_TOLERANCE = 4
    INFEASIBLE = 5
    MISSING_CAPABILITY = 6
    DISTRIBUTED_FAILURE = 7
    INTERRUPTED = 130


# Errors of packages that a command may never have imported are found by name among the modules that are loaded: importing
# `runtime` only to ask whether an error is one of its own would cost every command a second. The first match counts.
_BY_NAME: tuple[tuple[str, str, ExitCode], ...] = (
    ("runtime.errors", "Interrupted", ExitCode.INTERRUPTED),
    ("runtime.errors", "DistributedFailure", ExitCode.DISTRIBUTED_FAILURE),
    ("runtime.errors", "StepFailed", ExitCode.DISTRIBUTED_FAILURE),
    ("runtime.errors", "MissingCapability", ExitCode.MISSING_CAPABILITY),
    ("runtime.errors", "DataError", ExitCode.INVALID_INPUT),
    ("runtime.errors", "CheckpointError", ExitCode.INVALID_INPUT),
    ("runtime.errors", "InvalidJob", ExitCode.INVALID_INPUT),
    ("runtime.errors", "RunError", ExitCode.DISTRIBUTED_FAILURE),  # what is left: a process that compiles kernels has died
    ("hw.errors", "StaleProfile", ExitCode.MISSING_CAPABILITY),
    ("hw.errors", "HwError", ExitCode.INFEASIBLE),
    ("sim.errors", "SimError", ExitCode.INFEASIBLE),
    ("graph.errors", "InvalidPlan", ExitCode.INFEASIBLE),
    ("graph.errors", "GraphError", ExitCode.INVALID_INPUT),
)


def classify(error: BaseException) -> ExitCode:
    """The exit code that an error ends in; `ExitCode.INTERNAL` for one that nobody raised on purpose."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE
    if isinstance(error, ScenarioError):
        return ExitCode.INFEASIBLE if error.is_infeasible else ExitCode.INVALID_INPUT
    if isinstance(error, OutsideTolerance):
        return ExitCode.OUTSIDE_TOLERANCE
    if isinstance(error, MissingCapability):
        return ExitCode.MISSING_CAPABILITY
    if isinstance(error, TimedOut):
        return ExitCode.DISTRIBUTED_FAILURE
    if isinstance(error, RunFolderError):
        return ExitCode.INVALID_INPUT
    if isinstance(error, MemoryError):
        return ExitCode.INFEASIBLE
    for module, name, code in _BY_NAME:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return code
    return ExitCode.INTERNAL


def message(error: BaseException) -> str:
    """What an error says, in words for the user."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return str(error) or type(error).__name__


def error_document(error: BaseException, code: ExitCode) -> Mapping[str, Any]:
    """The error as plain data for a JSON document: code, kind, message, and what the error knows besides."""
    found: dict[str, Any] = {"code": int(code), "kind": code.name.lower(), "message": message(error)}
    if isinstance(error, ScenarioError):
        keys = ("place", "path", "message", "line", "column", "kind")
        found["mistakes"] = [{k: getattr(m, k) for k in keys} for m in error.mistakes]
    for name in ("rank", "step", "checkpoint"):
        value = getattr(error, name, None)
        if value is not None:
            found[name] = value if isinstance(value, int) else str(value)
    return found
