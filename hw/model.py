"""`PlacedModel`: what a player asks of a system (seconds, routes, memory), for a plan placed on its devices.

It answers `sim.model.SystemModel` without knowing it: kernels through a cost model, transfers through the topology, memory from
the arena. Ranks take the devices in the order of the best ring. Answers do not depend on when they are asked, so they are kept.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise

from graph.parallel.plan import Do, Instruction, Plan, Rank
from graph.record import record
from hw.cost.record import CostModel
from hw.device import Device, Engines
from hw.errors import DoesNotFit
from hw.kernels.record import Call
from hw.link import Link
from hw.lowered import Lowered
from hw.system import System
from hw.topology import Topology

PAGE = 4096  # bytes: memory is handed out in pages


@record
class Overheads:
    """What a player adds to kernels, in seconds: measured by calibration on a host, 0 on devices that a host feeds.

    Parameters
    ----------
    action : of each `Do`, beyond its kernels.
    step : of each step, beyond its actions; charged to its first action, the input.
    """

    action: float = 0.0
    step: float = 0.0


@record
class InputStage:
    """How batches come: seconds to read and to decode one, how many are prepared ahead (0: they are at hand)."""

    storage_seconds: float = 0.0
    decode_seconds: float = 0.0
    depth: int = 0


class PlacedModel:
    """A plan on a system.

    Parameters
    ----------
    system : the system.
    plan : the plan; its ranks are placed here.
    lowered : role -> its lowering.
    cost : prices a kernel call on the system's device.
    overheads : of the player.
    memory_beyond_arena : bytes of a rank beyond its arena: input slots, tables, letters.
    input_stage : how batches come.

    Raises
    ------
    DoesNotFit : the system has fewer devices than the plan has ranks.
    """

    def __init__(
        self,
        *,
        system: System,
        plan: Plan,
        lowered: Mapping[str, Lowered],
        cost: CostModel,
        overheads: Overheads | None = None,
        memory_beyond_arena: int = 0,
        input_stage: InputStage | None = None,
    ) -> None:
        self.system, self.plan, self.lowered, self.cost = system, plan, dict(lowered), cost
        self.overheads, self.input_stage = overheads or Overheads(), input_stage or InputStage()
        self.memory_beyond_arena = memory_beyond_arena
        self.topology = Topology(system)
        if len(plan.ranks) > len(system.places):
            raise DoesNotFit(
                f"the plan has {len(plan.ranks)} ranks, but {system.name} has {len(system.places)} devices; "
                f"use at most {len(system.places)} ranks"
            )
        self.place = dict(zip(plan.ranks, self.topology.ring_order(len(plan.ranks)), strict=True))
        self._seconds: dict[tuple[str, str, int], float] = {}

    @property
    def device(self) -> Device:
        """The device of every rank."""
        return self.system.device

    @property
    def is_shared(self) -> bool:
        """One engine does everything."""
        return self.device.engines is Engines.SHARED

    @cached_property
    def _link(self) -> Link | None:
        """The link that cores drive, where they do."""
        return next((w.link for w in self.system.wires if w.link.copies is not None), None)

    @property
    def busy(self) -> int:
        """Devices that compute at the same time around one memory."""
        return len(self.plan.ranks) if self.is_shared else 1

    @cached_property
    def touched(self) -> int:
        """Bytes that a rank touches in each step: its arena, again and again."""
        return max(low.layout.nbytes for low in self.lowered.values())

    def call_seconds(self, call: Call) -> float:
        """Seconds of one kernel call."""
        return self.cost.seconds(call, busy=self.busy, touched=self.touched)

    def compute_seconds(self, rank: Rank, do: Do) -> float:
        """Seconds for which `do` occupies its engine."""
        key = rank.role, do.kernel, 0
        if key not in self._seconds:
            calls = self.lowered[rank.role].segments[do.kernel]
            step = self.overheads.step if do.kernel == "input" else 0.0
            self._seconds[key] = sum(map(self.call_seconds, calls)) + self.overheads.action + step
        return self._seconds[key]

    def engine(self, rank: Rank, stream: str) -> str:
        """One core for everything, or an engine for each stream."""
        return "core" if self.is_shared else stream

    def send_seconds(self, rank: Rank, peer: Rank, nbytes: int) -> float:
        """Seconds of the sender's core; 0.0 where a DMA engine sends."""
        return self._link.copies.send.seconds(nbytes) if self._link and self._link.copies else 0.0

    def recv_seconds(self, rank: Rank, peer: Rank, nbytes: int, add: bool) -> float:
        """Seconds of the receiver's core, or of the kernel that adds what a DMA engine brought."""
        if self._link and self._link.copies:
            copies = self._link.copies
            return (copies.receive_add if add else copies.receive).seconds(nbytes)
        return 3 * nbytes / (self.device.memory_bytes_per_second * self.device.efficiency.memory) if add else 0.0

    def route(self, a: Rank, b: Rank) -> tuple[str, ...]:
        """Directed links from rank to rank."""
        return self.topology.route(self.place[a], self.place[b])

    def capacity(self, link: object) -> float:
        """Bytes per second of a directed link."""
        return self.topology.capacity(str(link))

    def latency(self, a: Rank, b: Rank) -> float:
        """Seconds of an empty message."""
        return self._link.latency_seconds if self._link else self.topology.latency(self.place[a], self.place[b])

    def group(self, ranks: Sequence[Rank]) -> tuple[float, float]:
        """(greatest latency, least bandwidth) between neighbours of the ring of these ranks."""
        pairs = [*pairwise(ranks), (ranks[-1], ranks[0])] if len(ranks) > 1 else []
        latency = max((self.latency(a, b) for a, b in pairs), default=0.0)
        bandwidth = min((self.topology.bandwidth(self.place[a], self.place[b]) for a, b in pairs), default=float("inf"))
        return latency, bandwidth

    def launch_seconds(self, rank: Rank, ins: Instruction) -> float:
        """Seconds of the host to issue an instruction: one launch for each kernel of a segment."""
        calls = len(self.lowered[rank.role].segments[ins.kernel]) if isinstance(ins, Do) else 1
        return self.device.issue_seconds * max(calls, 1)

    def launch_depth(self, rank: Rank) -> int:
        """Actions that the host may be ahead."""
        return max(self.device.launch_depth, 1)

    def memory_bytes(self, rank: Rank) -> int:
        """Bytes that the rank needs: the pages of its arena, and what stands beside it."""
        return -(-self.lowered[rank.role].layout.nbytes // PAGE) * PAGE + self.memory_beyond_arena

    def memory_capacity_bytes(self, rank: Rank) -> int:
        """Bytes of its device."""
        return self.device.memory_nbytes

    def input_seconds(self, rank: Rank, do: Do) -> tuple[float, float]:
        """(storage, decode) seconds of a batch."""
        return self.input_stage.storage_seconds, self.input_stage.decode_seconds

    def input_depth(self, rank: Rank) -> int:
        """Batches prepared ahead."""
        return self.input_stage.depth

    def contention(self, rank: Rank) -> float:
        """Factor on compute while a transfer shares the device; the arithmetic of a DMA transfer is small, so 1."""
        return 1.0

    def spread(self, rank: Rank) -> float:
        """Relative standard deviation to expect of a step's compute.

        What kernels have of their own is independent from kernel to kernel, but the same for all calls of one; what they share is
        added.
        """
        by_kernel: dict[str, tuple[float, float]] = {}
        total = shared = 0.0
        for calls in self.lowered[rank.role].segments.values():
            for c in calls:
                t = self.call_seconds(c)
                seconds, _ = by_kernel.get(c.kernel, (0.0, 0.0))
                by_kernel[c.kernel] = seconds + t, self.cost.spread(c)
                total, shared = total + t, shared + t * self.cost.shared_spread(c)
        return math.hypot(shared, *(t * s for t, s in by_kernel.values())) / total if total else 0.0
