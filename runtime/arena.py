"""The arena of one rank: all of its values in one piece of memory, at the places that `hw.lower` chose."""

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Kind
from graph.parallel.plan import Rank
from hw.lowered import STRIDE, Lowered
from runtime.errors import InvalidJob
from runtime.shards import Piece

Array = npt.NDArray[Any]


class Places:
    """Where the values of a rank lie in its arena, whatever memory that is in.

    Parameters
    ----------
    lowered : says what lies where.
    rank : whose.
    """

    def __init__(self, lowered: Lowered, rank: Rank) -> None:
        self.lowered, self.plan, self.rank = lowered, lowered.plan, rank
        self.arena_nbytes = max(lowered.layout.nbytes, 1)

    def offset(self, value: str, slot: int = 0) -> int:
        """Bytes from the start of the arena to a value, by name.

        A value of micro-batch m that has a place of its own (loss, sample) is found with ``slot=m``.
        """
        v, layout = value, self.lowered.layout
        while v in layout.views:
            v = layout.views[v]
        if v in layout.values:
            return layout.values[v] + (STRIDE * slot if v in layout.per_micro_batch else 0)
        buffer, inside = self._buffer_of(v)
        return layout.buffers[buffer, slot] + inside

    def piece_offset(self, p: Piece) -> int:
        """Bytes from the start of the arena to a piece of a parameter or state."""
        return self.lowered.layout.buffers[p.buffer, 0] + p.at * self.lowered.graph.type_of(p.name).dtype.itemsize

    def persistent_names(self) -> list[str]:
        """All parameters and state of the graph."""
        return [v.name for kind in (Kind.PARAMETER, Kind.STATE) for v in self.lowered.graph.of_kind(kind)]

    def _buffer_of(self, value: str) -> tuple[str, int]:
        """(buffer that holds a value, its offset in a slot)."""
        for name, b in self.plan.role[self.rank.role].buffers.items():
            at = 0
            for v in b.values:
                if v == value:
                    return name, at
                at += self.lowered.graph.type_of(v).nbytes
                at += -at % 64 if b.kind == "data" else 0
        raise InvalidJob(f"no value {value!r} in the arena of {self.rank}")


class Arena(Places):
    """Memory of a rank in this process; its pages are there once it has been touched.

    Parameters
    ----------
    lowered : says what lies where.
    rank : whose.
    """

    def __init__(self, lowered: Lowered, rank: Rank) -> None:
        super().__init__(lowered, rank)
        self._memory = mmap.mmap(-1, self.arena_nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self.arena = int(self._bytes.ctypes.data)

    def touch(self) -> None:
        """Clear it, so that every page of it is there."""
        self._bytes[:] = 0

    def array(self, value: str, *, slot: int = 0) -> Array:
        """A view of a value in the arena, by name; see `offset`. Intermediates share memory: look at them at once."""
        return self.view(value, self.offset(value, slot))

    def view(self, value: str, at: int) -> Array:
        """What lies `at` so many bytes, as a value by name."""
        t = self.lowered.graph.type_of(value)
        return self._bytes[at : at + t.nbytes].view(t.dtype.numpy).reshape(t.shape)

    def buffer(self, name: str, slot: int = 0) -> Array:
        """A view of a slot of a buffer as f32 (as bytes, when it holds mixed types)."""
        b, at = self.plan.buffer(self.rank, name), self.lowered.layout.buffers[name, slot]
        found = self._bytes[at : at + b.size * b.itemsize]
        return found.view(np.float32) if b.itemsize == 4 else found

    def persistent(self) -> dict[str, Array]:
        """Views of all parameters and state of the graph, by name, for a rank that holds them whole."""
        return {name: self.array(name) for name in self.persistent_names()}

    def piece(self, p: Piece) -> Array:
        """A view of a piece of a parameter or state."""
        t, at = self.lowered.graph.type_of(p.name).dtype, self.piece_offset(p)
        return self._bytes[at : at + p.size * t.itemsize].view(t.numpy).reshape(p.shape)

    def put(self, p: Piece, values: Array) -> None:
        """Set a piece of a parameter or state."""
        self.piece(p)[...] = values

    def load(self, values: Mapping[str, Array]) -> None:
        """Set parameters or state by name."""
        for name, a in values.items():
            self.array(name)[...] = a

    def as_words(self) -> npt.NDArray[np.int16]:
        """All of it as words of 16 bits."""
        return self._bytes[: self.arena_nbytes // 2 * 2].view(np.int16)
