"""What the records of CPU kernels share."""

from collections.abc import Callable, Iterable, Mapping

from graph.op import OPS, Attrs, Size
from graph.tensor_type import TensorType
from hw.kernels.count import Terms
from hw.kernels.geometry import host_geometry
from hw.kernels.record import KernelRecord, Platform
from hw.kernels.tiling import Types, ceil_div

Counts = Callable[[Types, Attrs], Mapping[str, float]]
EPILOGUES = ("", "add_bias", "add_bias+relu")
FUSED = ("add_bias", "relu")
BUFFER_SIZES = (500, 1_700, 6_100, 21_000, 73_000, 180_000, 510_000)


def operands(op: str, types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """Operands and results of a call; `types` may hold a bias last."""
    plain = {**OPS[op].attrs, **{k: v for k, v in attrs.items() if k != "epilogue"}}
    return (*types, *OPS[op].infer(types[: OPS[op].operands(len(types))], plain))


def nothing(types: Types, attrs: Attrs) -> int:
    """No workspace."""
    return 0


def cpu_record(
    name: str,
    op: str,
    terms: Counts,
    sizes: Callable[[], Iterable[Size]] | None = None,
    workspace: Callable[[Types, Attrs], int] = nothing,
    epilogue: tuple[str, ...] = (),
) -> KernelRecord:
    """The record ``"cpu.<name>"``; by default with the operator's own sizes, without workspace and epilogue."""
    return KernelRecord(
        name=f"cpu.{name}",
        platform=Platform.CPU,
        op=op,
        epilogue=epilogue,
        workspace=workspace,
        terms=terms,
        sizes=sizes or OPS[op].sizes,
    )


def row_terms(op: str) -> Counts:
    """Kernels that go through a matrix row by row, a vector at a time."""

    def terms(types: Types, attrs: Attrs) -> Terms:
        t = Terms()
        columns = types[0].shape[-1]
        t["row"] = types[0].size // columns if columns else 0
        t["vector"] = t["row"] * ceil_div(columns, host_geometry().lanes)
        return t.traffic(operands(op, types, attrs))

    return terms
