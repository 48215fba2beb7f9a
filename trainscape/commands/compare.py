"""``trainscape compare FILE...``"""

from pathlib import Path
from typing import Any

import click

from graph.errors import nearest
from trainscape.commands.options import Options, common, files_argument
from trainscape.exit_codes import ExitCode
from trainscape.report.json_document import result
from trainscape.strategies import VARIANTS


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The short names of a list, each known."""
    names = tuple(dict.fromkeys(n.strip() for n in (value or "").split(",") if n.strip()))
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
    detail: str,
    csv_file: Path | None,
    md_file: Path | None,
) -> int:
    """Compare parallel strategies for scenario FILEs: one ranked table of time, traffic, memory, energy and cost.

    With --out also a picture (svg and png), and the table as Markdown and CSV. Ends with 0 when something fits, else with 5.
    """
    from trainscape.compare import compare, omitted, pairs
    from trainscape.compare_words import winner_sentence
    from trainscape.load import load
    from trainscape.report.comparison import comparison_csv, comparison_markdown, comparison_rows_table, notes, omissions, reasons

    scenarios = [load(f, options.overrides, options.seed, tolerant=True) for f in files]
    for loaded in scenarios:
        for text in loaded.warnings:
            options.output.warning(f"{loaded.file}: {text}")
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
        files=list(files),
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


def _write(options: Options, path: Path, text: str) -> None:
    from trainscape.errors import RunFolderError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise RunFolderError(f"{path} cannot be written: {e.strerror or e}") from e
    options.output.note(f"wrote {path}")
