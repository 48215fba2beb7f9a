"""Who deals with whom, as a role's program says it: found by running the program once, unplayed. For `sim.fold`."""

from collections.abc import Callable, Hashable

from graph.parallel.collectives import COLLECTIVES
from graph.parallel.plan import Collective, Do, Instruction, Peer, Plan, Rank, Recv, Role, Send
from sim.errors import SimError

Place = tuple[tuple[str, ...], int]  # axes, and an index along them
EVERYWHERE: Place = ((), 0)


class Relations:
    """The distinct peers, groups and kernels that a role's program names, found by running it once, unplayed.

    Raises `SimError` when the program waits for answers: then what it does next depends on the rank.
    """

    def __init__(self, plan: Plan, role: Role, is_priced: Callable[[Rank, Collective], bool]) -> None:
        self.sent: dict[Peer | Rank, list[Hashable]] = {}  # to whom, what: of each letter its tag and its share of which buffer
        self.streams: dict[str, set[Peer | Rank]] = {}  # and on which streams
        self.heard: dict[Peer | Rank, list[Hashable]] = {}  # from whom, what
        self.users: dict[Peer | Rank, dict[Place, None]] = {}  # which ranks of the role send to a peer or receive from it
        self.groups: dict[tuple[tuple[str, ...], bool], None] = {}  # along which collectives are one event, and whether direct
        self.kernels: dict[tuple[str, str], Do] = {}  # the first of each kernel on each stream
        self.indexed: dict[tuple[str, ...], None] = {}  # along which no two ranks are alike
        self._plan, self._me, self._is_priced = plan, plan.first_rank(role.name), is_priced
        self._seen: set[tuple[str, tuple[str, ...], int]] = set()
        for i in plan.start(self._me):
            self._visit(i)

    def _visit(self, i: Instruction) -> None:
        if i.wait or (isinstance(i, Recv) and isinstance(i.source, str)):
            id = "/".join(map(str, i.id))
            raise SimError(f"role {self._me.role!r} waits for answers ({id}), so its ranks cannot be folded")
        if isinstance(i, Do):
            self.kernels.setdefault((i.kernel, i.on), i)
        elif isinstance(i, Collective):
            if (i.algorithm, i.along, i.root) not in self._seen:
                self._seen.add((i.algorithm, i.along, i.root))
                self._visit_collective(i)
        else:
            self._note(i, EVERYWHERE)

    def _visit_collective(self, c: Collective) -> None:
        algorithm = COLLECTIVES[c.algorithm]
        if self._is_priced(self._me, c):
            self.groups[c.along, algorithm.is_direct] = None
        elif algorithm.symmetric:
            for i in self._plan.transfers(self._me, c):
                self._note(i, EVERYWHERE)
        else:
            self.indexed[c.along] = None
            for k, rank in enumerate(self._plan.group(self._me, c.along)):
                for i in self._plan.transfers(rank, c):
                    self._note(i, (c.along, k))

    def _note(self, i: Instruction, place: Place) -> None:
        """An instruction of the ranks with this index along these axes (all ranks: along none)."""
        if isinstance(i, Send):
            self.sent.setdefault(i.to, []).append((i.tag, i.what.buffer, i.what.parts))
            self.streams.setdefault(i.on, set()).add(i.to)
            self.users.setdefault(i.to, {})[place] = None
        elif isinstance(i, Recv) and not isinstance(i.source, str):
            self.heard.setdefault(i.source, []).append((i.tag, i.into.buffer, i.into.parts))
            self.users.setdefault(i.source, {})[place] = None

    @property
    def alone(self) -> set[Peer | Rank]:
        """The peers that share no stream with another."""
        return set(self.sent) - {peer for peers in self.streams.values() if len(peers) > 1 for peer in peers}
