"""Records of what puts values side by side along the last axis, and of what takes a run of it."""

from graph.op import Attrs
from hw.kernels.count import Terms
from hw.kernels.cpu.common import cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types


def _concat_terms(types: Types, attrs: Attrs) -> Terms:
    t, columns = Terms(), sum(x.shape[-1] for x in types)
    rows = sum(x.size for x in types) // columns if columns else 0
    for x in types:
        t["part"] += 1
        t.copy_rows(rows, x.shape[-1], host_geometry())
    return t.traffic(operands("concat", types, attrs))


def _slice_terms(types: Types, attrs: Attrs) -> Terms:
    t, columns = Terms(), types[0].shape[-1]
    (y,) = operands("slice_last", types, attrs)[1:]
    t.copy_rows(types[0].size // columns if columns else 0, y.shape[-1], host_geometry())
    return t.traffic((y, y))  # the rest of the operand is not read


CONCAT = (cpu_record("concat", "concat", _concat_terms), cpu_record("slice_last", "slice_last", _slice_terms))
