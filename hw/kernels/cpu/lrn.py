"""Records of local response normalization."""

from graph.op import Attrs
from hw.kernels.count import Terms
from hw.kernels.cpu.common import Counts, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import LRN_PIXELS, Types, ceil_div


def _terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t, channels = Terms(), types[0].shape[-1]
        t["row"] = types[0].size // channels if channels else 0
        t["vector"] = t["row"] * ceil_div(channels, host_geometry().lanes)
        t["tap"] = t["vector"] * (2 * (int(attrs["size"]) // 2) + 1)  # type: ignore[arg-type]
        return t.traffic(operands(op, types, attrs))

    return terms


def _parts_bytes(types: Types, attrs: Attrs) -> int:
    return 4 * LRN_PIXELS * types[0].shape[-1]


LRN = (cpu_record("lrn", "lrn", _terms("lrn")), cpu_record("lrn_grad", "lrn_grad", _terms("lrn_grad"), workspace=_parts_bytes))
