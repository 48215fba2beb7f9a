"""Records of dropout."""

from graph.op import Attrs
from hw.kernels.count import Terms
from hw.kernels.cpu.common import Counts, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, ceil_div


def _dropout_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t, lanes = Terms(), host_geometry().lanes
        rows = types[0].shape[0]
        columns = types[0].size // rows if rows else 0
        t["row"] = rows
        t["draw"] = rows * ceil_div(columns, 4 * lanes)
        t["vector"] = rows * ceil_div(columns, lanes)
        return t.traffic(operands(op, types, attrs))

    return terms


DROPOUT = tuple(cpu_record(op, op, _dropout_terms(op)) for op in ("dropout", "dropout_grad"))
