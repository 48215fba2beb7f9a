"""Collective algorithms, one a file: a program over a group, and beside it the closed form that it must equal.

To add one, write its file and add its line here; the counted-once check, the order checks and the comparison with its closed
form then run on it by themselves.
"""

from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.collectives.all_gather import ALL_GATHER
from graph.parallel.collectives.doubling import DOUBLING
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
):
    COLLECTIVES.add(_name, _algorithm)
