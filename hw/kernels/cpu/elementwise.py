"""Record of the sum of micro-batches: whole buffers, no operator."""

from collections.abc import Iterable

from graph.op import Attrs, Size
from graph.tensor_type import f32
from hw.kernels.count import Terms
from hw.kernels.cpu.common import BUFFER_SIZES, cpu_record
from hw.kernels.tiling import Types


def _accumulate_terms(types: Types, attrs: Attrs) -> Terms:
    return Terms().traffic((*types, types[0]))


def _accumulate_sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(n), f32(n)), attrs={}) for n in BUFFER_SIZES)


ELEMENTWISE = (cpu_record("accumulate", "accumulate", _accumulate_terms, _accumulate_sizes),)
