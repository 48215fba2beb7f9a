"""Transfers as latency plus bytes over bandwidth (Hockney, The communication challenge for MPP, Parallel Computing 20, 1994).

The closed forms of collectives stand with their algorithms (`graph.parallel.collectives`); here is what they need to be told of
a system: latency and bandwidth between neighbours of a ring, or between any two.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations
from statistics import fmean

from graph.record import record
from hw.cost.calibrated import fit as fit_terms
from hw.errors import HwError
from hw.topology import Topology


@record
class AlphaBeta:
    """Seconds of a message: latency + nbytes / bytes_per_second."""

    latency_seconds: float
    bytes_per_second: float
    residuals: tuple[float, ...] = ()

    def seconds(self, nbytes: int) -> float:
        """Seconds of one message."""
        return self.latency_seconds + nbytes / self.bytes_per_second


def fit(nbytes: Sequence[int], seconds: Sequence[float]) -> AlphaBeta:
    """Latency and bandwidth that fit measured messages best in relative error.

    Raises `HwError` when the times do not grow with the bytes.
    """
    found = fit_terms([{"message": 1.0, "bytes": float(n)} for n in nbytes], seconds)
    if not found.coefficients["bytes"] > 0:
        raise HwError("the times do not grow with the bytes, so they tell no bandwidth; measure larger messages")
    rate = 1.0 / found.coefficients["bytes"]
    return AlphaBeta(latency_seconds=found.coefficients["message"], bytes_per_second=rate, residuals=found.residuals)


def neighbours(topology: Topology, ring: Sequence[str]) -> AlphaBeta:
    """The mean latency and the worst bandwidth between neighbours of a ring while all of them send to the next at once.

    What is passed on goes around the ring, so it meets the latency of every way in turn; but all wait for the slowest port. Links
    that several neighbours' routes share are divided among them.
    """
    if len(ring) < 2:
        raise HwError(f"a ring needs at least two devices, got {len(ring)}")
    pairs = [*pairwise(ring), (ring[-1], ring[0])]
    users: dict[str, int] = {}
    for a, b in pairs:
        for link in topology.route(a, b):
            users[link] = users.get(link, 0) + 1
    rate = min((topology.capacity(link) / n for link, n in users.items()), default=float("inf"))
    return AlphaBeta(latency_seconds=fmean(topology.latency(a, b) for a, b in pairs), bytes_per_second=rate)


def everybody(topology: Topology, places: Sequence[str]) -> AlphaBeta:
    """The worst latency, and the bandwidth of what each place sends to all others in all, while all of them do so.

    A link over which the routes of u of the n (n - 1) pairs lead carries u messages while each place sends n - 1, so it lets each
    send at (n - 1) / u times its capacity.
    """
    if len(places) < 2:
        raise HwError(f"a group needs at least two devices, got {len(places)}")
    pairs = list(permutations(places, 2))
    users = Counter(link for a, b in pairs for link in topology.route(a, b))
    rate = min((topology.capacity(link) * (len(places) - 1) / n for link, n in users.items()), default=float("inf"))
    return AlphaBeta(latency_seconds=max(topology.latency(a, b) for a, b in pairs), bytes_per_second=rate)
