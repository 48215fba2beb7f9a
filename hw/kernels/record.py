"""Kernel records: what is known of a kernel without its code. `runtime` implements them, `hw.cost` prices them.

A record belongs to one platform. Its `terms` are counts of what its loops do (tiles, vector multiply-adds, bytes, calls);
a calibrated device has one coefficient (seconds) per term, fitted by `hw.cost.calibrated`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from graph.ir import Phase
from graph.op import Attr, Attrs, Size, Work
from graph.record import record
from graph.registry import Registry
from graph.tensor_type import TensorType

VENDOR = "vendor"
"""Algorithm that is a library of the device's maker: there, and calibrated, only where that library is installed."""


class Platform(StrEnum):
    """Families of devices that share kernels."""

    CPU = "cpu"
    CUDA = "cuda"
    NFU = "nfu"


@record
class KernelRecord:
    """A kernel.

    Parameters
    ----------
    name : ``"<platform>.<op>"`` or, where an operator has several algorithms, ``"<platform>.<op>.<algorithm>"``.
    platform : where it runs.
    op : the operator that it computes (the first one, when it fuses).
    epilogue : operators that it can compute in place on its result, in this order, e.g. ``("add_bias", "relu")``.
    workspace : (input types, attrs) -> bytes of scratch memory.
    terms : (input types, attrs) -> name -> count; exact and never negative.
    sizes : committed grid for calibration.
    is_epilogue_optional : any of the epilogue's operators may be missing; otherwise none before one that is there.
    prologue : operators of one operand that it can compute on its own operands, whichever come from one of them, e.g.
        ``("dequantize",)``. It then reads the operand of that operator instead.
    arithmetic : numbers that it multiplies, as devices name their peaks (`hw.device.Device.peak`), where it rounds its operands
        first; ``""``: those of its operands.
    """

    name: str
    platform: Platform
    op: str
    epilogue: tuple[str, ...]
    workspace: Callable[[Sequence[TensorType], Attrs], int]
    terms: Callable[[Sequence[TensorType], Attrs], Mapping[str, float]]
    sizes: Callable[[], Iterable[Size]]
    is_epilogue_optional: bool = False
    prologue: tuple[str, ...] = ()
    arithmetic: str = ""

    @property
    def algorithm(self) -> str:
        """The last part of its name, where it has three; ``""``: the only algorithm, or the one that has no name."""
        return self.name.split(".", 2)[2] if self.name.count(".") == 2 else ""


@record
class Call:
    """One lowered action: a kernel on given values. What is predicted is what is run.

    Parameters
    ----------
    kernel : name of the record.
    nodes : graph nodes that it covers: the anchor, those of its epilogue in order, those of its prologue, which another call may
        cover as well.
    fused : the epilogue operators that are really fused here.
    reads, writes : value names: those of the anchor operator, then those that the epilogue adds (the bias). Where an operator
        of the prologue makes such a value, its operand stands instead.
    types : types of `reads`.
    attrs : attributes of the anchor operator (`own_attrs`). Of a kernel that has an epilogue also ``"epilogue"``: fused operators
        joined by ``"+"``, or ``""``; and their attributes as ``"<operator>.<attribute>"``, e.g. ``"quantize.fraction"``. Of one
        that has a prologue also ``"prologue"``: for each of `reads` what is done to it, or nothing, joined by ``"+"``, e.g.
        ``"dequantize++dequantize"``; and their attributes as ``"<operator>.<place in reads>.<attribute>"``, e.g.
        ``"dequantize.0.fraction"``.
    work : exact work of the covered nodes, less the traffic that fusion saves.
    workspace : bytes.
    layer, phase : of the anchor node.
    """

    kernel: str
    nodes: tuple[str, ...]
    fused: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    types: tuple[TensorType, ...]
    attrs: Attrs
    work: Work
    workspace: int
    layer: str
    phase: Phase


def own_attrs(attrs: Attrs) -> dict[str, Attr]:
    """Of a call's attributes those of its anchor operator, without what epilogue and prologue add."""
    return {k: v for k, v in attrs.items() if k not in ("epilogue", "prologue") and "." not in k}


KERNELS: Registry[KernelRecord] = Registry("kernel")
