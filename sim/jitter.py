"""Chance in the simulator: every action's own draw, keyed by seed, rank and id, so it never depends on the order of events."""

from hashlib import blake2b
from math import exp
from statistics import NormalDist

from graph.parallel.plan import Path, Rank
from graph.record import record

_NORMAL = NormalDist()


@record
class Jitter:
    """Compute seconds are multiplied by a log-normal factor with median 1.

    Parameters
    ----------
    sigma : standard deviation of the factor's logarithm; 0.02 is about 2 %.
    seed : of the draws.
    """

    sigma: float
    seed: int = 0

    def factor(self, rank: Rank, id: Path, like: int = 1) -> float:
        """The factor of one action; with `like`, the largest of so many independent draws (folded ranks wait for the slowest).

        That is exact where the ranks meet after every action; where they meet after several it is a little too slow, since no
        rank is slowest in all of them.

        The maximum of n draws has the distribution function F**n, so one uniform number u gives it as F^-1(u ** (1 / n)).
        """
        digest = blake2b(repr((self.seed, rank, id)).encode(), digest_size=8).digest()
        u = (int.from_bytes(digest, "little") + 0.5) / 2.0**64
        return exp(self.sigma * _NORMAL.inv_cdf(min(u ** (1.0 / like), 1.0 - 2.0**-53)))
