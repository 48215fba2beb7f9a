"""Software stacks: what a framework adds to kernels and links, and how it uses memory. A record; `hw.stacks` has the known ones.

A prediction without a stack is that of kernels and links alone, and is the default. A stack's constants come from its code or are
fitted on measurements of whole models, and then the file of the stack says on which: such a prediction is labelled with the
stack's name, and its fitted measurements are never counted as predicted.
"""

from graph.parallel.plan import Plan
from graph.record import record
from hw.errors import HwError
from hw.kernels.record import KERNELS
from hw.lowered import Lowered

IN_PLACE = frozenset({"relu", "tanh", "add_bias", "dropout"})
"""Operators whose result takes the place of their operand."""


@record
class Stack:
    """A software stack.

    Parameters
    ----------
    name : catalogue name, e.g. ``"mxnet-2016"``.
    title : for people.
    array_seconds : of the host, for each parameter array that a step renews, and again for each that it exchanges with other
        devices; the device waits meanwhile.
    copy_bytes_per_second : that the host of a node brings from pageable memory to all its devices together, by way of the
        driver's buffers; None: as fast as the links.
    decode_seconds : of a core, to make a stored sample ready; None: what the scenario says.
    is_numbered : ranks take devices in the order of their numbers, so a ring goes that way; else along the best ring.
    contention : factor on compute while a transfer of the rank is under way, where kernels of the device drive the transfer.
    keeps_results : every operator's result has memory of its own, those of `IN_PLACE` excepted; else memory is planned, as
        `hw.lower` does.
    reserved : fraction of a device's memory that the system and the stack take for themselves.
    """

    name: str
    title: str = ""
    array_seconds: float = 0.0
    copy_bytes_per_second: float | None = None
    decode_seconds: float | None = None
    is_numbered: bool = False
    contention: float = 1.0
    keeps_results: bool = False
    reserved: float = 0.0

    def __post_init__(self) -> None:
        for what, x in (("array_seconds", self.array_seconds), ("decode_seconds", self.decode_seconds or 0.0)):
            if not x >= 0:
                raise HwError(f"stack {self.name!r}: {what} must not be negative, got {x}")
        if not self.contention >= 1:
            raise HwError(
                f"stack {self.name!r}: contention makes compute slower, by a factor of at least 1, got {self.contention}"
            )
        if self.copy_bytes_per_second is not None and not self.copy_bytes_per_second > 0:
            raise HwError(f"stack {self.name!r}: a host copies more than 0 bytes per second, got {self.copy_bytes_per_second:g}")
        if not 0 <= self.reserved < 1:
            raise HwError(f"stack {self.name!r}: reserved is a fraction from 0 to below 1, got {self.reserved}")

    def step_seconds(self, plan: Plan, role: str) -> float:
        """What the host does between two steps of a rank, array by array."""
        graph = plan.role[role].graph
        arrays = 0 if graph is None else sum(name.startswith("grad:") for name in graph.outputs)
        is_alone = sum(r.role == role for r in plan.ranks) == 1
        return self.array_seconds * arrays * (1 if is_alone else 2)

    def nbytes(self, lowered: Lowered) -> int:
        """Bytes that a rank needs."""
        return kept_nbytes(lowered) if self.keeps_results else lowered.layout.nbytes


def kept_nbytes(lowered: Lowered) -> int:
    """Bytes of the buffers, and of every kernel's results, those of `IN_PLACE` operators excepted."""
    graph, buffers = lowered.graph, lowered.plan.role[lowered.role].buffers
    held = {v for b in buffers.values() for v in b.values}
    made = {
        v for c in lowered.calls if KERNELS[c.kernel].op not in IN_PLACE for v in c.writes if v in graph.values and v not in held
    }
    return sum(b.size * b.itemsize * b.slots for b in buffers.values()) + sum(graph.type_of(v).nbytes for v in made)
