"""Collective algorithms, one a file: a program over a group, and beside it the closed form that it must equal.

To add one, write its file and add its line here; the counted-once check, the order checks and the comparison with its closed
form then run on it by themselves.
"""

from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.collectives.all_gather import ALL_GATHER
from graph.parallel.collectives.broadcast import BROADCAST
from graph.parallel.collectives.direct import DIRECT
from graph.parallel.collectives.direct_all_gather import DIRECT_ALL_GATHER
from graph.parallel.collectives.direct_reduce_scatter import DIRECT_REDUCE_SCATTER
from graph.parallel.collectives.doubling import DOUBLING
from graph.parallel.collectives.reduce import REDUCE
from graph.parallel.collectives.reduce_scatter import REDUCE_SCATTER
from graph.parallel.collectives.ring import RING
from graph.parallel.collectives.tree import TREE

__all__ = ["COLLECTIVES"]

for _name, _algorithm in (
    ("ring", RING),
    ("reduce_scatter", REDUCE_SCATTER),
    ("all_gather", ALL_GATHER),
    ("tree", TREE),
    ("doubling", DOUBLING),
    ("direct", DIRECT),
    ("direct_reduce_scatter", DIRECT_REDUCE_SCATTER),
    ("direct_all_gather", DIRECT_ALL_GATHER),
    ("broadcast", BROADCAST),
    ("reduce", REDUCE),
):
    COLLECTIVES.add(_name, _algorithm)
