"""``trainscape train FILE...``"""

from typing import Any

import click

from trainscape.commands.options import Options, common, each
from trainscape.load import Loaded


@click.command("train")
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option(
    "--resume",
    metavar="[PATH]",
    is_flag=False,
    flag_value="auto",
    default=None,
    help="Go on from a checkpoint: a file, a run folder, or auto (the newest of the run folder).",
)
@common(scenario=True, writes=True)
def command(options: Options, files: tuple[str, ...], resume: str | None) -> int:
    """Train scenario FILEs for real, one process a worker, on this computer.

    Writes runs/<name>/ (or --out); an older run there is kept as runs/<name>.1. Ctrl-C saves a checkpoint; --resume goes on.
    """

    if not files and resume is not None:  # ``train --resume FILE``: the option took the file for its value
        files, resume = (resume,), "auto"
    if not files:
        raise click.UsageError("Missing argument 'FILE...'.")

    def work(loaded: Loaded, options: Options) -> dict[str, Any]:
        return _train(loaded, options, resume)

    return each(options, files, work)


def _train(loaded: Loaded, options: Options, resume: str | None) -> dict[str, Any]:
    from runtime.dist.prepare import check
    from trainscape.algorithms import words
    from trainscape.build import Built
    from trainscape.report.comparison import differs
    from trainscape.report.run_folder import RunFolder
    from trainscape.results import enforce, require_trains, with_expectations
    from trainscape.train import find_checkpoint, train, training_job

    built = Built(loaded.scenario)
    require_trains(built)
    path = options.folder(loaded)
    start = find_checkpoint(resume, path)
    if resume is not None and start is None:
        options.output.note(f"{path} has no checkpoint: beginning at step 0")
    check(training_job(built, folder=path, data=loaded.data_folder, resume=start))  # a run that cannot begin moves none aside
    if built.differs:
        options.output.note(differs(built.differs))
    if said := words(loaded.scenario.system.algorithm, built.algorithms, built.kept_f32):
        options.output.note(f"algorithms: {said}")
    goes_on = start is not None and path.resolve() in start.resolve().parents
    folder = RunFolder.reopen(path) if goes_on else options.run_folder(loaded)
    training = train(built, folder=folder.path, output=options.output, data=loaded.data_folder, resume=start)
    numbers = {**training.numbers(), "differs": built.differs or None, "out": str(folder.path)}
    document = with_expectations(loaded, numbers, options)
    accuracy = document["accuracy"]
    right = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} % of {document['held_out']} samples set aside"
    options.output.show(f"{loaded.scenario.name}: step {document['steps']}, loss {document['loss']:.4f}{right}")
    options.output.note(f"checkpoint {document['checkpoint']}")
    folder.write_json("result.json", options.head(loaded) | document)
    options.output.note(f"wrote {folder.path}/")
    enforce(document)
    return document
