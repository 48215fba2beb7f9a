"""What the player asks of a system: seconds, bytes a second and names, by rank. Structural, since `hw` cannot import `sim`.

`SystemModel` is the question; `hw.model` answers it for catalogue systems and calibrated hosts. `UniformModel` answers it
with two numbers and a function: for tests, closed forms and what-if. Who plays it: `sim.play`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

from graph.parallel.plan import Do, Instruction, Rank
from graph.record import record

Link = Hashable  # one direction of a link, a port, a card: whatever has a capacity of its own


class SystemModel(Protocol):
    """A system as the player sees it. Everything is asked in seconds, bytes and bytes per second, for one rank or a pair.

    Answers must not depend on when they are asked: the player may keep them.
    """

    def compute_seconds(self, rank: Rank, do: Do) -> float:
        """Seconds for which `do` occupies its engine when nothing disturbs it, without the host's launch."""
        ...

    def place(self, rank: Rank) -> Hashable:
        """What the rank runs on. Ranks of one place share its engines; a rank that shares nothing has a place of its own."""
        ...

    def engine(self, rank: Rank, stream: str) -> str:
        """Name of the engine that works for a stream (``"compute"``, ``"input"``, ``"comm>"``, ``"comm<"`` ...).

        Streams of a rank with the same engine share it: one action at a time, never interrupted, transfers first, then
        the action that was issued first. A CPU core is one engine for all streams; a GPU has one for each.
        """
        ...

    def send_seconds(self, rank: Rank, peer: Rank, nbytes: int) -> float:
        """Engine seconds of the sender when its core moves the bytes (shared memory); 0.0 when a DMA engine does.

        When it is above 0 the bytes are on no link: the letter arrives `latency` after the sender is done.
        When it is 0 the bytes flow over `route`, and no engine is held.
        """
        ...

    def recv_seconds(self, rank: Rank, peer: Rank, nbytes: int, add: bool) -> float:
        """Engine seconds of the receiver from the moment the letter is there: to copy it (or add it, with `add`); 0.0 for DMA."""
        ...

    def route(self, a: Rank, b: Rank) -> tuple[Link, ...]:
        """The directed links from `a` to `b`, in order; ``()`` when both are on one device."""
        ...

    def capacity(self, link: Link) -> float:
        """Bytes per second of a link."""
        ...

    def latency(self, a: Rank, b: Rank) -> float:
        """Seconds from the moment the last byte has left `a` until `b` has the letter."""
        ...

    def group(self, ranks: Sequence[Rank], is_direct: bool = False) -> tuple[float, float]:
        """(latency in seconds, bytes per second) that a closed form may count on for what a rank of this group sends, while all
        send to the next, or with `is_direct` each to all others.
        """
        ...

    def launch_seconds(self, rank: Rank, ins: Instruction) -> float:
        """Seconds the host needs to issue one instruction; it issues them one after another, a collective as one."""
        ...

    def launch_depth(self, rank: Rank) -> int:
        """How many issued actions may be unfinished before the host waits; at least 1."""
        ...

    def memory_bytes(self, rank: Rank) -> int:
        """Bytes that the rank needs at its peak."""
        ...

    def memory_capacity_bytes(self, rank: Rank) -> int:
        """Bytes that its device has for it."""
        ...

    def input_seconds(self, rank: Rank, do: Do) -> tuple[float, float]:
        """(storage, decode): seconds to read and to decode the batch that this "input" action takes, in the background."""
        ...

    def input_depth(self, rank: Rank) -> int:
        """Batches that the input stage prepares ahead (being made, or ready); 0: there is no input stage, batches are at hand."""
        ...

    def contention(self, rank: Rank) -> float:
        """Factor (>= 1.0) on compute seconds while a transfer from or to the rank is under way beside it; 1.0: undisturbed."""
        ...


def _nothing(rank: Rank, do: Do) -> float:
    return 0.0


@record
class UniformModel:
    """Like ranks on a full-bisection network of ports: every rank has a port out and a port in.

    Parameters
    ----------
    alpha : latency, seconds.
    beta : bytes per second of every port.
    compute : (rank, do) -> seconds.
    shared : one engine for all streams of a rank (a CPU core); else each stream has its own.
    send_rate, recv_rate, overhead : with `send_rate`, cores move the bytes: ``overhead + nbytes / rate`` engine seconds on
        either side (bytes per second; seconds). A `recv_rate` alone is the receiver's work on letters that a DMA engine brings.
    launch, depth : seconds to issue an action; unfinished actions at most.
    memory, memory_capacity : bytes needed, bytes there.
    storage, decode, prefetch : the input stage: seconds, seconds, batches.
    slowdown : contention factor.
    places : rank -> what it runs on, where several share engines.
    routes : (a, b) -> links, instead of the two ports; capacities of those links from `capacities` (default `beta`).
    """

    alpha: float = 0.0
    beta: float = 1e9
    compute: Callable[[Rank, Do], float] = _nothing
    shared: bool = False
    send_rate: float | None = None
    recv_rate: float | None = None
    overhead: float = 0.0
    launch: float = 0.0
    depth: int = 1024
    memory: int = 0
    memory_capacity: int = 1 << 62
    storage: float = 0.0
    decode: float = 0.0
    prefetch: int = 0
    slowdown: float = 1.0
    places: Callable[[Rank], Hashable] | None = None
    routes: Callable[[Rank, Rank], tuple[Link, ...]] | None = None
    capacities: Mapping[Link, float] | None = None

    def compute_seconds(self, rank: Rank, do: Do) -> float:
        """What the given function says."""
        return self.compute(rank, do)

    def place(self, rank: Rank) -> Hashable:
        """Its own, or what `places` says."""
        return rank if self.places is None else self.places(rank)

    def engine(self, rank: Rank, stream: str) -> str:
        """One core, or an engine for every stream."""
        return "core" if self.shared else stream

    def send_seconds(self, rank: Rank, peer: Rank, nbytes: int) -> float:
        """``overhead + nbytes / send_rate`` where cores move the bytes."""
        return 0.0 if self.send_rate is None else self.overhead + nbytes / self.send_rate

    def recv_seconds(self, rank: Rank, peer: Rank, nbytes: int, add: bool) -> float:
        """``overhead + nbytes / recv_rate``, the same for a copy and a sum."""
        return 0.0 if self.recv_rate is None else self.overhead + nbytes / self.recv_rate

    def route(self, a: Rank, b: Rank) -> tuple[Link, ...]:
        """The sender's port out and the receiver's port in, or what `routes` says."""
        return self.routes(a, b) if self.routes is not None else ((a, "out"), (b, "in"))

    def capacity(self, link: Link) -> float:
        """`beta`, unless `capacities` knows better."""
        return self.capacities.get(link, self.beta) if self.capacities is not None else self.beta

    def latency(self, a: Rank, b: Rank) -> float:
        """`alpha`."""
        return self.alpha

    def group(self, ranks: Sequence[Rank], is_direct: bool = False) -> tuple[float, float]:
        """(`alpha`, `beta`)."""
        return self.alpha, self.beta

    def launch_seconds(self, rank: Rank, ins: Instruction) -> float:
        """`launch`."""
        return self.launch

    def launch_depth(self, rank: Rank) -> int:
        """`depth`."""
        return self.depth

    def memory_bytes(self, rank: Rank) -> int:
        """`memory`."""
        return self.memory

    def memory_capacity_bytes(self, rank: Rank) -> int:
        """`memory_capacity`."""
        return self.memory_capacity

    def input_seconds(self, rank: Rank, do: Do) -> tuple[float, float]:
        """(`storage`, `decode`)."""
        return self.storage, self.decode

    def input_depth(self, rank: Rank) -> int:
        """`prefetch`."""
        return self.prefetch

    def contention(self, rank: Rank) -> float:
        """`slowdown`."""
        return self.slowdown
