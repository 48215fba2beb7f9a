"""Record of axes in another order."""

from collections.abc import Iterable

from graph.op import OPS, Attrs, Size
from graph.tensor_type import f32
from hw.kernels.count import Terms
from hw.kernels.cpu.common import cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, transpose_cut

_TURNED = ((3, 20, 9), (2, 70, 50), (10, 36, 90), (1, 300, 220), (4, 130, 700), (30, 90, 250))
_COPIED = ((5, 14, 90), (3, 700, 18), (40, 9, 360), (7, 1_200, 50))


def _terms(types: Types, attrs: Attrs) -> Terms:
    t, cut = Terms(), transpose_cut(types, attrs)
    if cut.run:
        t.copy_rows(cut.times, cut.run, host_geometry())
    else:
        t.turn(cut.rows, cut.columns, host_geometry(), cut.times)
    return t.traffic(operands("transpose", types, attrs))


def _sizes() -> Iterable[Size]:
    """Also with a last axis that moves."""
    yield from OPS["transpose"].sizes()
    yield from (Size(types=(f32(*s),), attrs={"axes": (1, 0, 2)}) for s in _COPIED)
    yield from (Size(types=(f32(*s),), attrs={"axes": (0, 2, 1)}) for s in _TURNED)


RESHAPE = (cpu_record("transpose", "transpose", _terms, _sizes),)
