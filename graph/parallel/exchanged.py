"""The checker's second book: values that ranks put together, piece by piece (`graph.parallel.plan.Exchange`).

Every rank that writes such a value enters a piece. In a gathered value every reader must find the same pieces in the same
places; in a summed one some reader must find the pieces of all, and nobody one of them twice.
"""

from collections.abc import Sequence

from graph.errors import InvalidPlan
from graph.parallel.instruction import Ref
from graph.parallel.ledger import Contribution, Marks, bits
from graph.parallel.machine import Action
from graph.parallel.plan import Exchange, Plan, Rank

Key = tuple[str, str, int]  # role, buffer, number of the value


class Exchanged:
    """All exchanged values of one run of a plan.

    Parameters
    ----------
    plan : what is played.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[Contribution] = []  # bit k of a set is piece k
        self.written: dict[Key, int] = {}
        self.fullest: dict[Key, int] = {}
        self.found: dict[Key, tuple[Rank, tuple[int, ...]]] = {}

    def write(self, a: Action, ref: Ref) -> Marks:
        """A rank puts its piece into a value."""
        rank = a.machine.rank
        self.made.append(Contribution(rank, a.id, ref.buffer))
        piece = 1 << len(self.made) - 1
        key = rank.role, ref.buffer, ref.index
        self.written[key] = self.written.get(key, 0) | piece
        return Marks(piece)

    def read(self, a: Action, ref: Ref, parts: Sequence[Marks]) -> None:
        """A rank reads a value whose parts hold these pieces.

        Raises `InvalidPlan` when a part is empty or holds a piece twice, or another rank found something else.
        """
        rank = a.machine.rank
        key = rank.role, ref.buffer, ref.index
        if any(p.many for p in parts):
            twice = next(p.many for p in parts if p.many)
            raise InvalidPlan(f"{a!r} reads {ref.buffer!r}, which contains the piece of {self._name(twice)} more than once")
        if self.plan.buffer(rank, ref.buffer).exchange == Exchange.SUM:
            mine = parts[self.plan.index(rank, tuple(self.plan.role[rank.role].axes))[0] % len(parts)].some
            self.fullest[key] = max(self.fullest.get(key, 0), mine, key=int.bit_count)
            return
        pieces = tuple(p.some for p in parts)
        pieces = pieces[:1] if len(set(pieces)) == 1 else pieces
        first, known = self.found.setdefault(key, (rank, pieces))
        if known != pieces:
            raise InvalidPlan(
                f"{a!r} reads {ref.buffer!r} {ref.index}, which is to be gathered, but finds other pieces there than {first} has"
            )

    def finish(self) -> None:
        """Nothing can happen any more; raises `InvalidPlan` when nobody has the whole of a sum that somebody reads."""
        for key, most in self.fullest.items():
            if missing := self.written[key] & ~most:
                raise InvalidPlan(
                    f"nobody who reads {key[1]!r} {key[2]} of role {key[0]!r} has the sum of all: that of {self._name(missing)} "
                    f"is missing"
                )

    def _name(self, pieces: int) -> str:
        """The first of a set of pieces, for a message."""
        m = self.made[next(bits(pieces), 0)]
        return f"{m.rank}:{'/'.join(map(str, m.id))}"
