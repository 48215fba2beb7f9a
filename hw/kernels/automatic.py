"""Records made from the operator alone: calls and bytes. They fit every kernel that goes once over its operands."""

from graph.op import Attrs, Op
from hw.kernels.count import Terms
from hw.kernels.record import KernelRecord, Platform
from hw.kernels.tiling import Types


def automatic(op: Op, platform: Platform) -> KernelRecord:
    """The record ``"<platform>.<op>"`` of a kernel without workspace or epilogue, with the operator's own sizes."""

    def terms(types: Types, attrs: Attrs) -> Terms:
        return Terms().traffic((*types, *op.infer(types, {**op.attrs, **attrs})))

    return KernelRecord(
        name=f"{platform}.{op.name}",
        platform=platform,
        op=op.name,
        epilogue=(),
        workspace=lambda types, attrs: 0,
        terms=terms,
        sizes=op.sizes,
    )
