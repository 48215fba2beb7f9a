"""The arena of one rank on a GPU: all of its values in one allocation, at the places that `hw.lower` chose.

What it gives is a copy on the host; what is set is copied to the GPU. Both wait for nothing that is under way: ask between steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Kind
from graph.op import OPS
from graph.parallel.plan import BufferKind, Do, Rank
from graph.tensor_type import DType, TensorType
from hw.kernels.record import Call, own_attrs
from hw.lowered import Lowered
from hw.model import GPU_PAGE
from runtime.arena import Places
from runtime.cuda.device import Device
from runtime.errors import RunError
from runtime.shards import Piece

Array = npt.NDArray[Any]


class DeviceArena(Places):
    """Memory of a rank.

    Parameters
    ----------
    lowered : says what lies where.
    rank : whose.
    device : where.

    Raises
    ------
    RunError : the device has not so much left; says what would fit.
    """

    def __init__(self, lowered: Lowered, rank: Rank, device: Device) -> None:
        super().__init__(lowered, rank)
        self.device = device
        try:
            self.memory = device.allocate(-(-self.arena_nbytes // GPU_PAGE) * GPU_PAGE)  # whole pages: nothing else beside it
        except RunError as e:
            raise RunError(f"{rank}: {e}; {what_fits(lowered, device.free_nbytes())}") from e
        self.base = device.address(self.memory)

    def touch(self) -> None:
        """Clear it."""
        self.device.clear(self.memory)

    # ------------------------------------------------------------------------------------------------------ places

    def at(self, place: int, dtype: DType, size: int) -> Any:
        """A flat device array of so many elements, so many bytes into the arena. Empty ones begin where the arena does."""
        if not size:
            return self.memory[:0].view(dtype.numpy)
        return self.memory[place : place + size * dtype.itemsize].view(dtype.numpy)

    def arrays(self, do: Do, call: Call, moved: tuple[int, int] = (0, 0)) -> list[Any]:
        """Device arrays of a call's reads, writes and workspace.

        `moved` are bytes from the beginning of what is read, and of what is written, to where this rank's part of it begins.
        """
        return [self.at(*extent) for extent in extents(self.lowered, self.rank, do, call, moved)]

    # ------------------------------------------------------------------------------------------------------ values

    def array(self, value: str, *, slot: int = 0) -> Array:
        """A copy of a value, by name. Intermediates share memory: look at them at once."""
        t, at = self.lowered.graph.type_of(value), self.offset(value, slot)
        return self._copied(at, t.dtype, t.shape)

    def persistent(self) -> dict[str, Array]:
        """Copies of all parameters and state of the graph, by name, for a rank that holds them whole."""
        return {name: self.array(name) for name in self.persistent_names()}

    def load(self, values: Mapping[str, Array]) -> None:
        """Set values by name."""
        for name, a in values.items():
            t = self.lowered.graph.type_of(name)
            self._set(self.offset(name), t.dtype, np.broadcast_to(a, t.shape))

    def piece(self, p: Piece) -> Array:
        """A copy of a piece of a parameter or state."""
        return self._copied(self.piece_offset(p), self.lowered.graph.type_of(p.name).dtype, p.shape)

    def put(self, p: Piece, values: Array) -> None:
        """Set a piece of a parameter or state."""
        self._set(self.piece_offset(p), self.lowered.graph.type_of(p.name).dtype, np.broadcast_to(values, p.shape))

    def _copied(self, at: int, dtype: DType, shape: Sequence[int]) -> Array:
        found = np.empty(shape, dtype.numpy)
        self.device.download(found.reshape(-1), self.at(at, dtype, found.size))
        return found

    def _set(self, at: int, dtype: DType, values: Array) -> None:
        flat = np.ascontiguousarray(values, dtype.numpy).reshape(-1)
        self.device.upload(self.at(at, dtype, flat.size), flat)


def extents(low: Lowered, rank: Rank, do: Do, call: Call, moved: tuple[int, int] = (0, 0)) -> list[tuple[int, DType, int]]:
    """(bytes into a rank's arena, elements of which type, how many) of a call's reads, writes and workspace; `moved` as above."""
    found = []
    for names, types, skip in ((call.reads, call.types, moved[0]), (call.writes, outputs_of(call), moved[1])):
        for v, t in zip(names, types, strict=True):
            found.append((low.offset(do, v, rank) + skip, t.dtype, t.size - skip // t.dtype.itemsize))
    return [*found, (low.layout.workspace, DType.U8, call.workspace)]


def outputs_of(call: Call) -> tuple[TensorType, ...]:
    """Types of what a call writes."""
    op = OPS.get(call.kernel.split(".")[1])
    if op is None:  # a kernel on buffers writes the first of them
        return call.types[:1]
    return tuple(op.infer(call.types[: op.operands(len(call.types))], {**op.attrs, **own_attrs(call.attrs)}))


def what_fits(lowered: Lowered, free: int) -> str:
    """About how many samples of a micro-batch so many bytes hold, in words: what is no parameter grows with the samples."""
    samples = max((v.type.shape[0] for v in lowered.graph.of_kind(Kind.DATA) if v.type.rank), default=1)
    kinds = (BufferKind.PARAMETER, BufferKind.STATE, BufferKind.GRADIENT)
    buffers = lowered.plan.role[lowered.role].buffers.values()
    fixed = sum(b.nbytes for b in buffers if b.kind in kinds and b.shared in (None, lowered.role))
    most = samples * (free - fixed) // max(lowered.layout.nbytes - fixed, 1)
    if most < 1:
        return f"{fixed:,} of them are for parameters and their gradients, whatever the batch: not even one sample would fit"
    return f"micro-batches of about {most} samples would fit instead of {samples}: use a smaller batch, or more micro-batches"
