"""Matrix products ``C = op(A) op(B)``, with a bias and a ReLU on the way out.

A is read in place either way: rows of a tile are broadcast, so a transposed A only swaps the two strides. A transposed B is
turned panel by panel in the workspace, and so is a B whose rows are so far apart that copying pays. Cuts: `hw.kernels.tiling`.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from hw.kernels.record import Call
from hw.kernels.tiling import matmul_cut
from runtime.kernels.cpu.tile import ACCUMULATE, BIAS, RELU, TALLEST, call_panel, call_transpose, copy_rows
from runtime.kernels.emit import words
from runtime.kernels.table import address, kernel

_FIXED = 20
_read = words(_FIXED)


def epilogue_flags(call: Call) -> int:
    """Flags of the tile for the call's epilogue."""
    return {"": 0, "add_bias": BIAS, "add_bias+relu": BIAS | RELU}[str(call.attrs.get("epilogue", ""))]


def tile_rows(stride: int) -> list[int]:
    """Offsets of the rows of one tile that lie `stride` apart."""
    return [i * stride for i in range(max(TALLEST))]


def _pack(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    cut, flags = matmul_cut(call.types, call.attrs), epilogue_flags(call)
    a, b, *rest = ptrs
    bias = rest[0] if flags & BIAS else 0
    c, workspace = rest[-2:]
    lda, ldb = call.types[0].shape[1], call.types[1].shape[1]
    a_row, a_step = (1, lda) if call.attrs["ta"] else (lda, 1)
    turned = bool(call.attrs["tb"])
    head = [address("helper.panel"), address("helper.transpose"), a, b, bias, c, workspace]
    head += [cut.m, cut.n, cut.k, cut.mb, cut.kb, cut.pw, a_row, a_step, ldb, turned, cut.packed, flags, 0]
    return head + tile_rows(a_row)


@kernel("cpu.matmul", pack=_pack)
def matmul(p):
    """Blocks: words 0-18 as in `_pack`; word 19 is a table of one zero; then the row offsets of a tile."""
    f, turn, a, b, bias, c, ws, m, n, k, mb, kb, pw, a_row, a_step, ldb, turned, packed, flags, _ = _read(p)
    zero, rows = p + 8 * 19, p + 8 * 20
    for k0 in range(0, max(k, 1), kb):
        kc = min(kb, k - k0)
        now = ACCUMULATE if k0 else flags & BIAS
        if k0 + kb >= k:
            now += flags & RELU
        for m0 in range(0, m, mb):
            for j0 in range(0, n, pw):
                w = min(pw, n - j0)
                at, ld = b + 4 * (k0 * ldb + j0), ldb
                if packed:
                    if turned:
                        call_transpose(turn, b + 4 * (j0 * ldb + k0), ldb, w, kc, ws, w)
                    else:
                        copy_rows(ws, w, at, ldb, kc, w)
                    at, ld = ws, w
                to, above = c + 4 * (m0 * n + j0), bias + 4 * j0
                from_a = a + 4 * (m0 * a_row + k0 * a_step)
                call_panel(f, min(mb, m - m0), w, 1, kc, from_a, rows, 0, a_row, a_step, zero, at, zero, ld, to, n, now, above)
