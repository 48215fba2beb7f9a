"""``trainscape nfu accuracy``"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.nfu_options import nfu_for
from trainscape.commands.options import Options, common

if TYPE_CHECKING:
    from trainscape.nfu.nets import Net
    from trainscape.report.run_folder import RunFolder

DIGITS = "2..14"


def _fractions(text: str) -> tuple[int, ...]:
    """``"2..14"``, ``"10"`` or ``"6,8,10"``."""
    if found := re.fullmatch(r"(\d+)\.\.(\d+)", text.strip()):
        return tuple(range(int(found[1]), int(found[2]) + 1))
    return tuple(sorted({int(t) for t in text.split(",")}))


class _Fractions(click.ParamType[tuple[int, ...]]):
    name = "fractions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = _fractions(value)
        except ValueError:
            found = ()
        if not found:
            self.fail(f"{value!r} names no fraction bits; write 2..14, or 6,8,10", param, ctx)
        return found


@click.command("accuracy")
@click.option("--model", metavar="NAME", default="lenet", show_default=True, help="Of the zoo; lenet takes the digits.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Take the weights from here, instead of training.")
@click.option("--samples", type=click.IntRange(min=1), help="Images.  [default: all 360 digits set aside; 1 of noise]")
@click.option("--device", metavar="NAME", help="NFU of the catalogue.  [default: diannao]")
@click.option("--word", type=click.IntRange(2, 16), default=16, show_default=True, help="Bits of a word.")
@click.option("--fractions", type=_Fractions(), help=f"Fraction bits.  [default: {DIGITS} for digits; those of the device]")
@common(scenario=True, own_device=True, writes=True)
def command(
    options: Options, model: str, checkpoint: Path | None, samples: int | None, device: str | None, word: int,
    fractions: tuple[int, ...] | None,
) -> int:  # fmt: skip
    """What fixed point on an NFU does to what a net says, beside float32.

    Every layer of the NFU is computed bit by bit, for each number of fraction bits, each place where products are cut (in the
    multipliers, behind the trees, once a neuron), each way to round, and with sums that saturate or wrap around.

    The LeNet is trained on the digits in float32 first (a few seconds, kept for the next time) and asked about those set aside.
    Other models have random weights and are shown noise, so only errors are told; --set model.width=0.25 makes them smaller,
    --set input=digits lets them learn the digits, --set nfu.lines=chords changes the NFU. Writes runs/nfu-accuracy/ (or --out).
    """
    import time

    from trainscape.nfu.accuracy import Study, points, sweep
    from trainscape.nfu.config import document as nfu_document
    from trainscape.nfu.nets import net
    from trainscape.report import nfu_accuracy as report
    from trainscape.report.json_document import result
    from trainscape.report.run_folder import RunFolder

    name, base, others = nfu_for(options, device)
    _check(model, fractions or (), word)
    started = time.monotonic()
    of = net(model, others, seed=options.seed, samples=samples, saved=checkpoint, output=options.output)
    bits, overflows, at = _asked(of, base.neuron.fraction, fractions, word)
    folder = RunFolder.create(options.out or Path("runs") / "nfu-accuracy", command=options.command, settings=of.settings)
    study, many = Study(of, base, word), len(points(bits, overflows))
    options.output.note(f"{model}, {of.origin}: {many} arithmetics, about {many * study.seconds(bits[0]):,.0f} s")
    with options.output.progress() as bars:
        task = bars.add_task("arithmetics", total=many)
        found = sweep(study, bits, overflows, layers_at=at, on_point=lambda done, total: bars.update(task, completed=done))
    document = result(
        options.command, model=model, settings=of.settings, origin=of.origin, samples=len(of.images), device=name, word=word,
        nfu=nfu_document(base), overflows=[str(o) for o in overflows], **found, wall_s=time.monotonic() - started,
        out=str(folder.path),
    )  # fmt: skip
    _publish(folder, document)
    for said, cells in report.tables(document):
        options.output.show(report.terminal_table(said, cells))
    for line in report.sentences(document):
        options.output.show(line)
    options.output.note(f"{document['wall_s']:.0f} s; wrote {folder.path}/")
    options.output.emit(document)
    return 0


def _check(model: str, fractions: tuple[int, ...], word: int) -> None:
    """Refuse what can be refused before anything is trained."""
    from graph.errors import nearest
    from graph.zoo import MODELS

    if model not in MODELS:
        raise click.BadParameter(f"no model is named {model!r}; {nearest(model, MODELS)}", param_hint="--model")
    if wrong := [f for f in fractions if f >= word]:
        most = f"a word of {word} bits has at most {word - 1} fraction bits, not {wrong[0]}"
        raise click.BadParameter(most, param_hint="--fractions")


def _asked(of: "Net", own: int, fractions: tuple[int, ...] | None, word: int) -> tuple[tuple[int, ...], Any, int]:
    """Fractions, what overflow does, and the fraction at which layers are looked at."""
    from trainscape.nfu.accuracy import OVERFLOWS

    is_small = of.labels is not None
    found = fractions or (tuple(f for f in _fractions(DIGITS) if f < word) if is_small else (min(own, word - 1),))
    at = own if own in found else found[len(found) // 2]
    return found, OVERFLOWS if is_small else OVERFLOWS[:1], at


def _publish(folder: "RunFolder", document: dict[str, Any]) -> None:
    """``result.json``, the pictures, and last ``report.md``."""
    from trainscape.report.nfu_accuracy import page, title
    from trainscape.report.nfu_accuracy_figure import draw_accuracy, draw_layers

    folder.write_json("result.json", document)
    drawn = []
    for stem, draw, is_of_use in (("accuracy", draw_accuracy, len(document["ideal"]) > 1), ("layers", draw_layers, True)):
        if is_of_use:
            files = [f"{stem}.svg", f"{stem}.png"]
            draw([folder.temporary(f) for f in files], document, title=title(document))
            drawn += [folder.publish(f).name for f in files[:1]]
            folder.publish(files[1])
    folder.write_text("report.md", page(document, drawn))
