"""The command line: the group, and the one place where errors become exit codes. Commands are imported when they are used."""

import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from trainscape.commands.lazy import Lazy
from trainscape.errors import TrainscapeError
from trainscape.exit_codes import ExitCode, classify, error_document
from trainscape.output import Output, StdoutLost

_COMMANDS = {
    "check": "Check scenario files; report every mistake.",
    "plan": "Show who computes, sends and waits, in which order.",
    "predict": "Predict time, memory and traffic of a step.",
    "compare": "Rank parallel strategies by time, traffic, cost.",
    "train": "Train for real, with real worker processes.",
    "validate": "Predict and measure; compare action by action.",
    "demo": "A tour: train, predict, compare, in one command.",
    "model": "List and show models of the zoo.",
    "hw": "List and show systems, devices and links.",
    "kernels": "List kernels; compile those of CUDA.",
    "nfu": "Time, energy and values on a DianNao-style NFU.",
    "calibrate": "Measure this computer's kernels and memory.",
    "doctor": "What this computer has, and what is missing.",
    "completion": "Print a completion script for a shell.",
    "schema": "Print the JSON Schema of scenario files.",
}


@click.group(
    cls=Lazy,
    commands=_COMMANDS,
    modules="trainscape.commands.{}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="trainscape", message="%(prog)s %(version)s")
def cli() -> None:
    """Train neural networks for real, predict them on hardware you do not have, and hold the two against each other.

    Exit codes: 0 ok, 2 usage, 3 invalid input, 4 outside tolerance, 5 infeasible, 6 missing capability, 7 distributed failure,
    130 interrupted, 1 internal error.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are printed here, and with ``--json`` also written as a document."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(args, prog_name="trainscape", standalone_mode=False)
        Output().flush()
        return int(code) if isinstance(code, int) else int(ExitCode.OK)
    except (Exception, KeyboardInterrupt) as e:
        if arguments is None and classify(e) is ExitCode.INTERRUPTED:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process is about to end: more of them would only garble its words
        return int(_fail(e, args))


def _fail(error: BaseException, args: Sequence[str]) -> ExitCode:
    """Tell the user, and return the exit code."""
    code = classify(error)
    output = Output(as_json="--json" in args)
    document = dict(error_document(error, code))
    if code is ExitCode.INTERNAL and not isinstance(error, TrainscapeError):
        path = _save_traceback(error, args)
        document["traceback_file"] = path
        output.error(f"internal error: {type(error).__name__}: {error}\nThis is a defect of trainscape. Traceback: {path}")
    elif isinstance(error, StdoutLost):
        if not error.is_unread:
            output.error(f"error: {error}")
        return code
    elif type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2
        output.error(document["message"])
    elif isinstance(error, click.UsageError):
        if error.ctx is not None:
            output.error(error.ctx.get_usage())
            output.error(f"Try '{error.ctx.command_path} --help'.")
        output.error(f"error: {error.format_message()}")
    elif code is not ExitCode.INTERRUPTED or str(error):
        output.error(str(error) if hasattr(error, "mistakes") else f"error: {document['message']}")
    else:
        output.error("interrupted")
    from trainscape.report.json_document import SCHEMA

    with suppress(StdoutLost):  # the error itself has been told
        output.emit({"schema": SCHEMA, "command": _command(args), "error": document})
    return code


def _command(args: Sequence[str]) -> str | None:
    return next((a for a in args if a in _COMMANDS), None)


def _save_traceback(error: BaseException, args: Sequence[str]) -> str:
    """Write the traceback to a file of its own and return the file's path."""
    with tempfile.NamedTemporaryFile("w", prefix="trainscape-error-", suffix=".txt", delete=False, encoding="utf-8") as f:
        f.write(f"trainscape {' '.join(args)}\n\n")
        f.writelines(traceback.format_exception(error))
        return f.name
