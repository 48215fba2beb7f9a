"""``trainscape kernels``"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.options import Options, common
from trainscape.report.json_document import result

if TYPE_CHECKING:
    from trainscape.device_kernels import Compiled

DEVICES = ("cpu", "cuda", "nfu")
CUDA = "cuda"
# those of `runtime.kernels.cuda.compile`, which a test holds; help is printed without importing it
ARCHITECTURES = {"sm_75": (7, 5), "sm_80": (8, 0), "sm_90": (9, 0)}


@click.command("kernels")
@click.option(
    "--device",
    "devices",
    type=click.Choice(DEVICES),
    multiple=True,
    help="Whose kernels; repeatable.  [default: all; with --ptx cuda]",
)
@click.option("--op", "ops", metavar="NAME", multiple=True, help="Kernels of this operator alone; repeatable.")
@click.option(
    "--ptx", type=click.Choice(tuple(ARCHITECTURES)), help="Compile those of cuda for an architecture, and say what comes of it."
)
@common(scenario=False, own_device=True, writes="With --ptx: folder for the PTX of each kernel.")
def command(options: Options, devices: tuple[str, ...], ops: tuple[str, ...], ptx: str | None) -> int:
    """List, for each operator, which devices and algorithms have a kernel, and what it takes in.

    With --ptx every CUDA kernel is compiled and assembled, which needs no GPU and takes a minute: registers, spills, shared
    memory, blocks that a multiprocessor holds at once, and the instructions that are meant to be there.
    """
    from hw.kernels import Platform
    from trainscape.kernels import documents, operators
    from trainscape.names import one_of
    from trainscape.report.kernels import fused_table, kernels_table, legend

    _refuse(options.out, devices, ptx)
    check = one_of("operator", "trainscape kernels", among=operators())
    try:
        names = [check(op) for op in dict.fromkeys(ops)] or operators()
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="--op") from None
    where = [Platform(d) for d in DEVICES if d in (devices or ((CUDA,) if ptx else DEVICES))]
    for shown in (kernels_table(names, where), legend(names, where), fused_table(names, where)) if ptx is None else ():
        if shown is not None:
            options.output.show(shown)
    document = result(options.command, devices=where, operators=documents(names, where))
    if ptx is not None:
        document |= _compiled(options, ptx, ops)
    options.output.emit(document)
    return 0


def _refuse(out: Path | None, devices: tuple[str, ...], ptx: str | None) -> None:
    """Options that do not go together, and a folder that cannot be."""
    if ptx is not None and devices and CUDA not in devices:
        named = ", ".join(devices)
        raise click.UsageError(f"--ptx compiles kernels of cuda, and --device names {named}: add --device cuda, or leave it away")
    if out is None:
        return
    if ptx is None:
        raise click.UsageError("--out is where --ptx writes; add --ptx sm_90, say")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise click.BadParameter(f"{out} cannot be a folder: {e.strerror}", param_hint="--out") from None


def _compiled(options: Options, ptx: str, ops: tuple[str, ...]) -> dict[str, Any]:
    """Compile, show, and say as plain data."""
    from trainscape.device_kernels import compiled
    from trainscape.kernels import is_view
    from trainscape.progress import progress
    from trainscape.report.kernels import compiled_tables

    with progress(options.output, "kernels") as shown:
        shown.on_phase(f"compiling for {ptx}")
        rows = compiled(ARCHITECTURES[ptx], ops or None, folder=options.out, on_done=shown.on_part)
    for table in compiled_tables(rows, options.output.width):
        options.output.show(table)
    if views := [op for op in ops if is_view(op)]:
        one = "is a view" if len(views) == 1 else "are views"
        options.output.show(f"{', '.join(views)} {one}: the same memory by another name, with no kernel to compile")
    _complain(options, rows)
    if options.out is not None:
        options.output.note(f"wrote {sum(r.figures is not None for r in rows)} files to {options.out}/")
    return {"architecture": ptx, "out": options.out, "device_kernels": [r.document() for r in rows]}


def _complain(options: Options, rows: "list[Compiled]") -> None:
    for row in rows:
        for text in row.complaints:
            options.output.warning(f"{row.kernel} on {row.architecture}: {text}")
