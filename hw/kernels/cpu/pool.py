"""Records of the pooling kernels."""

from graph.op import Attrs
from hw.kernels.count import Terms
from hw.kernels.cpu.common import Counts, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, ceil_div


def _numbers(attrs: Attrs, *names: str) -> list[int]:
    return [int(attrs[n]) for n in names]  # type: ignore[arg-type]


def _held(extent: int, attrs: Attrs) -> tuple[int, int]:
    """Along an axis: (windows, pairs of a place in the image and a window that holds it)."""
    window, stride, pad = _numbers(attrs, "window", "stride", "pad")
    out = (extent + 2 * pad - window) // stride + 1
    return out, sum(min(window, extent + pad - o * stride) - max(0, pad - o * stride) for o in range(out))


def _pool_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        b, h, w, c = types[0].shape
        (oh, rows), (ow, columns) = _held(h, attrs), _held(w, attrs)
        chunks = ceil_div(c, host_geometry().lanes)
        t["pixel"] = b * oh * ow * chunks
        t["tap"] = b * rows * columns * chunks
        return t.traffic(operands(op, types, attrs))

    return terms


def _pool_grad_terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        b, c = types[0].shape[0], types[0].shape[3]
        h, w, window, stride, pad = _numbers(attrs, "height", "width", "window", "stride", "pad")
        (oh, rows), (ow, columns) = _held(h, attrs), _held(w, attrs)
        chunks = ceil_div(c, host_geometry().lanes)
        if stride >= window and op == "max_pool_grad":
            t["pixel"] = b * oh * ow * chunks
            t["tap"] = b * rows * columns * chunks
            if stride > window or oh * window < h + pad or ow * window < w + pad:
                t["zeroed"] = 4 * b * h * w * c
        else:
            t["gathered"] = b * h * w * chunks
            t["held"] = b * rows * columns * chunks
        return t.traffic(operands(op, types, attrs))

    return terms


POOL = (
    cpu_record("max_pool", "max_pool", _pool_terms("max_pool")),
    cpu_record("avg_pool", "avg_pool", _pool_terms("avg_pool")),
    cpu_record("max_pool_grad", "max_pool_grad", _pool_grad_terms("max_pool_grad")),
    cpu_record("avg_pool_grad", "avg_pool_grad", _pool_grad_terms("avg_pool_grad")),
)
