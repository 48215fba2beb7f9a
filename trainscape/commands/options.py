"""What every subcommand has in common: its options, and the loop over scenario files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from graph.record import record
from trainscape.cross_check import NO_FOLDER
from trainscape.errors import OutsideTolerance, ScenarioError, TrainscapeError
from trainscape.exit_codes import ExitCode, classify, error_document, message
from trainscape.load import Loaded, load
from trainscape.output import Output
from trainscape.overrides import is_assignment
from trainscape.report.json_document import SCHEMA, result

if TYPE_CHECKING:
    from trainscape.report.run import Run
    from trainscape.report.run_folder import RunFolder

F = TypeVar("F", bound=Callable[..., Any])
DEVICES = ("cpu", "cuda")
PLATFORM = "system.platform"
"""What ``--device`` changes in a scenario."""


@record
class Options:
    """The common options.

    Parameters
    ----------
    command : full name, e.g. ``"hw list"``.
    output : where to write.
    overrides : of ``--set``.
    seed : of ``--seed``.
    device : of ``--device``, for commands that read no scenario; None: not said.
    out : of ``--out``.
    is_one_of_many : several files are worked on.
    """

    command: str
    output: Output
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    device: str | None = None
    out: Path | None = None
    is_one_of_many: bool = False

    def head(self, loaded: Loaded) -> dict[str, Any]:
        """What every result document of a scenario begins with."""
        s = loaded.scenario
        return result(self.command, file=loaded.file, scenario=s.name, scenario_hash=s.hash, settings=s.settings())

    def folder(self, loaded: Loaded) -> Path:
        """The scenario's run folder: ``--out``, in it a folder a scenario when there are several, or ``runs/<name>``."""
        if self.out is None:
            return Path("runs") / loaded.scenario.name
        return self.out / loaded.scenario.name if self.is_one_of_many else self.out

    def run_folder(self, loaded: Loaded) -> "RunFolder":
        """A fresh run folder; a run that is there is moved aside."""
        from trainscape.report.run_folder import RunFolder

        return RunFolder.create(self.folder(loaded), command=self.command, settings=loaded.scenario.settings())

    def publish(
        self, loaded: Loaded, title: str, document: dict[str, Any], runs: "Sequence[Run]", *, folder: "RunFolder | None" = None
    ) -> dict[str, Any]:
        """Write the files of a run folder (a fresh one by default), say so, and return the document with its place."""
        from trainscape.report.publication import publish

        folder = folder or self.run_folder(loaded)
        document = {**document, "out": str(folder.path)}
        publish(folder, title, self.head(loaded) | document, runs)
        self.output.note(f"wrote {folder.path}/")
        return document


def _assignments(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for text in values:
        if not is_assignment(text):
            raise click.BadParameter(f"{text!r} is not of the form key=value, e.g. model.width=2")
    return values


def _options(*, scenario: bool, device: bool | None, writes: str) -> tuple[Callable[[Any], Any], ...]:
    """The options in the order of the help text; those without effect are hidden. `device` None: there is no ``--device``."""
    where = click.option("--device", "where", type=click.Choice(DEVICES), hidden=not device, help="Run on processor or GPU.")
    setting = "Change a setting, e.g. model.width=2; repeatable."
    overrides: dict[str, Any] = {"metavar": "KEY=VALUE", "multiple": True, "callback": _assignments, "help": setting}
    return (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but results, warnings and errors."),
        click.option("-v", "--verbose", count=True, help="Say more."),
        click.option("--set", "overrides", hidden=not scenario, **overrides),
        click.option("--seed", type=click.IntRange(min=0), hidden=not scenario, help="Replace the scenario's seed."),
        *(() if device is None else (where,)),
        click.option("--out", type=click.Path(path_type=Path), hidden=not writes, help=writes),
    )


def common(*, scenario: bool, device: bool = False, own_device: bool = False, writes: bool | str = False) -> Callable[[F], F]:
    """Decorator: the common options, handed over as one `Options`.

    Parameters
    ----------
    scenario : the command reads scenarios; ``--set``, ``--seed`` and ``--device`` change them.
    device : the command reads none, but asks whether the processor or the GPU of this computer is meant.
    own_device : ``--device`` means something else there.
    writes : the command can write a run folder, which ``--out`` names; or what else is written there, in words for the help.

    All commands take all options, so that scripts can pass one set to every one; where one has no effect, that is said.
    """

    def decorate(f: F) -> F:
        @wraps(f)
        def run(*, overrides: tuple[str, ...], seed: int | None, out: Path | None, **rest: Any) -> Any:
            quiet, verbose, where = rest.pop("quiet"), rest.pop("verbose"), rest.pop("where", None)
            output = Output(as_json=rest.pop("as_json"), verbosity=-1 if quiet else verbose)
            command = " ".join(click.get_current_context().command_path.split()[1:])
            idle = [] if scenario else [("--set", bool(overrides)), ("--seed", seed is not None)]
            idle += [] if scenario or device else [("--device", where is not None)]
            for name, is_given in [*idle, ("--out", out is not None and not writes)]:
                if is_given:
                    output.note(f"note: {name} has no effect on {command!r}")
            if scenario and where is not None:
                overrides = (*overrides, f"{PLATFORM}={where}")
            return f(Options(command=command, output=output, overrides=overrides, seed=seed, device=where, out=out), **rest)

        decorated: Any = run
        said = writes if isinstance(writes, str) else "Run folder to write." if writes else ""
        for option in reversed(_options(scenario=scenario, device=None if own_device else scenario or device, writes=said)):
            decorated = option(decorated)
        return cast(F, decorated)

    return decorate


def files_argument(f: F) -> F:
    """Decorator: one or more scenario files."""
    return click.argument("files", metavar="FILE...", nargs=-1, required=True, type=str)(f)


Work = Callable[[Loaded, Options], dict[str, Any]]


def each(options: Options, files: Sequence[str], work: Work) -> ExitCode:
    """Load every file, do the command's work with it, and write one document for all.

    One file that fails does not keep the others from being looked at; the first failure gives the exit code.
    """
    options = replace(options, is_one_of_many=len(files) > 1)
    documents: list[dict[str, Any]] = []
    code = ExitCode.OK
    for file in files:
        document, this = _one(options, file, work)
        documents.append(document)
        code = code or this
    if len(documents) == 1:
        options.output.emit(documents[0])
    else:
        options.output.emit({"schema": SCHEMA, "command": options.command, "results": documents})
    return code


def _one(options: Options, file: str, work: Work) -> tuple[dict[str, Any], ExitCode]:
    head, loaded = result(options.command, file=file), None
    try:
        loaded = load(file, options.overrides, options.seed)
        head = options.head(loaded)
        for text in loaded.warnings:
            if options.command == "train" and text.startswith(NO_FOLDER):
                continue  # it is about to be refused, in more words
            options.output.warning(f"{file}: {text}")
        return head | work(loaded, options), ExitCode.OK
    except OutsideTolerance as e:
        options.output.error(f"{file}: {e}")
        return head | dict(e.document or {}), ExitCode.OUTSIDE_TOLERANCE
    except Exception as e:
        code = classify(e)
        if code is ExitCode.INTERNAL and not isinstance(e, TrainscapeError):
            raise
        is_bare = code is ExitCode.INFEASIBLE and not isinstance(e, ScenarioError | MemoryError)
        error = loaded.infeasible(str(e)) if is_bare and loaded is not None else e
        options.output.error(describe(error))
        return head | {"error": error_document(error, code)}, code


def describe(error: BaseException) -> str:
    """An error as it is printed; mistakes of a file say themselves that they are errors."""
    text = message(error)
    return text if hasattr(error, "mistakes") else f"error: {text}"
