"""Records of batch normalization. Training goes over its images more than once, and what is read again counts as bytes again."""

from collections.abc import Callable, Iterable

from graph.op import OPS, Attrs, Size
from graph.tensor_type import f32
from hw.kernels.count import FAR, Terms
from hw.kernels.cpu.common import Counts, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, ceil_div, row_block

SWEEPS = {"batch_norm": 3, "batch_norm_grad": 2, "batch_norm_inference": 1}
"""How often a kernel goes over its images."""
IMAGES = {"batch_norm": 1, "batch_norm_grad": 2, "batch_norm_inference": 1}
"""How many operands are images."""
_LARGE = ((2_500, 130), (30_000, 14), (700, 500), (17_000, 36))
"""(values of a channel, channels) beyond the operators' own sizes: what does not stay in the second-level cache."""


def _terms(op: str) -> Counts:
    def terms(types: Types, attrs: Attrs) -> Terms:
        t, columns = Terms(), types[0].shape[-1]
        rows = types[0].size // columns if columns else 0
        chunks = ceil_div(columns, host_geometry().lanes)
        t["panel"] = SWEEPS[op] * chunks * ceil_div(rows, row_block(columns))
        t["vector"] = SWEEPS[op] * chunks * rows
        t.traffic(operands(op, types, attrs))
        images = IMAGES[op] * types[0].nbytes
        t["bytes"] += (SWEEPS[op] - 1) * images
        t["far"] += (SWEEPS[op] - 1) * max(0, images - FAR)
        return t

    return terms


def _sizes(op: str) -> Callable[[], Iterable[Size]]:
    def sizes() -> Iterable[Size]:
        yield from OPS[op].sizes()
        for rows, c in _LARGE:
            vectors = len(OPS[op].inputs) - IMAGES[op]
            yield Size(types=(f32(rows, c),) * IMAGES[op] + (f32(c),) * vectors, attrs={"epsilon": 1e-3})

    return sizes


BATCH_NORM = tuple(cpu_record(op, op, _terms(op), _sizes(op)) for op in SWEEPS)
