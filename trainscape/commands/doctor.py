"""``trainscape doctor``"""

import click

from trainscape.commands.options import Options, common
from trainscape.report.json_document import result


@click.command("doctor")
@common(scenario=False, device=True)
def command(options: Options) -> int:
    """Say what this computer has, what is missing, and what to do about it.

    With --device cuda, end with 6 where no GPU can be used.
    """
    from trainscape.doctor import examine
    from trainscape.report.tables import plain_table

    is_gpu = options.device == "cuda"
    findings = examine(is_gpu=is_gpu)
    rows = [(f.name, f.status.value, f.text) for f in findings]
    options.output.show(plain_table(("", "", ""), rows, is_headed=False))
    for f in findings:
        if f.advice:
            options.output.show(f"{f.name}: {f.advice}")
    options.output.emit(result(options.command, findings=[f.document() for f in findings]))
    if is_gpu:
        from runtime.cuda.driver import SIMULATOR, require_gpu

        if require_gpu().name == SIMULATOR:
            options.output.note("kernels run in Numba's simulator (NUMBA_ENABLE_CUDASIM): slow beyond use, good for tests")
    return 0
