"""Emulated time: when the actions of a rank begin and end, one after another, in the order that the plan fixes.

An action begins when those that it needs have ended (`graph.parallel.unroll`) and its engine is free. Its seconds are those of
its calls: a layer of the NFU takes the cycles of its instructions (`runtime.nfu.bound`), everything else what the device's cost
model says. Nothing is measured. Batches that come through an input stage are there when storage and decoding are through with
them; each holds one of its places until it has been copied.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graph.parallel.plan import Do, Rank
from graph.parallel.unroll import StepAction
from graph.timeline import Record
from hw.model import INPUT, PlacedModel
from runtime.errors import MissingCapability

Seconds = Callable[[Do], float]
Note = Callable[[Do], object]


def require_forward(actions: Sequence[StepAction]) -> None:
    """Raise `MissingCapability` for a plan in which ranks send each other something."""
    found = next((a for a in actions if not isinstance(a.ins, Do)), None)
    if found is not None:
        name = "/".join(map(str, found.id))
        raise MissingCapability(
            f"{name} moves something between ranks, and links are not emulated: such a plan can be predicted (trainscape "
            f"predict), not emulated; parallel.strategy: inference gives each rank its own samples and sends nothing"
        )


def require_engines(model: PlacedModel, rank: Rank) -> None:
    """Raise `MissingCapability` for a device that a host feeds kernel by kernel."""
    if model.device_of(rank).issue_seconds > 0:
        raise MissingCapability(f"{rank} stands on {model.device_of(rank).name}, whose host issues kernels; that is not emulated")


class RankClock:
    """The clock of one rank.

    Parameters
    ----------
    model : engines, and the input stage.
    rank : whose.
    seconds : of an action.
    note : what its record says of it.
    """

    def __init__(self, model: PlacedModel, rank: Rank, *, seconds: Seconds, note: Note) -> None:
        self.model, self.rank, self.seconds, self.note = model, rank, seconds, note
        self._ends: list[float] = []
        self._free: dict[str, float] = {}  # engine -> when
        self._batches = _Batches(model.input_depth(rank))

    def play(self, actions: Sequence[StepAction]) -> Iterator[Record]:
        """Records of actions, in an order in which they could be played one by one; what they need has been played before."""
        for a in actions:
            if not isinstance(a.ins, Do):
                raise MissingCapability(f"{'/'.join(map(str, a.id))} is no work of a device")
            yield self._do(a, a.ins)

    def _do(self, a: StepAction, do: Do) -> Record:
        ready = max((self._ends[k] for k in a.needs), default=0.0)
        engine = self.model.engine(self.rank, do.on)
        is_input, start = do.kernel == INPUT, max(ready, self._free.get(engine, 0.0))
        if is_input and self._batches.depth:
            start = max(start, self._batches.take(*self.model.input_seconds(self.rank, do)))
        end = start + self.seconds(do)
        if is_input and self._batches.depth:
            self._batches.give_back(end)
        self._free[engine] = end
        self._ends.append(end)
        return Record(
            rank=self.rank, id=a.id, stream=do.on, ready=ready, start=start, end=end, nbytes=do.work.nbytes, flop=do.work.flop,
            note=self.note(do),
        )  # fmt: skip


class _Batches:
    """When each batch is there: it is read once a place is free, and decoded after the one before."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._read = self._decoded = 0.0
        self._given_back: list[float] = []

    def take(self, storage: float, decode: float) -> float:
        """The next one."""
        number = len(self._given_back)
        place = self._given_back[number - self.depth] if number >= self.depth else 0.0
        self._read = max(self._read, place) + storage
        self._decoded = max(self._read, self._decoded) + decode
        return self._decoded

    def give_back(self, time: float) -> None:
        """It has been copied."""
        self._given_back.append(time)


def total_of(notes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the calls of an action amount to: instructions, cycles, and what of them was waiting."""
    stalls: dict[str, float] = {}
    for n in notes:
        for what, cycles in n["stalls"].items():
            stalls[what] = stalls.get(what, 0.0) + cycles
    return {key: sum(n[key] for n in notes) for key in ("instructions", "cycles", "busy_cycles")} | {"stalls": stalls}
