"""The local halves of exchanges of rows: plain copies. The executor passes the addresses of the first rows that this rank copies
in this round, and leaves the call out where it is not this rank's turn.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from graph.ops.exchange import copied_nbytes
from hw.kernels.record import Call
from runtime.kernels.emit import words
from runtime.kernels.simd import copy_bytes
from runtime.kernels.table import kernel

_read3 = words(3)


def _pack(op: str, call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    return [ptrs[0], ptrs[1], copied_nbytes(op, call.types, call.attrs)]


@kernel("cpu.gather_rows", pack=lambda call, ptrs: _pack("gather_rows", call, ptrs))
def gather_rows(p):
    """This rank's rows go to their place among all."""
    source, to, n = _read3(p)
    copy_bytes(to, source, n)


@kernel("cpu.scatter_rows", pack=lambda call, ptrs: _pack("scatter_rows", call, ptrs))
def scatter_rows(p):
    """This rank's rows come from their place among all."""
    source, to, n = _read3(p)
    copy_bytes(to, source, n)
