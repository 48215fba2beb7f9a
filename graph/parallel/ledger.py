"""The checker's books: who contributed to a gradient, which update took it, and how stale it was by then.

Contributions are numbered as they are made, and a set of them is the bits of a whole number: plans have very many.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from graph.errors import InvalidPlan
from graph.parallel.machine import Action
from graph.parallel.plan import Path, Plan, Rank, Ref


class Contribution(NamedTuple):
    """Who made a gradient, in which action, for which buffer."""

    rank: Rank
    id: Path
    buffer: str


class Update(NamedTuple):
    """An update of a parameter: by an action, from a gradient buffer. Replicas share it."""

    role: str
    id: Path
    buffer: str


class Marks(NamedTuple):
    """A multiset of contributions as two bit sets: those that are in it, and those that are in it more than once."""

    some: int = 0
    many: int = 0

    def plus(self, other: "Marks") -> "Marks":
        return Marks(self.some | other.some, self.many | other.many | self.some & other.some)


NOTHING = Marks()


class Ledger:
    """All contributions to gradients of one run of a plan, and what became of them.

    Attributes
    ----------
    taken : update -> the contributions it took, as bits.
    staleness : versions that a parameter had advanced between the making of a gradient and its use -> how often.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[Contribution] = []  # bit k of a set is contribution k
        self.born: list[Mapping[str, int]] = []  # versions of the parameters that each was made with
        self.taken: Counter[Update] = Counter()
        self.copies: dict[tuple[Any, ...], int] = {}
        self.by_replica: dict[tuple[Any, ...], int] = {}
        self.used: Counter[tuple[Any, ...]] = Counter()
        self.staleness: Counter[int] = Counter()

    def contribute(self, a: Action, buffer: str, versions: Mapping[str, int]) -> Marks:
        """Enter a gradient that an action made from these versions of the parameters; of copies, one counts."""
        rank = a.machine.rank
        if same := self.plan.buffer(rank, buffer).copies:
            others = tuple(c for c, axis in zip(rank.at, self.plan.role[rank.role].axes, strict=True) if axis not in same)
            number = self.copies.setdefault((rank.role, others, a.id, buffer), len(self.made))
            if number < len(self.made):
                return Marks(1 << number)
        self.made.append(Contribution(a.machine.rank, a.id, buffer))
        self.born.append(versions)
        return Marks(1 << len(self.made) - 1)

    def take(self, a: Action, w: Ref, r: Ref, marks: Marks, version: int) -> None:
        """An update of `w`, which has come to this version, takes the gradient `r`.

        Raises `InvalidPlan` when it takes nothing, or something twice, or another replica took something else.
        """
        rank = a.machine.rank
        if not marks.some:
            raise InvalidPlan(f"{a!r} updates {w.buffer!r} from {r.buffer!r}, to which nobody contributed")
        if marks.many:
            raise InvalidPlan(f"{a!r} takes the contribution of {self.name(marks.many)} to {r.buffer!r} more than once")
        role, b = self.plan.role[rank.role], self.plan.buffer(rank, w.buffer)
        shard: tuple[int, ...] = tuple(c for c, axis in zip(rank.at, role.axes, strict=True) if axis in b.sharded)
        if b.shared is not None:  # one parameter, many writers: each update is its own
            shard = rank.at
        part = self.plan.key(rank, r)[2]
        replica = rank.role, shard, a.id, w.buffer, r.buffer, part
        known = self.by_replica.get(replica)
        if known not in (None, marks.some):
            raise InvalidPlan(
                f"{a!r} and another replica update {w.buffer!r} from different gradients: only one of them has that of "
                f"{self.name((known or 0) ^ marks.some)}"
            )
        self.taken[Update(rank.role, a.id, r.buffer)] |= marks.some
        if known is not None:
            return  # the same update of another replica was looked at
        self.by_replica[replica] = marks.some
        before = rank.role, shard, w.buffer, part
        if twice := self.used[before] & marks.some:
            raise InvalidPlan(f"{a!r} takes the contribution of {self.name(twice)}, which an earlier update of {w.buffer!r} took")
        self.used[before] |= marks.some
        for k in bits(marks.some):
            if w.buffer in self.born[k]:
                self.staleness[version - self.born[k][w.buffer]] += 1

    def name(self, marks: int) -> str:
        """The first of a set of contributions, for a message."""
        m = self.made[next(bits(marks))]
        return f"{m.rank}:{'/'.join(map(str, m.id))}"

    @property
    def lost(self) -> int:
        """The contributions that no update took, as bits."""
        used = 0
        for marks in self.taken.values():
            used |= marks
        return ((1 << len(self.made)) - 1) & ~used

    def contributions(self, marks: int) -> frozenset[Contribution]:
        """The contributions of a set of bits."""
        return frozenset(self.made[k] for k in bits(marks))


def bits(n: int) -> Iterator[int]:
    """Places of the bits that are set, from the lowest."""
    while n:
        low = n & -n
        yield low.bit_length() - 1
        n ^= low
