"""``trainscape demo``"""

import click

from trainscape.commands.options import Options, common


@click.command("demo")
@common(scenario=True, writes=True)
def command(options: Options) -> int:
    """Train a LeNet on real handwritten digits with 1 and with 2 workers, and hold predictions against it.

    Needs no file, no GPU and no network; with --device cuda it trains on the GPU of this computer.

    Writes runs/demo/ (or --out) with a result, a trace, a picture and a report.
    """
    from trainscape.demo import demo

    document = demo(options.output, out=options.out, overrides=options.overrides, seed=options.seed)
    options.output.emit(document)
    return 0
