"""Records of the bias and its gradient."""

from graph.op import Attrs
from hw.kernels.count import Terms
from hw.kernels.cpu.common import cpu_record, operands, row_terms
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, ceil_div


def _bias_grad_terms(types: Types, attrs: Attrs) -> Terms:
    t = Terms()
    columns = types[0].shape[-1]
    t["panel"] = ceil_div(columns, host_geometry().lanes)
    t["vector"] = t["panel"] * (types[0].size // columns if columns else 0)
    return t.traffic(operands("bias_grad", types, attrs))


REDUCE = (
    cpu_record("add_bias", "add_bias", row_terms("add_bias")),
    cpu_record("bias_grad", "bias_grad", _bias_grad_terms),
)
