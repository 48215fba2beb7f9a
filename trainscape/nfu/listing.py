"""What a program does, in numbers: operations of each unit, words moved, rows of the buffers that it takes."""

from typing import Any

import numpy as np

from hw.nfu.accesses import rows_in
from hw.nfu.config import Nfu
from hw.nfu.isa import OPERANDS, Op, Program
from hw.nfu.timing import moves_in


def listing(program: Program, nfu: Nfu) -> dict[str, Any]:
    """Counts of a program.

    Returns
    -------
    ``instructions``; ``operations``: unit and operand -> operation -> how often; ``bytes`` that each engine moves; ``rows``:
    buffer -> ``used`` at most and what it ``has``.
    """
    moved = moves_in(program, nfu)
    have = {"sb": nfu.sb_rows, "nbin": nfu.nbin_rows, "nbout": nfu.nbout_rows}
    used = {k: int(c.max()) if len(c) else 0 for k, c in rows_in(program, nfu).items()}
    return {
        "instructions": len(program),
        "operations": {o.key: _counts(program, o.key, o.choices) for o in OPERANDS if o.choices},
        "bytes": {
            "sb_loaded": int(moved.synapse_bytes.sum()),
            "nbin_loaded": int(moved.neuron_bytes.sum()),
            "nbout_stored": int(moved.result_bytes.sum()),
        },
        "rows": {k: {"used": used[k], "has": have[k]} for k in have},
    }


def _counts(program: Program, key: str, choices: tuple[Op, ...]) -> dict[str, int]:
    column = program[key]
    found = {op.name: int(np.count_nonzero(column == op)) for op in choices}
    return {name: n for name, n in found.items() if n}
