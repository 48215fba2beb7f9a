"""What the threads of a warp do together: shuffles, matrices from shared memory, products on tensor cores.

Where each thread holds which element: PTX ISA 9.0, section 9.7.15 (ldmatrix; mma.m16n8k8 of tf32, mma.m16n8k16 of 16-bit floats).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.ptx.parse import PtxError

WARP = 32
_LANE = np.arange(WARP)
_GROUP, _IN_GROUP = _LANE >> 2, _LANE & 3


def whole_warps(lanes: npt.NDArray[np.int64], what: str) -> None:
    """Raise `PtxError` unless these lanes, in order, are warps without a gap."""
    if lanes.size % WARP or (lanes.reshape(-1, WARP) != (lanes[::WARP, None] // WARP * WARP + _LANE)).any():
        raise PtxError(f"{what}: not all threads of a warp take part")


def exchanged(values: Any, step: Any) -> Any:
    """Of each lane what the lane holds whose number differs from its own by these bits (shfl.bfly)."""
    rows = values.reshape(-1, WARP)
    return np.take_along_axis(rows, _LANE ^ (step.reshape(-1, WARP) & 31).astype(np.int64), 1).ravel()


def fragments(rows: Any, turned: bool) -> list[Any]:
    """Words of ldmatrix.

    Parameters
    ----------
    rows : (warps, matrices, 8, 8) 16-bit elements.
    turned : of the matrices transposed.

    Returns
    -------
    one array a matrix, a word a lane: elements 2 (lane % 4) and the next of row lane // 4, the first in the lower half.
    """
    if turned:
        rows = rows.swapaxes(2, 3)
    low, high = (rows[:, :, _GROUP, 2 * _IN_GROUP + i].astype(np.uint32) for i in (0, 1))
    words = low | high << np.uint32(16)
    return [words[:, j].ravel() for j in range(words.shape[1])]


def _halves(word: Any, kind: str) -> list[Any]:
    parts = [(word & np.uint32(0xFFFF)).astype(np.uint16), (word >> np.uint32(16)).astype(np.uint16)]
    if kind == "f16":
        return [p.view(np.float16).astype(np.float64) for p in parts]
    return [(p.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64) for p in parts]


def product(a: list[Any], b: list[Any], c: list[Any], kind: str) -> list[Any]:
    """``A B + C`` on 16 x 8 tiles, one a warp: of 16-bit floats with 16 steps of k, of tf32 with 8.

    Parameters
    ----------
    a, b : words of each lane; c : floats of each lane.
    kind : ``"f16"``, ``"bf16"`` or ``"tf32"``.

    Returns
    -------
    floats of each lane, as `c`.
    """
    warps, deep = a[0].size // WARP, 8 if kind == "tf32" else 16
    left, right, total = np.zeros((warps, 16, deep)), np.zeros((warps, deep, 8)), np.zeros((warps, 16, 8))
    for i, word in enumerate(a):
        row, column = _GROUP + 8 * (i & 1), _IN_GROUP * (1 if kind == "tf32" else 2) + (4 if kind == "tf32" else 8) * (i >> 1)
        for j, x in enumerate(_elements(word, kind)):
            left[:, row, column + j] = x.reshape(warps, WARP)
    for i, word in enumerate(b):
        row = _IN_GROUP + 4 * i if kind == "tf32" else 2 * _IN_GROUP + 8 * i
        for j, x in enumerate(_elements(word, kind)):
            right[:, row + j, _GROUP] = x.reshape(warps, WARP)
    places = [(_GROUP + 8 * (i >> 1), 2 * _IN_GROUP + (i & 1)) for i in range(4)]
    for (row, column), x in zip(places, c, strict=True):
        total[:, row, column] = x.reshape(warps, WARP)
    total = (total + left @ right).astype(np.float32)
    return [total[:, row, column].ravel() for row, column in places]


def _elements(word: Any, kind: str) -> list[Any]:
    if kind == "tf32":  # the lower 13 bits do not take part
        return [(word & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)]
    return _halves(word, kind)
