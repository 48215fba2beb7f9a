"""Records of CUDA kernels, for GPUs that are priced from their data sheet: calls, floating-point operations, bytes."""

from collections.abc import Callable, Iterable, Mapping

from graph.op import Attrs, Op, Size
from graph.ops.conv import CONV
from graph.ops.matmul import matmul
from graph.tensor_type import TensorType
from hw.kernels.cuda_conv import WORKSPACES as OF_CONVOLUTIONS
from hw.kernels.cuda_gemm import matmul_workspace
from hw.kernels.cuda_sums import batch_norm_workspace, column_sum_workspace, dot_workspace, softmax_workspace
from hw.kernels.record import KernelRecord, Platform
from hw.kernels.tiling import Types

READ_AGAIN: Mapping[str, int] = {"batch_norm": 1, "batch_norm_grad": 2}
"""Operators whose statistics need a pass over their images before the pass that uses them -> how many of the operands are images.
(A batch that fits a multiprocessor's shared memory need not be read again; those of training do not.)"""
FUSING = frozenset({"matmul", "conv2d"})
"""Operators whose kernels take a bias and a ReLU into their epilogue."""
WORKSPACES: Mapping[str, Callable[[Types, Attrs], int]] = {
    "batch_norm": batch_norm_workspace,
    "batch_norm_grad": batch_norm_workspace,
    "bias_grad": column_sum_workspace,
    "dot": dot_workspace,
    "matmul": matmul_workspace,
    "softmax_cross_entropy": softmax_workspace,
    **OF_CONVOLUTIONS,
}
"""Operators whose kernels need scratch memory -> its bytes. The others need none."""


def _nbytes(types: Iterable[TensorType]) -> int:
    return sum(t.nbytes for t in types)


def terms_of(op: Op, types: Types, attrs: Attrs) -> Mapping[str, float]:
    """Exact work of the operator, and of its epilogue, whose traffic is only the bias; what is read again counts as bytes."""
    plain = {**op.attrs, **{k: v for k, v in attrs.items() if k != "epilogue"}}
    own, bias = types[: op.operands(len(types))], types[op.operands(len(types)) :]
    work = op.work(own, plain)
    fused = [f for f in str(attrs.get("epilogue", "")).split("+") if f]
    flop = work.flop + len(fused) * op.infer(own, plain)[0].size
    again = own[: READ_AGAIN.get(op.name, 0)]
    return {"call": 1, "flop": flop, "bytes": work.nbytes + _nbytes(bias) + _nbytes(again)}


def cuda_record(op: Op, algorithm: str = "") -> KernelRecord:
    """The record ``"cuda.<op>"``, or ``"cuda.<op>.<algorithm>"``."""
    return KernelRecord(
        name=f"cuda.{op.name}" + (f".{algorithm}" if algorithm else ""),
        platform=Platform.CUDA,
        op=op.name,
        epilogue=("add_bias", "relu") if op.name in FUSING else (),
        workspace=WORKSPACES.get(op.name, lambda types, attrs: 0),
        terms=lambda types, attrs: terms_of(op, types, attrs),
        sizes=op.sizes,
    )


PRECISIONS = ("tf32", "bf16", "fp16")
"""Algorithms that round operands for tensor cores."""
RECORDS = tuple(cuda_record(op, algorithm) for op in (matmul, *CONV) for algorithm in ("", *PRECISIONS))
"""Of operators with several algorithms, the preferred one first. An operator that is not here gets its record when asked for."""


def _none() -> Iterable[Size]:
    return ()


BUFFERS = (
    KernelRecord(
        name="cuda.input",
        platform=Platform.CUDA,
        op="input",
        epilogue=(),
        workspace=lambda types, attrs: 0,
        terms=lambda types, attrs: {"call": 1, "flop": 0, "bytes": 2 * _nbytes(types)},
        sizes=_none,
    ),
    KernelRecord(
        name="cuda.accumulate",
        platform=Platform.CUDA,
        op="accumulate",
        epilogue=(),
        workspace=lambda types, attrs: 0,
        terms=lambda types, attrs: {"call": 1, "flop": types[0].size, "bytes": 3 * types[0].nbytes},
        sizes=_none,
    ),
)
"""Kernels without an operator: the copy of the input stage and the sum of micro-batches."""
