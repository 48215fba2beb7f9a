"""Which calls of algorithms that round their operands for tensor cores compute in f32 all the same.

Asks the cuts that kernels follow, so that results say what is launched. What is known here is shapes: weights of a convolution
that do not begin at a multiple of 16 bytes in the arena are read one by one too, and so in f32.
"""

from hw.kernels.cuda_conv import windows
from hw.kernels.cuda_gemm import matmul_cut
from hw.kernels.record import KERNELS, Call, Platform


def why_f32(call: Call) -> str:
    """Why a call multiplies in f32 though its algorithm rounds operands, in words; ``""``: it rounds them, or never does."""
    record = KERNELS[call.kernel]
    if record.platform is not Platform.CUDA or not record.arithmetic:
        return ""
    if record.op == "matmul":
        return "" if matmul_cut(call.types[:2], call.attrs).tile else "products with a vector"
    w = windows(record.op, call.types[:2], call.attrs)
    return "" if w.in_fours or w.is_pointwise else "channels of a group are no multiple of four"
