"""Connections: all that a transfer from a rank that plays to a peer needs to know, looked up once."""

from graph.parallel.plan import Peer, Plan, Rank
from graph.record import record
from sim.fold import Fold, Unfolded
from sim.model import SystemModel
from sim.network import Weighted


@record
class Connection:
    """From a rank that plays to another.

    Parameters
    ----------
    source, dst, rep : from whom, to whom, and who plays for that one.
    links : of the route, with their weights.
    copies : the ranks for whose letters the sender's stands.
    latency : seconds.
    """

    source: Rank
    dst: Rank
    rep: Rank
    links: Weighted
    copies: tuple[Rank, ...]
    latency: float


class Connections:
    """The connections of a run."""

    def __init__(self, plan: Plan, model: SystemModel, fold: Fold | Unfolded) -> None:
        self._plan, self._model, self._fold = plan, model, fold
        self._known: dict[tuple[Rank, Peer | Rank], Connection] = {}

    def of(self, source: Rank, to: Peer | Rank) -> Connection:
        """From a rank that plays to whom it calls `to`."""
        found = self._known.get((source, to))
        if found is None:
            found = self._known[source, to] = self._made(source, to)
        return found

    def _made(self, source: Rank, to: Peer | Rank) -> Connection:
        dst = self._plan.peer(source, to)
        return Connection(
            source=source,
            dst=dst,
            rep=self._fold.rep(dst),
            links=self._fold.route(source, dst, to),
            copies=self._fold.sources(source, to),
            latency=self._model.latency(source, dst),
        )
