"""``trainscape nfu explore [LAYER|MODEL|FILE]``"""

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.nfu_options import Asked, asks, find
from trainscape.commands.options import Options, common
from trainscape.exit_codes import ExitCode
from trainscape.report.json_document import result

if TYPE_CHECKING:
    from hw.nfu.config import Nfu
    from trainscape.nfu.explore import Row
    from trainscape.nfu.space import Point
    from trainscape.nfu.target import Target
    from trainscape.report.run_folder import RunFolder

# as `trainscape.nfu.space.DEFAULT`, which a test holds; help is printed without importing it
TN, BUFFERS, BANDWIDTH, WORD = "4,8,16,32", "16,32,64,128,256", "62.5,125,250,500", "8,12,16"


@click.command("explore")
@asks
@click.option("--tn", default=TN, show_default=True, help="Tn = Ti: numbers, or ranges such as 4..32.")
@click.option("--buffers", default=BUFFERS, show_default=True, help="Rows of all buffers, or NBin/NBout/SB such as 64/64/128.")
@click.option("--bandwidth", default=BANDWIDTH, show_default=True, help="Of the main memory, in GB/s.")
@click.option("--word", default=WORD, show_default=True, help="Bits of neurons and synapses, or a format such as Q4.8.")
@click.option("--points", type=click.IntRange(min=1), help="A random sample of so many; by default all combinations.")
@click.option("--accuracy", "has_accuracy", is_flag=True, help="Also how many of the digits are told right with each word.")
@common(scenario=True, own_device=True, writes=True)
def command(
    options: Options,
    asked: Asked,
    tn: str,
    buffers: str,
    bandwidth: str,
    word: str,
    points: int | None,
    has_accuracy: bool,
) -> int:
    """Time, energy and area of many designs for the same layers; which of them are worth having.

    Everything else is as --device and --set nfu.... say; the clock does not change. Results are kept in --out (runs/nfu-NAME),
    point by point: run the same command again to go on after an interruption, or with other lists to add points.
    """
    from trainscape.nfu.space import read_space

    try:
        space = read_space(tn=tn, buffers=buffers, bandwidth=bandwidth, word=word)
        chosen = space.points(points, options.seed or 0)
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    target, device, nfu = find(options, asked)
    if target.program is not None:
        raise click.UsageError("a program was made for one design; name a layer, a model or a scenario")
    document = _explore(options, target, device, nfu, chosen, has_accuracy=has_accuracy)
    options.output.emit(document)
    return ExitCode.OK if document["points"] else ExitCode.INFEASIBLE


def _explore(
    options: Options, target: "Target", device: str, nfu: "Nfu", points: "list[Point]", *, has_accuracy: bool
) -> dict[str, Any]:
    """Work, keep, show and write; the document."""
    from trainscape.nfu.config import document
    from trainscape.nfu.explore import base_figures, designs
    from trainscape.nfu.shape import shape_text
    from trainscape.report.nfu_folder import folder_for, publish
    from trainscape.report.run_folder import MARKER

    about = {
        "target": target.title,
        "layers": [shape_text(layer) for layer in target.layers],
        "device": device,
        "nfu": document(nfu),
    }
    path = options.out or Path("runs") / f"nfu-{_plain(target.title)}"
    # points that another version of the models worked out are not mixed with these
    was_there = (path / MARKER).is_file()
    folder, goes_on = folder_for(path, about | {"figures": base_figures(target.layers, nfu)})
    if was_there and not goes_on:
        options.output.note(f"{path} held other results, which have been moved aside")
    with closing(folder):
        rows, refused = _worked_out(options, folder, target, nfu, points, goes_on=goes_on)
        named, without = designs(target.layers)
        if has_accuracy:
            rows, named = _accuracies(options, folder, nfu, points, rows, named)
        found = result(options.command, **about, processor=list(target.processor), asked=len(points), out=str(folder.path))
        found |= _judged(rows, refused, named, has_accuracy=has_accuracy) | {"designs_refused": without}
        _show(options, found)
        publish(folder, f"{target.title} on designs like {device}", found)
    options.output.note(f"wrote {folder.path}/")
    return found


def _worked_out(
    options: Options, folder: "RunFolder", target: "Target", nfu: "Nfu", points: "list[Point]", *, goes_on: bool
) -> "tuple[list[Row], list[Row]]":
    """Rows of the points, those that are there included, and of those that cannot be."""
    from trainscape.nfu.explore import explore
    from trainscape.nfu.store import opened
    from trainscape.report.nfu_folder import POINTS

    with opened(folder.path / POINTS) as store, options.output.progress() as bars:
        there = sum(p.key in store.rows for p in points)
        if goes_on:
            have = f"{folder.path} has {len(store.rows):,} points"
            options.output.note(f"{have}, {there:,} of the {len(points):,} that are asked for")
        task = bars.add_task("exploring", total=len(points))
        return explore(target.layers, nfu, points, store, lambda done: bars.update(task, completed=done))


def _judged(rows: "list[Row]", refused: "list[Row]", named: "list[Row]", *, has_accuracy: bool) -> dict[str, Any]:
    """Points, which of them are worth having, and how the catalogue's designs do among them."""
    from trainscape.nfu.explore import refusals
    from trainscape.nfu.front import LESS, beaten_by, front_of

    best = front_of(rows, (*LESS, "accuracy") if has_accuracy else LESS)
    return {
        "points": rows,
        "front": sorted((rows[i] for i in best), key=lambda r: float(r["time_s"])),
        "refused_count": len(refused),
        "refused": refusals(refused),
        "designs": [{**d, "beaten_by": beaten_by(d, rows)} for d in named],
    }


def _show(options: Options, found: dict[str, Any]) -> None:
    from trainscape.report.nfu_front import designs_table, front_table, sentence

    if found["front"]:
        options.output.show(front_table(found["front"], "worth having"))
    options.output.show(designs_table(found["designs"]))
    options.output.show(sentence(found))
    for why, count in list(found["refused"].items())[:3]:
        options.output.note(f"{count:,} points cannot be: {why}")


def _accuracies(
    options: Options, folder: "RunFolder", nfu: "Nfu", points: "list[Point]", rows: "list[Row]", named: "list[Row]"
) -> "tuple[list[Row], list[Row]]":
    """The same rows with the accuracy of their formats; that of the catalogue's designs too."""
    from hw.catalogue import device
    from trainscape.nfu.explore import with_accuracy
    from trainscape.nfu.store import opened
    from trainscape.report.nfu_folder import ACCURACY

    by_key = {p.key: p for p in points}
    nfus = [by_key[r["key"]].nfu(nfu) for r in rows]
    others = [n for r in named if (n := device(r["name"]).nfu) is not None]
    with opened(folder.path / ACCURACY) as store, options.output.progress() as bars:
        task = bars.add_task("accuracy", total=None)

        def show(key: str) -> None:
            bars.update(task, description=f"accuracy with {key.partition(' ')[0]}")

        both = with_accuracy([*rows, *named], [*nfus, *others], nfu, store, show)
    return both[: len(rows)], both[len(rows) :]


def _plain(title: str) -> str:
    """A title as a folder's name."""
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", title).strip("-.")[:60] or "layer"
