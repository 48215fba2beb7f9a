"""What `nfu run`, `disasm` and `explore` have in common: what is asked about, and on which NFU."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from graph.record import record
from trainscape.commands.options import Options

if TYPE_CHECKING:
    from hw.nfu.config import Nfu
    from trainscape.nfu.target import Target

F = TypeVar("F", bound=Callable[..., Any])
SHAPE = "A layer by its extents, e.g. conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40."


@record
class Asked:
    """What is asked about.

    Parameters
    ----------
    name : a layer, ``benchmark``, a model or a file; None: `shape` says it.
    shape : text of `trainscape.nfu.shape`.
    device : NFU of the catalogue.
    batch : images; None: one, or what the name says.
    """

    name: str | None
    shape: str | None
    device: str | None
    batch: int | None


def asks(f: F) -> F:
    """Decorator: a target, ``--shape``, ``--device`` and ``--batch``, handed over as one `Asked`."""

    @wraps(f)
    def run(*, target: str | None, shape: str | None, device: str | None, batch: int | None, **rest: Any) -> Any:
        if (target is None) is (shape is None):
            raise click.UsageError("name a layer, a model or a file, or describe a layer with --shape; one of them")
        return f(asked=Asked(name=target, shape=shape, device=device, batch=batch), **rest)

    decorated: Any = run
    for option in (
        click.option("--batch", type=click.IntRange(min=1), help="Images; one unless a scenario says more."),
        click.option("--device", metavar="NAME", help="NFU of the catalogue.  [default: a scenario's own, or diannao]"),
        click.option("--shape", metavar="KIND:KEY=N,...", help=SHAPE),
        click.argument("target", metavar="[LAYER|MODEL|FILE]", required=False),
    ):
        decorated = option(decorated)
    return cast(F, decorated)


def nfu_for(options: Options, device: str | None) -> tuple[str, "Nfu", list[str]]:
    """The device, its NFU with the settings that begin with ``nfu.``, and the other settings."""
    from trainscape.nfu.config import DEFAULT, configured, nfu_of, split

    mine, others = split(options.overrides)
    name = device or DEFAULT
    try:
        nfu = nfu_of(name)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="--device") from None
    return name, configured(nfu, mine), others


def find(options: Options, asked: Asked) -> tuple["Target", str, "Nfu"]:
    """What is asked about, the device, and its NFU.

    Raises
    ------
    click.UsageError : nothing has that name, or an option means nothing for it.
    ScenarioError : mistakes of a shape, a setting, a scenario or a program.
    """
    from trainscape.nfu import target as targets

    if asked.shape is not None:
        from trainscape.nfu.shape import read_shape

        device, nfu, others = nfu_for(options, asked.device)
        targets.refuse_settings(others, "a layer")
        layer = targets.with_batch(read_shape(asked.shape), asked.batch)
        return targets.Target(title=asked.shape, kind="layer", layers=(layer,)), device, nfu
    name = str(asked.name)
    try:
        kind = targets.kind_of(name)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="LAYER|MODEL|FILE") from None
    if asked.batch is not None and kind in ("scenario", "program"):
        raise click.UsageError(f"--batch means nothing for a {kind}, which says itself what it works on")
    if kind == "scenario":
        return _of_scenario(options, name, asked.device)
    device, nfu, others = nfu_for(options, asked.device)
    if kind == "model":
        return targets.model(name, device, nfu, others, batch=asked.batch, seed=options.seed or 0), device, nfu
    targets.refuse_settings(others, f"a {kind}")
    return (targets.program(name, nfu) if kind == "program" else targets.named_layers(name, asked.batch)), device, nfu


def _of_scenario(options: Options, file: str, device: str | None) -> tuple["Target", str, "Nfu"]:
    """Without a device that is named, on the NFU that the scenario's ranks stand on."""
    from trainscape.load import load
    from trainscape.nfu import target as targets
    from trainscape.nfu.config import split

    found = load(file, split(options.overrides)[1], options.seed, tolerant=True).scenario
    name, nfu, _ = nfu_for(options, device or targets.device_of(found))
    return targets.scenario(found, name, nfu), name, nfu
