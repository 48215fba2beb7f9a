"""Blocks of threads that carry out a program: divergence, barriers, memory, copies under way.

Threads are lanes of NumPy arrays, block beside block, each filled up to whole warps. Those at the same place of the program go on
together, the ones that are furthest behind first; so threads that went different ways meet again where the ways do. A copy lands
when it is waited for, the last moment at which it may; until then there is nonsense in its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.record import record
from runtime.ptx.decode import CONTROL, Do, decode, getter
from runtime.ptx.memory import BLOCK_BITS, Global, Shared
from runtime.ptx.parse import Instruction, Name, Program, PtxError
from runtime.ptx.traffic import Counter
from runtime.ptx.warps import WARP

Index = npt.NDArray[Any]
MOST_LANES = 4096
"""So many threads are played side by side; further blocks come after them."""
MOST_STEPS = 2_000_000
"""Basic blocks of a launch, after which it is taken to be endless."""


@record
class Block:
    """Instructions that are carried out one after the other.

    Parameters
    ----------
    begin, end : of the program; the one at `end` may be a control instruction.
    work : what they do, with the instruction, and the guard of each that has one.
    """

    begin: int
    end: int
    work: tuple[tuple[Do, Instruction, Any], ...]


class Code:
    """A program, ready to be carried out."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._blocks: dict[int, Block] = {}
        self.leaders = set(program.labels.values()) | {0}
        self.guards: dict[int, Any] = {
            i: (getter(program, ins.guard[0], "pred"), ins.guard[1]) for i, ins in enumerate(program.instructions) if ins.guard
        }

    def block(self, begin: int) -> Block:
        """The instructions from a place on up to a control instruction or a label."""
        if begin not in self._blocks:
            instructions, end, work = self.program.instructions, begin, []
            while end < len(instructions) and instructions[end].op[0] not in CONTROL:
                if end > begin and end in self.leaders:
                    break
                work.append((decode(self.program, instructions[end]), instructions[end], self.guards.get(end)))
                end += 1
            self._blocks[begin] = Block(begin=begin, end=end, work=tuple(work))
        return self._blocks[begin]


@dataclass
class Lanes:
    """Some lanes.

    Parameters
    ----------
    numbers : in order.
    where : as an index of an array of all lanes; all of them where the others are over, so that nothing has to be picked.
    """

    numbers: Index
    where: Any

    @cached_property
    def exactly(self) -> "Lanes":
        """The same, without those that are over."""
        return self if self.where is self.numbers else Lanes(self.numbers, self.numbers)

    def of(self, value: Any, dtype: Any) -> Any:
        """A value that was read with `where`, one element a lane."""
        found = np.asarray(value)
        if found.ndim == 0:
            return np.full(self.numbers.size, found).astype(dtype)
        if self.where is not self.numbers and found.size != self.numbers.size:
            found = found[self.numbers]
        return found.astype(dtype, copy=False)


@dataclass
class _Copy:
    """Copies that have not landed: of each the lane, its group, where in shared memory, and what."""

    lanes: Index
    group: Index
    places: Index
    values: npt.NDArray[np.uint8]


class Threads:
    """Some blocks of a launch.

    Parameters
    ----------
    code : what they carry out.
    grid, size : blocks of the launch; threads of a block.
    blocks : numbers of those that are played here.
    parameters : by name.
    memory : arrays of the launch.
    counter : counts what they do; None: nobody asks.
    """

    def __init__(
        self, code: Code, grid: tuple[int, int, int], size: int, blocks: Sequence[int], parameters: Mapping[str, Any],
        memory: Global, counter: Counter | None = None,
    ) -> None:  # fmt: skip
        self.code, self.grid, self.size = code, grid, size
        self.parameters, self.memory, self.counter = parameters, memory, counter
        padded = -(-size // WARP) * WARP
        self.total = padded * len(blocks)
        self.here = np.repeat(np.arange(len(blocks)), padded)
        self.thread = np.tile(np.arange(padded), len(blocks))
        self.number = np.repeat(np.asarray(blocks, np.int64), padded)
        self.who = (self.number << BLOCK_BITS | self.thread).astype(np.int32)
        self.alive = self.thread < size
        self.epoch = np.zeros(len(blocks), np.int32)
        self.shared = Shared(len(blocks), code.program.shared_nbytes)
        self.registers: dict[str, Any] = {}
        self._commits = np.zeros(self.total, np.int64)
        self._copies: list[_Copy] = []
        self._special: dict[str, Any] = {}

    # --------------------------------------------------------------------------------------------------------- registers

    def register(self, name: str, dtype: Any) -> Any:
        """Of all lanes; made when it is first written."""
        if name not in self.registers:
            self.registers[name] = np.zeros(self.total, dtype)
        return self.registers[name]

    def special(self, name: str) -> Any:
        """``%tid.x`` and the like, of all lanes."""
        if name not in self._special:
            x, y, _ = self.grid
            block = {"x": self.number % x, "y": self.number // x % y, "z": self.number // (x * y)}
            what, _, axis = name[1:].partition(".")
            one = dict(zip("xyz", (self.size, 1, 1), strict=True))
            found = {
                "tid": self.thread if axis == "x" else 0, "ntid": one.get(axis), "ctaid": block.get(axis),
                "nctaid": dict(zip("xyz", self.grid, strict=True)).get(axis), "laneid": self.thread % WARP,
            }[what]  # fmt: skip
            self._special[name] = np.broadcast_to(np.asarray(found, np.uint32), self.total)
        return self._special[name]

    # ---------------------------------------------------------------------------------------------------- going through it

    def run(self) -> None:
        """Until all threads are over.

        Raises
        ------
        PtxError : with the instruction: a thread did what none may; or they do not end.
        """
        ready: dict[int, list[Index]] = {0: [np.flatnonzero(self.alive)]}
        waiting: dict[int, list[Index]] = {}
        for _ in range(MOST_STEPS):
            if not ready:
                if not waiting:
                    return
                self._release(ready, waiting)  # of some blocks the threads that did not wait are over
                continue
            begin = min(ready)
            found = ready.pop(begin)
            numbers = found[0] if len(found) == 1 else np.sort(np.concatenate(found))
            self._step(begin, numbers, ready, waiting)
        raise PtxError("the launch does not end")

    def _step(self, begin: int, numbers: Index, ready: dict[int, list[Index]], waiting: dict[int, list[Index]]) -> None:
        lanes = Lanes(numbers, slice(None) if numbers.size == np.count_nonzero(self.alive) else numbers)
        block, instructions = self.code.block(begin), self.code.program.instructions
        for do, ins, guard in block.work:
            try:
                on = lanes if guard is None else self._guarded(lanes, guard)
                if on.numbers.size:
                    do(self, on)
            except PtxError as e:
                raise PtxError(f"{ins}: {e}") from e
        end = block.end
        if end == len(instructions):
            raise PtxError("the program does not return")
        ins = instructions[end]
        name = ins.op[0]
        if self.counter is not None:
            self.counter.carried_out(begin, end + (name in CONTROL), numbers)
        if name not in CONTROL:
            ready.setdefault(end, []).append(numbers)
            return
        taken, rest = numbers, numbers[:0]
        if end in self.code.guards:
            taken = self._guarded(lanes, self.code.guards[end]).numbers
            rest = np.setdiff1d(numbers, taken, assume_unique=True) if taken.size < numbers.size else rest
        if rest.size:
            ready.setdefault(end + 1, []).append(rest)
        if not taken.size:
            return
        if name in ("ret", "exit"):
            self.alive[taken] = False
        elif name == "bra":
            target = ins.operands[0]
            assert isinstance(target, Name)
            ready.setdefault(self.code.program.labels[target.name], []).append(taken)
        else:
            waiting.setdefault(end, []).append(taken)
            self._release(ready, waiting)

    def _guarded(self, lanes: Lanes, guard: Any) -> Lanes:
        get, is_negated = guard
        held = lanes.of(get(self, lanes), np.bool_)
        numbers = lanes.numbers[~held if is_negated else held]
        return lanes if numbers.size == lanes.numbers.size else Lanes(numbers, numbers)

    def _release(self, ready: dict[int, list[Index]], waiting: dict[int, list[Index]]) -> None:
        """Blocks all of whose threads wait, or are over, go on."""
        at = np.full(self.total, -1, np.int64)
        for place, groups in waiting.items():
            for numbers in groups:
                at[numbers] = place
        is_held = np.zeros(len(self.epoch), np.bool_)
        is_held[self.here[self.alive & (at < 0)]] = True
        free = np.unique(self.here[self.alive & (at >= 0)])
        free = free[~is_held[free]]
        if not free.size:
            return
        goes = np.isin(self.here, free) & self.alive
        rows, live = at.reshape(-1, WARP), goes.reshape(-1, WARP)
        if (np.where(live, rows, rows.max(1, keepdims=True)) != rows.max(1, keepdims=True)).any():
            raise PtxError("threads of a warp wait at different barriers")
        self.epoch[free] += 1
        for place in list(waiting):
            stay = [n[~goes[n]] for n in waiting.pop(place)]
            if any(n.size for n in stay):
                waiting[place] = [n for n in stay if n.size]
        for place in np.unique(at[goes]):
            ready.setdefault(int(place) + 1, []).append(np.flatnonzero(goes & (at == place)))

    # ------------------------------------------------------------------------------------------------------------ memory

    def _at(self, numbers: Index, granules: Index) -> tuple[Index, Index]:
        """Who, and in which epoch of its block, for a row of granules of each lane."""
        each = (self.who[numbers], self.epoch[self.here[numbers]])
        who, epoch = (np.broadcast_to(x[:, None], granules.shape) for x in each)
        return who, epoch

    def load_global(self, lanes: Lanes, at: Index, dtype: Any, count: int) -> Any:
        """(lanes, count) neighbouring elements at addresses."""
        width = np.dtype(dtype).itemsize
        if self.counter is not None:
            self.counter.everywhere(lanes.numbers, at, width * count)
        found = np.empty((at.size, count), dtype)
        for piece, some in self.memory.parts(at, width * count):
            data, first = self.memory.elements(piece, at[some], dtype)
            granules = self.memory.granules_of(piece, at[some], width * count)
            who, epoch = self._at(lanes.numbers[some], granules)
            self.memory.diaries[piece].reads(granules, who, epoch)
            found[some] = data[first[:, None] + np.arange(count)]
        return found

    def store_global(self, lanes: Lanes, at: Index, values: Any) -> None:
        """Write (lanes, count) neighbouring elements at addresses."""
        width, count = values.dtype.itemsize, values.shape[1]
        if self.counter is not None:
            self.counter.everywhere(lanes.numbers, at, width * count)
        for piece, some in self.memory.parts(at, width * count):
            data, first = self.memory.elements(piece, at[some], values.dtype)
            granules = self.memory.granules_of(piece, at[some], width * count)
            who, epoch = self._at(lanes.numbers[some], granules)
            self.memory.diaries[piece].writes(granules, who, epoch)
            data[first[:, None] + np.arange(count)] = values[some]

    def load_shared(self, lanes: Lanes, at: Index, dtype: Any, count: int) -> Any:
        """(lanes, count) neighbouring elements at addresses."""
        width = np.dtype(dtype).itemsize
        places = self.shared.places(self.here[lanes.numbers], at, width * count)
        granules = self.shared.granules_of(places, width * count)
        who, epoch = self._at(lanes.numbers, granules)
        if self.counter is not None:
            self.counter.shared(lanes.numbers, places, width * count)
        self.shared.diary.reads(granules, who, epoch)
        return self.shared.bytes.view(dtype)[places[:, None] // width + np.arange(count)]

    def store_shared(self, lanes: Lanes, at: Index, values: Any) -> None:
        """Write (lanes, count) neighbouring elements at addresses."""
        width, count = values.dtype.itemsize, values.shape[1]
        places = self.shared.places(self.here[lanes.numbers], at, width * count)
        granules = self.shared.granules_of(places, width * count)
        who, epoch = self._at(lanes.numbers, granules)
        if self.counter is not None:
            self.counter.shared(lanes.numbers, places, width * count)
        self.shared.diary.writes(granules, who, epoch)
        self.shared.bytes.view(values.dtype)[places[:, None] // width + np.arange(count)] = values

    # ------------------------------------------------------------------------------------------------------------ copies

    def copy(self, lanes: Lanes, to: Index, of: Index, nbytes: int, counts: Index) -> None:
        """Begin copies of so many bytes each, of which `counts` are read and the rest are zeros."""
        places = self.shared.places(self.here[lanes.numbers], to, nbytes)
        values = np.zeros((of.size, nbytes), np.uint8)
        real = np.flatnonzero(counts > 0)
        if (counts[real] != nbytes).any():
            raise PtxError("a copy of a part of its bytes")
        if real.size:
            some = Lanes(lanes.numbers[real], lanes.numbers[real])
            values[real] = self.load_global(some, of[real], np.uint32, nbytes // 4).view(np.uint8)
        granules = self.shared.granules_of(places, nbytes)
        who, epoch = self._at(lanes.numbers, granules)
        self.shared.diary.writes(granules, who, epoch, pending=True)
        self.shared.bytes[places[:, None] + np.arange(nbytes)] = 0xFF
        self._copies.append(_Copy(lanes.numbers, self._commits[lanes.numbers], places, values))

    def commit(self, lanes: Lanes) -> None:
        """The copies that a lane has begun since the last time are a group."""
        self._commits[lanes.numbers] += 1

    def wait(self, lanes: Lanes, most: int) -> None:
        """Until at most so many groups of a lane are under way."""
        waits = np.zeros(self.total, np.bool_)
        waits[lanes.numbers] = True
        kept = []
        for c in self._copies:
            done = waits[c.lanes] & (c.group < self._commits[c.lanes] - most)
            if done.any():
                places, nbytes, some = c.places[done], c.values.shape[1], c.lanes[done]
                granules = self.shared.granules_of(places, nbytes)
                who, epoch = self._at(some, granules)
                self.shared.diary.lands(granules, who, epoch)
                self.shared.bytes[places[:, None] + np.arange(nbytes)] = c.values[done]
            if not done.all():
                kept.append(_Copy(c.lanes[~done], c.group[~done], c.places[~done], c.values[~done]))
        self._copies = kept
