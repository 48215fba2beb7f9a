"""`PlacedModel`: what a player asks of a system (seconds, routes, memory), for a plan placed on its devices and hosts.

It answers `sim.model.SystemModel` without knowing it: kernels through the cost model of the device that a rank stands on,
transfers through the topology, memory from the arena. Where ranks stand is `hw.place`'s. Answers do not depend on when they are
asked, so they are kept.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from graph.parallel.plan import BufferKind, Do, Instruction, Plan, Rank
from graph.record import record
from hw.cost.alpha_beta import everybody, neighbours
from hw.cost.record import CostModel
from hw.device import Device, Engines
from hw.input_stage import InputStage
from hw.kernels.record import Call, Platform
from hw.link import Link
from hw.lowered import Lowered
from hw.place import placed
from hw.stack import Stack
from hw.system import HOST_PART, System
from hw.topology import Topology

PAGE = 4096  # bytes: memory is handed out in pages
GPU_PAGE = 2 << 20  # bytes: pages of a GPU (CUDA C++ programming guide, virtual memory management: 2 MiB granularity)
INPUT = "input"  # kernel of the action that takes a batch


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


class _Kind(NamedTuple):
    """Places of a kind are alike.

    Attributes
    ----------
    name : a kind of the system's devices, or ``"host"``.
    ranks : that stand there.
    sharers : places of its node that are in use and work on the same memory, itself among them.
    """

    name: str
    ranks: int
    sharers: int

    @property
    def is_host(self) -> bool:
        return self.name == HOST_PART


class PlacedModel:
    """A plan on a system.

    Parameters
    ----------
    system : the system.
    plan : the plan; its ranks are placed here.
    lowered : role -> its lowering, for the platform of what its ranks stand on (`hw.place.role_device`).
    cost : device -> what prices a kernel call on it; `hw.cost.cost_model` is one.
    overheads : of the player.
    memory_beyond_arena : bytes of a rank beyond its arena: input slots, tables, letters.
    page : bytes in which memory is handed out.
    input_waits : a step takes its batch when the one before has ended, as this project's own player on a GPU does; else while
        that computes.
    input_stage : how batches come.
    oversubscribed : more ranks than cores of this computer share cores; else they do not fit.
    stack : the framework whose time and memory are added; None: kernels and links alone.

    Raises
    ------
    DoesNotFit : the system has fewer devices or nodes than the plan asks for, or no known hosts.
    """

    def __init__(
        self,
        *,
        system: System,
        plan: Plan,
        lowered: Mapping[str, Lowered],
        cost: Callable[[Device], CostModel],
        overheads: Overheads | None = None,
        memory_beyond_arena: int = 0,
        page: int = PAGE,
        input_waits: bool = False,
        input_stage: InputStage | None = None,
        oversubscribed: bool = False,
        stack: Stack | None = None,
    ) -> None:
        self.stack = stack
        self.system, self.plan, self.lowered = system, plan, dict(lowered)
        self.overheads, self.input_stage = overheads or Overheads(), input_stage or InputStage()
        self.memory_beyond_arena, self.page = memory_beyond_arena, page
        self._compute_streams = frozenset({"update", INPUT} if input_waits else {"update"})
        self.topology = Topology(system)
        self.places = placed(
            plan, self.topology, oversubscribed=oversubscribed, is_numbered=stack is not None and stack.is_numbered
        )
        self._crowd = Counter(self.places.values())
        self._used = Counter((system.node_of(p), system.kind_at(p)) for p in self._crowd)
        self._kinds = {place: self._kind(place) for place in self._crowd}
        self._device = {kind: self._share(place) for place, kind in self._kinds.items()}
        self._cost = {kind: cost(device) for kind, device in self._device.items()}
        self._seconds: dict[Hashable, float] = {}

    def _kind(self, place: str) -> _Kind:
        name, node = self.system.kind_at(place), self.system.node_of(place)
        is_shared = name != HOST_PART and self.system.group(name).shares_memory
        return _Kind(name=name, ranks=self._crowd[place], sharers=self._used[node, name] if is_shared else 1)

    def _share(self, place: str) -> Device:
        """What one of the ranks at a place has of it: of a host an even share; cores of this computer are taken in turns."""
        device, kind = self.system.device_at(place), self._kinds[place]
        return device.scaled(Fraction(1, kind.ranks)) if kind.is_host else device

    def kind_of(self, rank: Rank) -> str:
        """What a rank stands on: a kind of the system's devices, or ``"host"``."""
        return self._kinds[self.places[rank]].name

    def device_of(self, rank: Rank) -> Device:
        """The device that a rank stands on, or its share of a host."""
        return self._device[self._kinds[self.places[rank]]]

    def cost_of(self, rank: Rank) -> CostModel:
        """What prices a rank's kernels."""
        return self._cost[self._kinds[self.places[rank]]]

    @property
    def cost_name(self) -> str:
        """Names of the cost models, for reports."""
        return " and ".join(sorted({c.name for c in self._cost.values()}))

    @cached_property
    def _link(self) -> Link | None:
        """The link that cores drive, where they do."""
        return next((w.link for w in self.system.wires if w.link.copies is not None), None)

    def busy(self, rank: Rank) -> int:
        """Devices that compute at the same time around the memory of a rank's device: cores of this computer, or devices that
        share one by what the system says.
        """
        is_cores = self.system.device.engines is Engines.SHARED
        return len(self._crowd) if is_cores else self._kinds[self.places[rank]].sharers

    def touched(self, rank: Rank) -> int:
        """Bytes that a rank's core touches in each step, again and again: the arenas of all that stand there."""
        return self.lowered[rank.role].layout.nbytes * (self._crowd[self.places[rank]] if self._is_core(rank) else 1)

    def _is_core(self, rank: Rank) -> bool:
        return self.device_of(rank).engines is Engines.SHARED

    def place(self, rank: Rank) -> Hashable:
        """Ranks of one place share its engines: those that take turns on a core or on the GPU of this computer.

        Of a host each has a share of its own.
        """
        place = self.places[rank]
        return place if self._crowd[place] > 1 and not self._kinds[place].is_host else rank

    # --- seconds ---

    def call_seconds(self, rank: Rank, call: Call) -> float:
        """Seconds of one kernel call."""
        return self.cost_of(rank).seconds(call, busy=self.busy(rank), touched=self.touched(rank))

    def compute_seconds(self, rank: Rank, do: Do) -> float:
        """Seconds for which `do` occupies its engine."""
        place = self.places[rank]
        key = rank.role, do.kernel, place if do.kernel == INPUT else self._kinds[place]
        if key not in self._seconds:
            calls = self.lowered[rank.role].segments[do.kernel]
            seconds = sum(self.call_seconds(rank, c) for c in calls) + self.overheads.action
            if do.kernel == INPUT:
                seconds = max(seconds + self.overheads.step, self._copy_seconds(rank))
                seconds += self.stack.step_seconds(self.plan, rank.role) if self.stack is not None else 0.0
            self._seconds[key] = seconds
        return self._seconds[key]

    def engine(self, rank: Rank, stream: str) -> str:
        """One core for everything, or an engine for each stream; kernels of two streams take turns, for the whole device is what
        each of them is priced with.
        """
        if self._is_core(rank):
            return "core"
        return "compute" if stream in self._compute_streams else stream

    def send_seconds(self, rank: Rank, peer: Rank, nbytes: int) -> float:
        """Seconds of the sender's core; 0.0 where a DMA engine sends."""
        return self._link.copies.send.seconds(nbytes) if self._link and self._link.copies else 0.0

    def recv_seconds(self, rank: Rank, peer: Rank, nbytes: int, add: bool) -> float:
        """Seconds of the receiver's core, or of the kernel that adds what a DMA engine brought: two reads and a write."""
        if self._link and self._link.copies:
            copies = self._link.copies
            return (copies.receive_add if add else copies.receive).seconds(nbytes)
        device = self.device_of(rank)
        return 3 * nbytes / (device.memory_bytes_per_second * device.efficiency.memory) if add else 0.0

    def launch_seconds(self, rank: Rank, ins: Instruction) -> float:
        """Seconds of the host to issue an instruction: one launch for each kernel of a segment."""
        calls = len(self.lowered[rank.role].segments[ins.kernel]) if isinstance(ins, Do) else 1
        return self.device_of(rank).issue_seconds * max(calls, 1)

    def launch_depth(self, rank: Rank) -> int:
        """Actions that the host may be ahead."""
        return max(self.device_of(rank).launch_depth, 1)

    def contention(self, rank: Rank) -> float:
        """Factor on compute while a transfer shares the device; the arithmetic of a DMA transfer is small, so 1 by itself."""
        return 1.0 if self.stack is None else self.stack.contention

    # --- routes ---

    def route(self, a: Rank, b: Rank) -> tuple[str, ...]:
        """Directed links from rank to rank."""
        return self.topology.route(self.places[a], self.places[b])

    def capacity(self, link: object) -> float:
        """Bytes per second of a directed link."""
        return self.topology.capacity(str(link))

    def latency(self, a: Rank, b: Rank) -> float:
        """Seconds of an empty message."""
        return self._link.latency_seconds if self._link else self.topology.latency(self.places[a], self.places[b])

    def group(self, ranks: Sequence[Rank], is_direct: bool = False) -> tuple[float, float]:
        """(latency, least bandwidth) of these ranks while all send: to the next in the ring, or directly to all."""
        if len(ranks) < 2:
            return 0.0, math.inf
        worst = (everybody if is_direct else neighbours)(self.topology, [self.places[r] for r in ranks])
        return self._link.latency_seconds if self._link else worst.latency_seconds, worst.bytes_per_second

    # --- memory and input ---

    def memory_bytes(self, rank: Rank) -> int:
        """Bytes that the rank needs: the pages of its arena, and what stands beside it."""
        lowered = self.lowered[rank.role]
        nbytes = lowered.layout.nbytes if self.stack is None else self.stack.nbytes(lowered)
        return -(-nbytes // self.page) * self.page + self.memory_beyond_arena

    def memory_capacity_bytes(self, rank: Rank) -> int:
        """Bytes of its device, or its share of what it stands on."""
        kind = self._kinds[self.places[rank]]
        nbytes = self.device_of(rank).memory_nbytes // (1 if kind.is_host else kind.ranks * kind.sharers)
        return nbytes if self.stack is None else int(nbytes * (1 - self.stack.reserved))

    @cached_property
    def _readers(self) -> dict[int, list[Rank]]:
        """Node -> its ranks that take batches."""
        found: dict[int, list[Rank]] = {}
        for rank, place in self.places.items():
            if INPUT in self.lowered[rank.role].segments:
                found.setdefault(self.system.node_of(place), []).append(rank)
        return found

    def input_seconds(self, rank: Rank, do: Do) -> tuple[float, float]:
        """(storage, decode) seconds of a batch, with the rank's share of its node's storage and cores."""
        node = self._readers[self.system.node_of(self.places[rank])]
        return self.input_stage.seconds(self._samples(rank), sum(self._samples(r) > 0 for r in node))

    def _samples(self, rank: Rank) -> int:
        """Samples of a batch that a rank takes; labels alone, which are whole numbers, are none."""
        graph, buffers = self.lowered[rank.role].graph, self.plan.role[rank.role].buffers.values()
        taken = [graph.type_of(v) for b in buffers if b.kind == BufferKind.DATA for v in b.values]
        return max((t.shape[0] for t in taken if t.dtype.is_float), default=0)

    def input_depth(self, rank: Rank) -> int:
        """Batches prepared ahead."""
        return self.input_stage.depth

    def _copy_seconds(self, rank: Rank) -> float:
        """Seconds in which a prepared batch comes from the host to the rank's device, while all of its node come."""
        place, s = self.places[rank], self.system
        if not self.input_stage.depth or not s.host_places or self.device_of(rank).platform is Platform.CPU:
            return 0.0
        node = s.node_of(place)
        users = Counter(x for r in self._readers[node] for x in self.topology.route(s.host_places[node], self.places[r]))
        route = self.topology.route(s.host_places[node], place)
        rate = min((self.topology.capacity(x) / users[x] for x in route), default=math.inf)
        if self.stack is not None and self.stack.copy_bytes_per_second is not None:
            rate = min(rate, self.stack.copy_bytes_per_second / len(self._readers[node]))
        nbytes = sum(c.work.bytes_written for c in self.lowered[rank.role].segments[INPUT])
        return self.topology.latency(s.host_places[node], place) + nbytes / rate

    # --- what to expect ---

    def spread(self, rank: Rank) -> float:
        """Relative standard deviation to expect of a step's compute.

        What kernels have of their own is independent from kernel to kernel, but the same for all calls of one; what they share is
        added.
        """
        cost = self.cost_of(rank)
        by_kernel: dict[str, tuple[float, float]] = {}
        total = shared = 0.0
        for calls in self.lowered[rank.role].segments.values():
            for c in calls:
                t = self.call_seconds(rank, c)
                seconds, _ = by_kernel.get(c.kernel, (0.0, 0.0))
                by_kernel[c.kernel] = seconds + t, cost.spread(c)
                total, shared = total + t, shared + t * cost.shared_spread(c)
        return math.hypot(shared, *(t * s for t, s in by_kernel.values())) / total if total else 0.0
