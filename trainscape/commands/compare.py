"""``trainscape compare FILE...``"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graph.errors import nearest
from trainscape.commands.options import Options, common, files_argument
from trainscape.exit_codes import ExitCode
from trainscape.report.json_document import result
from trainscape.strategies import VARIANTS

if TYPE_CHECKING:
    from trainscape.load import Loaded


def _listed(value: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(n.strip() for n in (value or "").split(",") if n.strip()))
    if value is not None and not found:
        raise click.BadParameter(f"{value!r} names nothing; write names with commas between them, or leave it out")
    return found


def _of(what: str) -> Callable[[click.Context, click.Parameter, str | None], tuple[str, ...]]:
    """A callback: the names of a list, each known or a pattern of known ones."""

    def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
        from trainscape.names import known

        found: list[str] = []
        for name in _listed(value):
            meant = [k for k in known(what) if fnmatchcase(k, name)]
            if not meant:
                raise click.BadParameter(f"unknown {what} {name!r}; {nearest(name, known(what))}")
            found += meant
        return tuple(dict.fromkeys(found))

    return names


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The short names of a list, each known."""
    names = _listed(value)
    for name in names:
        if name not in VARIANTS:
            raise click.BadParameter(f"unknown strategy {name!r}; {nearest(name, VARIANTS)}")
    return names


@click.command("compare")
@files_argument
@click.option(
    "--strategies", metavar="A,B,...", callback=_names, help=f"Of {', '.join(VARIANTS)}; by default all that make sense."
)
@click.option(
    "--systems",
    metavar="A,B,...",
    callback=_of("system"),
    help="Compare systems or devices of the catalogue instead, the first being what the others are held against.",
)
@click.option(
    "--models",
    metavar="A,B,...",
    callback=_of("model"),
    help="With --systems: models instead of the files' own, as published; patterns are allowed, e.g. 'diannao-*'.",
)
@click.option(
    "--detail",
    type=click.Choice(("auto", "flow", "message", "closed-form")),
    default="auto",
    show_default=True,
    help="Of the network; auto: flow, or closed-form where that would take minutes.",
)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table as CSV.")
@click.option("--md", "md_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table as Markdown.")
@common(scenario=True, writes=True)
def command(
    options: Options,
    files: tuple[str, ...],
    strategies: tuple[str, ...],
    systems: tuple[str, ...],
    models: tuple[str, ...],
    detail: str,
    csv_file: Path | None,
    md_file: Path | None,
) -> int:
    """Compare parallel strategies for scenario FILEs: one ranked table of time, traffic, memory, energy and cost.

    With --systems each file is predicted on several systems instead, under its own strategy or those that are named: time and
    energy of a sample, held against the first system.

    With --out also a picture (svg and png), and the table as Markdown and CSV. Ends with 0 when something fits, else with 5.
    """
    from trainscape.load import load

    scenarios = [load(f, options.overrides, options.seed, tolerant=True) for f in files]
    for loaded in scenarios:
        for text in loaded.warnings:
            options.output.warning(f"{loaded.file}: {text}")
    if systems or models:
        return _hardware(options, scenarios, strategies, systems, models, detail, csv_file, md_file)
    return _strategies(options, scenarios, strategies, detail, csv_file, md_file)


def _strategies(
    options: Options,
    scenarios: "list[Loaded]",
    strategies: tuple[str, ...],
    detail: str,
    csv_file: Path | None,
    md_file: Path | None,
) -> int:
    from trainscape.compare import compare, omitted, pairs
    from trainscape.compare_words import winner_sentence
    from trainscape.report.comparison import comparison_csv, comparison_markdown, comparison_rows_table, notes, omissions, reasons

    with options.output.progress() as bars:
        task = bars.add_task("comparing", total=len(pairs(scenarios, strategies)))

        def show(title: str) -> None:
            bars.update(task, description=title, completed=len(seen))
            seen.append(title)

        seen: list[str] = []
        rows = compare(scenarios, strategies, detail=detail, on_row=show)
    documents = [r.document() for r in rows]
    left_out = [
        {"file": s.file, "scenario": s.scenario.name, "strategy": name, "reason": why}
        for s in (() if strategies else scenarios)
        for name, why in omitted(s.scenario).items()
    ]
    sentence = winner_sentence(rows)
    title = ", ".join(dict.fromkeys(s.scenario.name for s in scenarios))
    options.output.show(comparison_rows_table(documents, title))
    for line in (*notes(documents), *reasons(documents), *omissions(left_out)):
        options.output.note(line)
    options.output.show(sentence)
    document: dict[str, Any] = result(
        "compare",
        files=[s.file for s in scenarios],
        scenario=title,
        settings=[s.scenario.settings() for s in scenarios],
        winner=sentence,
        rows=documents,
        left_out=left_out,
    )
    if csv_file is not None:
        _write(options, csv_file, comparison_csv(documents))
    if md_file is not None:
        _write(options, md_file, comparison_markdown(title, documents, sentence))
    if options.out is not None:
        from trainscape.report.comparison_folder import publish_comparison

        document["out"] = str(options.out)
        publish_comparison(options.out, title, document)
        options.output.note(f"wrote {options.out}/")
    options.output.emit(document)
    return ExitCode.OK if any(r.fits for r in rows) else ExitCode.INFEASIBLE


def _hardware(
    options: Options,
    scenarios: "list[Loaded]",
    strategies: tuple[str, ...],
    systems: tuple[str, ...],
    models: tuple[str, ...],
    detail: str,
    csv_file: Path | None,
    md_file: Path | None,
) -> int:
    from trainscape.compare_hardware import compare_hardware, jobs, summaries
    from trainscape.report.hardware import bases, hardware_csv, hardware_markdown, hardware_table, reasons, sentences

    with options.output.progress() as bars:
        task = bars.add_task("comparing", total=len(jobs(scenarios, models, strategies)) * max(len(systems), 1))

        def show(title: str) -> None:
            bars.update(task, description=title, completed=len(seen))
            seen.append(title)

        seen: list[str] = []
        rows = compare_hardware(scenarios, models=models, systems=systems, strategies=strategies, detail=detail, on_row=show)
    documents = [r.document() for r in rows]
    summary = summaries(documents, systems)
    said = sentences(summary)
    title = ", ".join(dict.fromkeys(s.scenario.name for s in scenarios))
    options.output.show(hardware_table(documents, title))
    for line in (*reasons(documents), *bases(documents)):
        options.output.note(line)
    for line in said:
        options.output.show(line)
    settings = [s.scenario.settings() for s in scenarios]
    asked = {"files": [s.file for s in scenarios], "scenario": title, "settings": settings, "systems": list(systems)}
    document = result("compare", **asked, models=list(models), said=said, summaries=summary, rows=documents)
    if csv_file is not None:
        _write(options, csv_file, hardware_csv(documents))
    if md_file is not None:
        _write(options, md_file, hardware_markdown(title, documents, said))
    if options.out is not None:
        from trainscape.report.comparison_folder import publish_hardware

        document["out"] = str(options.out)
        publish_hardware(options.out, title, document)
        options.output.note(f"wrote {options.out}/")
    options.output.emit(document)
    return ExitCode.OK if any(d["fits"] for d in documents) else ExitCode.INFEASIBLE


def _write(options: Options, path: Path, text: str) -> None:
    from trainscape.errors import RunFolderError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise RunFolderError(f"{path} cannot be written: {e.strerror or e}") from e
    options.output.note(f"wrote {path}")
