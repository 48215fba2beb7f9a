"""Workspaces of the kernels that are a vendor's libraries (``"cuda.<op>.vendor"``): fixed by shapes, whatever the library is.

cuBLAS is given what its documentation recommends for the largest of today's GPUs (cublasSetWorkspace: 32 MiB on Hopper), and no
call needs more. cuDNN is given room to lay out images, results and weights once more beside that, which is what those of its
algorithms in f32 ask for that compute in another order of axes; what asks for more is left out. Weights lie before that, in the
order that cuDNN wants them in: filter, row, column, channel.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod

from graph.op import OPS, Attrs
from graph.tensor_type import TensorType
from hw.kernels.tiling import aligned_to

Types = Sequence[TensorType]

ALIGN = 256
"""Bytes to which libraries want their workspace aligned (cublasSetWorkspace), and so many are lost at most at its beginning."""
LIBRARY = 32 << 20
"""Bytes."""


def blas_workspace(types: Types, attrs: Attrs) -> int:
    """Bytes of ``matmul``."""
    return LIBRARY + ALIGN


def turned_nbytes(types: Types, attrs: Attrs, op: str) -> int:
    """Bytes of the weights of a convolution or one of its gradients."""
    weights = OPS[op].infer(types, attrs)[0] if op == "conv2d_grad_weight" else types[1]
    return aligned_to(4 * prod(weights.shape), ALIGN)


def dnn_workspace(types: Types, attrs: Attrs, op: str) -> int:
    """Bytes of a convolution or one of its gradients: turned weights, then what the library has."""
    (result,) = OPS[op].infer(types, {**OPS[op].attrs, **attrs})
    return ALIGN + turned_nbytes(types, {**OPS[op].attrs, **attrs}, op) + sum(t.nbytes for t in (*types, result)) + LIBRARY


WORKSPACES: Mapping[str, Callable[[Types, Attrs], int]] = {
    "matmul": blas_workspace,
    **{op: partial(dnn_workspace, op=op) for op in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")},
}
"""Operator -> bytes of its kernel's workspace."""
