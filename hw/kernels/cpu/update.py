"""Record of the input stage's copy: whole buffers, no operator."""

from collections.abc import Iterable

from graph.op import Attrs, Size
from graph.tensor_type import f32
from hw.kernels.count import Terms
from hw.kernels.cpu.common import BUFFER_SIZES, cpu_record
from hw.kernels.tiling import Types, aligned_to


def _input_terms(types: Types, attrs: Attrs) -> Terms:
    return Terms().traffic(2 * tuple(f32(aligned_to(t.nbytes, 64) // 4) for t in types))


def _input_sizes() -> Iterable[Size]:
    return tuple(Size(types=(f32(n),), attrs={}) for n in BUFFER_SIZES)


UPDATE = (cpu_record("input", "input", _input_terms, _input_sizes),)
