"""One rank that stands on an emulated NFU: its arena, its calls at their places, and how long each of its actions takes.

Synapses lie in the arena in the order of the program that reads them, so they are packed when they are loaded. What the NFU has
not is computed by the CPU's kernels, as its processor would.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Kind
from graph.parallel.plan import Do, Rank
from graph.parallel.unroll import unroll
from graph.passes.fixed_point import fixed_values
from graph.timeline import Record
from hw.cost.nfu import is_on_processor
from hw.kernels.record import Call
from hw.lowered import Lowered
from hw.model import INPUT, PlacedModel
from runtime.arena import Arena
from runtime.data.dataset import Dataset
from runtime.errors import InvalidJob, MissingCapability
from runtime.native import call as call_native
from runtime.native import native
from runtime.nfu.bound import Bound, bind
from runtime.nfu.clock import RankClock, require_engines, total_of

Reals = npt.NDArray[np.float32]
Programs = dict[tuple[Any, ...], Bound]
"""What has been bound already: ranks of a role have the same places in their arenas."""


@native
def _run_one(function: int, argument: int) -> None:
    call_native(function, argument)


class NfuRank:
    """A rank on an NFU.

    Parameters
    ----------
    lowered : its role's, for `Platform.NFU`.
    rank : whose.
    model : where it stands.
    programs : what its like have bound; it adds to them.

    Raises
    ------
    MissingCapability : it stands on no NFU, or takes no samples.
    """

    def __init__(self, lowered: Lowered, rank: Rank, model: PlacedModel, programs: Programs) -> None:
        device = model.device_of(rank)
        if device.nfu is None:
            raise MissingCapability(f"{rank} stands on {device.name}, which is no NFU: it can be predicted, not emulated")
        if INPUT not in lowered.segments:
            raise MissingCapability(
                f"{rank} takes no samples from a data set, so there is nothing to compute; it can be predicted"
            )
        require_engines(model, rank)
        self.lowered, self.rank, self.model, self.nfu = lowered, rank, model, device.nfu
        self.arena = Arena(lowered, rank)
        self.arena.touch()
        self.memory = self.arena.as_words()
        self._bound = programs
        self._native: dict[tuple[Any, ...], tuple[int, npt.NDArray[np.int64]]] = {}
        self._seconds: dict[str, float] = {}
        self._notes: dict[str, object] = {}
        self.logits = lowered.graph.outputs["logits"]

    # --- values ---

    def load(self, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Set parameters and state, given in floats or in words; see `Player.load`."""
        graph = self.lowered.graph
        wanted = [v for kind in (Kind.PARAMETER, Kind.STATE) for v in graph.of_kind(kind)]
        for v in wanted:
            got = values.get(v.name)
            if got is None or got.shape != v.type.shape:
                what = "nothing" if got is None else str(list(got.shape))
                raise InvalidJob(f"{graph.name} has {v.name!r} of shape {list(v.type.shape)}, got {what}")
        words = fixed_values(graph, values)
        self.arena.load({v.name: words[v.name] for v in wanted})
        self._pack(words)

    def _pack(self, words: Mapping[str, npt.NDArray[Any]]) -> None:
        """Synapses in the order of the program that reads them; each has one, and no other reader."""
        readers = Counter(v for c in self.lowered.calls for v in c.reads)
        for do in (a.ins for a in unroll(self.lowered.plan, self.rank) if isinstance(a.ins, Do)):
            for c in self.lowered.segments[do.kernel]:
                bound = None if is_on_processor(c) else self.bound(do, c)
                if bound is None or not bound.layer.synapses:
                    continue
                name = c.reads[1]
                if readers[name] > 1 or name not in words:
                    why = f"are read by {readers[name]} operators" if name in words else "are computed, not loaded"
                    raise MissingCapability(
                        f"synapses {name!r} {why}: they are brought into the order of one program, once, when they are loaded"
                    )
                self.arena.array(name).reshape(-1)[...] = bound.packed(words[name])

    def steps(self, data: Dataset, steps: int) -> Iterator[tuple[npt.NDArray[np.int64], Reals]]:
        """Step after step: numbers of its samples, and their logits."""
        for step, actions in groupby(unroll(self.lowered.plan, self.rank, steps), key=lambda a: int(a.id[0])):
            for a in actions:
                if isinstance(a.ins, Do) and a.ins.kernel == INPUT:
                    which = self._take(data, a.ins, step)
                elif isinstance(a.ins, Do):
                    self._do(a.ins)
            yield which, np.array(self.arena.array(self.logits), np.float32)

    def _take(self, data: Dataset, do: Do, step: int) -> npt.NDArray[np.int64]:
        """Bring the samples of a step into the data buffer."""
        (name,) = (v for c in self.lowered.segments[INPUT] for v in c.writes)
        x = self.arena.view(name, self.lowered.offset(do, name, self.rank))
        plan, size = self.lowered.plan, len(x)
        part, parts = plan.index(self.rank, plan.role[self.rank.role].sample_axes)
        which = ((step * parts + part) * size + np.arange(size)) % len(data)
        x.reshape(size, -1)[...] = data.images[which].reshape(size, -1) * np.float32(data.scale)
        return which

    def _do(self, do: Do) -> None:
        for c in self.lowered.segments[do.kernel]:
            if is_on_processor(c):
                function, argument = self.native(do, c)
                _run_one(function, argument.ctypes.data)
            else:
                self.bound(do, c).run(self.memory)

    def bound(self, do: Do, c: Call) -> Bound:
        """A call of the NFU at the places that an action names."""
        busy = self.model.busy(self.rank)
        key = (self.rank.role, self.nfu, busy, c.nodes, *self._places(do, c))
        if key not in self._bound:

            def offset(value: str) -> int:
                return self.lowered.offset(do, value, self.rank)

            self._bound[key] = bind(c, self.nfu, busy, offset, self.lowered.layout.workspace)
        return self._bound[key]

    def native(self, do: Do, c: Call) -> tuple[int, npt.NDArray[np.int64]]:
        """Address and arguments of a call of the processor at the places that an action names."""
        from runtime.kernels.table import address, block

        places = self._places(do, c)
        key = (c.nodes, *places)
        if key not in self._native:
            base = self.arena.arena
            addresses = [base + at for at in (*places, self.lowered.layout.workspace)]
            self._native[key] = address(c.kernel), block(c, addresses)
        return self._native[key]

    def _places(self, do: Do, c: Call) -> tuple[int, ...]:
        return tuple(self.lowered.offset(do, v, self.rank) for v in (*c.reads, *c.writes))

    # --- time ---

    def records(self, steps: int) -> Iterator[Record]:
        """When its actions were at work."""
        clock = RankClock(self.model, self.rank, seconds=self.seconds, note=self.note)
        return clock.play(unroll(self.lowered.plan, self.rank, steps))

    def seconds(self, do: Do) -> float:
        """Of an action: cycles of its instructions, and what the cost model says of the processor's calls."""
        if do.kernel not in self._seconds:
            calls = self.lowered.segments[do.kernel]
            if all(is_on_processor(c) for c in calls):
                self._seconds[do.kernel] = self.model.compute_seconds(self.rank, do)
            else:
                each = (self.model.call_seconds(self.rank, c) if is_on_processor(c) else self.bound(do, c).seconds for c in calls)
                self._seconds[do.kernel] = sum(each) + self.model.overheads.action
        return self._seconds[do.kernel]

    def note(self, do: Do) -> object:
        """What the NFU does in an action; None: nothing."""
        if do.kernel not in self._notes:
            bound = [self.bound(do, c) for c in self.lowered.segments[do.kernel] if not is_on_processor(c)]
            self._notes[do.kernel] = total_of([_note(b) for b in bound]) if bound else None
        return self._notes[do.kernel]


def _note(b: Bound) -> dict[str, Any]:
    t = b.timing
    cycles = {"cycles": t.total_cycles, "busy_cycles": t.busy_cycles}
    return {"instructions": len(b.program), **cycles, "stalls": dict(t.stalls)}
