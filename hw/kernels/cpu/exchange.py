"""Records of the local halves of exchanges: bytes copied by this rank in one round, not those of the whole value."""

from collections.abc import Iterable

from graph.op import OPS, Attrs, Size
from graph.ops.exchange import WHOLE, copied_nbytes
from graph.tensor_type import f32
from hw.kernels.count import Terms
from hw.kernels.cpu.common import BUFFER_SIZES, Counts, cpu_record
from hw.kernels.tiling import Types


def _terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        return Terms().moved(2 * copied_nbytes(op, types, {**OPS[op].attrs, **attrs}))

    return terms


def _sizes() -> Iterable[Size]:
    """All that a rank copies, whatever the scheme, is bytes: so one rank, one scheme."""
    return tuple(Size(types=(f32(n),), attrs={"ranks": 1, "scheme": WHOLE, "same": False}) for n in BUFFER_SIZES)


EXCHANGE = tuple(cpu_record(op, op, _terms(op), _sizes) for op in ("gather_rows", "scatter_rows"))
