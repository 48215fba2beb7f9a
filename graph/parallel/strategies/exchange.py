"""The strategy `exchange`: no training at all, only all-reduces of given sizes. Calibration plays it to measure a link."""

from collections.abc import Sequence

from graph.errors import InvalidPlan
from graph.ir import Graph
from graph.parallel.plan import Buffer, BufferKind, Plan, Role

TINY = 16  # elements


NOTHING = Graph(name="exchange", inputs=(), nodes=(), outputs={})


def exchange(
    model: Graph | None,
    optimizer: object,
    *,
    ranks: int,
    steps: int,
    sizes: Sequence[int] = (),
    actions: int = 0,
    collective: str = "ring",
) -> Plan:
    """A plan with one role, ``worker``.

    Parameters
    ----------
    model, optimizer : not looked at; every strategy is given them.
    ranks : workers.
    steps : repeats.
    sizes : elements (f32) of the buffers that are summed over the workers in each step, one after another.
    actions : tiny sums in each step, before that.
    collective : all-reduce algorithm.

    Raises
    ------
    InvalidPlan : a number is out of range.
    """
    if ranks < 1 or steps < 1 or actions < 0 or any(n < ranks for n in sizes):
        raise InvalidPlan(
            f"exchange takes ranks and steps >= 1, and sizes of at least one element a rank, got {ranks}, {steps}, {list(sizes)}"
        )
    buffers = {f"e{k}": Buffer(size=n, kind=BufferKind.STATE) for k, n in enumerate(sizes)}
    tiny = {name: Buffer(size=TINY, kind=BufferKind.STATE) for name in ("tiny", "other")}
    params = {
        "steps": steps,
        "buffers": tuple(buffers),
        "actions": actions,
        "collective": collective,
        "along": ("dp",) if ranks > 1 else (),
    }
    buffers = {**tiny, **buffers}
    return Plan(
        (Role(name="worker", program="exchange", params=params, axes={"dp": ranks}, buffers=buffers, graph=NOTHING, loss="none"),)
    )
