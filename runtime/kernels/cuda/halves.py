"""Operands of matrix products rounded to 16 bits beforehand, into the workspace, once for all tiles that read them."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from numba import cuda

from graph.tensor_type import DType
from hw.kernels.tiling import aligned
from runtime.kernels.cuda.kernel import F32, I16, WHOLE, DeviceKernel, Launch, Place
from runtime.kernels.cuda.operands import Precision
from runtime.kernels.cuda.primitives import load4, put4_bf16, put4_fp16


def _halved(name, put4):
    def function(x, y, fours):
        i = cuda.grid(1)
        if i < fours:
            a, b, c, d = load4(x, 4 * i)
            put4(y, 4 * i, a, b, c, d)

    return DeviceKernel(name, function, (F32, I16, WHOLE), least=(8, 0), is_hot=True, wants=("ld.global.v4", "st.global.v2"))


HALVED = {Precision.BF16: _halved("rounded_bf16", put4_bf16), Precision.FP16: _halved("rounded_fp16", put4_fp16)}
"""Precision -> the kernel."""
MOST_BLOCKS = 2**31 - 1


def halved(precision: Precision, places: Sequence[Place], workspace: Place, first: int) -> tuple[list[Place], list[Launch]]:
    """Where operands lie rounded, and what rounds them: one after the other, from byte `first` of the workspace on. Operands have
    a multiple of 4 elements."""
    found, launches, at = list[Place](), list[Launch](), 4 * aligned(first // 4)
    for place in places:
        to = workspace.part(DType.I16, at // 2, place.size)
        launches.append(HALVED[precision].over(place.size, place.operand, to.operand, place.size // 4, each=4, most=MOST_BLOCKS))
        found.append(to)
        at += 4 * aligned(place.size // 2)
    return found, launches
