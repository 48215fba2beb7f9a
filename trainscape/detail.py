"""How closely transfers are looked at where nobody says: each is played, unless there are so many that it would take minutes.

Two things make them many: hundreds of ranks that all send to all, and rounds, in each of which they do. Then a collective is one
event with the seconds of its closed form. Messages outside of collectives are played at either detail.
"""

from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.plan import Collective, Plan
from graph.parallel.unroll import instructions
from sim.play import Detail

AUTO = "auto"
"""What stands for: as `detail_of` says."""
MOST = 200_000
"""Transfers of a step in collectives that are played; a computer plays some ten thousand in a second, and several steps."""


def transfers(plan: Plan) -> int:
    """Transfers of a step in collectives, of all ranks, by formula; those of ranks that are alike count too.

    Raises `InvalidPlan` when a program waits for what it hears.
    """
    total = 0
    for role in plan.roles:
        me, size = plan.first_rank(role.name), sum(r.role == role.name for r in plan.ranks)
        for i in instructions(plan, me, 1, first=1):
            if isinstance(i, Collective):
                ranks = plan.index(me, i.along)[1]
                total += COLLECTIVES[i.algorithm].transfers(ranks) * size // ranks
    return total


def detail_of(plan: Plan) -> Detail:
    """The detail at which a plan is predicted within seconds."""
    return Detail.FLOW if transfers(plan) <= MOST else Detail.CLOSED_FORM
