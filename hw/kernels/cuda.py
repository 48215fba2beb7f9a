"""Records of CUDA kernels. GPUs that are priced from their data sheet ask for calls, floating-point operations and bytes, those
that are calibrated also for what the launches of a call do.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from graph.op import Attrs, Op, Size
from graph.ops.conv import CONV
from graph.ops.matmul import matmul
from graph.tensor_type import TensorType
from hw.kernels.cuda_conv import WORKSPACES as OF_CONVOLUTIONS
from hw.kernels.cuda_gemm import matmul_workspace, rounded_matmul_workspace
from hw.kernels.cuda_sizes import sizes_of
from hw.kernels.cuda_sums import batch_norm_workspace, column_sum_workspace, dot_workspace, softmax_workspace
from hw.kernels.cuda_terms import PRODUCTS, SUMS
from hw.kernels.cuda_vendor import WORKSPACES as VENDOR_WORKSPACES
from hw.kernels.record import VENDOR, KernelRecord, Platform
from hw.kernels.tiling import Types

READ_AGAIN: Mapping[str, int] = {"batch_norm": 1, "batch_norm_grad": 2}
"""Operators whose statistics need a pass over their images before the pass that uses them -> how many of the operands are images.
(A batch that fits a multiprocessor's shared memory need not be read again; those of training do not.)"""
PRECISIONS: Mapping[str, str] = {"tf32": "tf32", "bf16": "bf16", "fp16": "f16"}
"""Algorithms that round operands for tensor cores -> their format, as devices name their peaks."""
FUSING = frozenset({"matmul", "conv2d"})
"""Operators whose kernels take a bias and a ReLU into their epilogue."""
WORKSPACES: Mapping[str, Callable[[Types, Attrs], int]] = {
    "batch_norm": batch_norm_workspace,
    "batch_norm_grad": batch_norm_workspace,
    "bias_grad": column_sum_workspace,
    "dot": dot_workspace,
    "matmul": matmul_workspace,
    "matmul.bf16": rounded_matmul_workspace,
    "matmul.fp16": rounded_matmul_workspace,
    "softmax_cross_entropy": softmax_workspace,
    **OF_CONVOLUTIONS,
}
"""Operators, or one algorithm of theirs, whose kernels need scratch memory -> its bytes. The others need none."""


def _nbytes(types: Iterable[TensorType]) -> int:
    return sum(t.nbytes for t in types)


def workspace_of(op: str, algorithm: str = "") -> Callable[[Types, Attrs], int]:
    """Bytes of scratch memory that kernels of an operator need, by operands."""
    return WORKSPACES.get(f"{op}.{algorithm}") or WORKSPACES.get(op) or (lambda types, attrs: 0)


def terms_of(op: Op, types: Types, attrs: Attrs, algorithm: str = "") -> Mapping[str, float]:
    """Exact work of the operator, and of its epilogue, whose traffic is only the bias; what is read again counts as bytes, and so
    do operands that are rounded beforehand: read and written once more, then read in half the bytes."""
    plain = {**op.attrs, **{k: v for k, v in attrs.items() if k != "epilogue"}}
    own, bias = types[: op.operands(len(types))], types[op.operands(len(types)) :]
    work = op.work(own, plain)
    fused = [f for f in str(attrs.get("epilogue", "")).split("+") if f]
    flop = work.flop + len(fused) * op.infer(own, plain)[0].size
    again = _nbytes(own[: READ_AGAIN.get(op.name, 0)])
    rounded = workspace_of(op.name, algorithm)(own, plain) - workspace_of(op.name)(own, plain)
    return {"call": 1, "flop": flop, "bytes": work.nbytes + _nbytes(bias) + again + 2 * rounded}


def has_loops(op: str, algorithm: str) -> bool:
    """Whether a kernel of ours does more than to go over its operands."""
    return algorithm != VENDOR and (op in PRODUCTS or op in SUMS)


def loops_of(op: Op, types: Types, attrs: Attrs, algorithm: str) -> Mapping[str, float]:
    """What the launches of a call do, where it is more than to go over the operands; see `hw.kernels.cuda_terms`."""
    if not has_loops(op.name, algorithm):
        return {}
    plain, own = {**op.attrs, **attrs}, types[: op.operands(len(types))]
    return PRODUCTS[op.name](own, plain, algorithm) if op.name in PRODUCTS else SUMS[op.name](own, plain)


def cuda_record(op: Op, algorithm: str = "") -> KernelRecord:
    """The record ``"cuda.<op>"``, or ``"cuda.<op>.<algorithm>"``."""
    return KernelRecord(
        name=f"cuda.{op.name}" + (f".{algorithm}" if algorithm else ""),
        platform=Platform.CUDA,
        op=op.name,
        epilogue=("add_bias", "relu") if op.name in FUSING else (),
        workspace=workspace_of(op.name, algorithm),
        terms=lambda types, attrs: {**terms_of(op, types, attrs, algorithm), **loops_of(op, types, attrs, algorithm)},
        sizes=sizes_of(op),
        arithmetic=PRECISIONS.get(algorithm, ""),
    )


def vendor_record(op: Op) -> KernelRecord:
    """The record ``"cuda.<op>.vendor"``: cuBLAS or cuDNN in exact f32. What comes after is left to kernels of its own."""
    return replace(cuda_record(op, VENDOR), epilogue=(), workspace=VENDOR_WORKSPACES[op.name])


RECORDS = tuple(
    record
    for op in (matmul, *CONV)
    for record in (*(cuda_record(op, algorithm) for algorithm in ("", *PRECISIONS)), vendor_record(op))
)
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
        terms=lambda types, attrs: {"call": 1, "flop": 0, "bytes": 2 * _nbytes(types), **SUMS["input"](types, attrs)},
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
