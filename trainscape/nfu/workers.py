"""Figures of many designs, worked out by several processes (`trainscape.processes`), a line for each design."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.layer import Layer
from trainscape.nfu.config import document, from_document
from trainscape.nfu.explore import Work
from trainscape.nfu.shape import read_shape, shape_text
from trainscape.nfu.space import Point
from trainscape.processes import MOST, answers, serve

WORTH = 100
"""Points from which on a second process saves more than its start costs, about half a second."""

Row = dict[str, Any]


def results(
    layers: Sequence[Layer], base: Nfu, points: Sequence[Point], workers: int | None = None
) -> Iterator[tuple[Point, Row]]:
    """Each point with its figures or why it cannot be, in whatever order they are done.

    Parameters
    ----------
    layers, base : the work, and everything that a point does not say.
    points : designs.
    workers : processes; None: one for each core where there is enough to do.
    """
    count = workers or (1 if len(points) < WORTH else min(len(os.sched_getaffinity(0)), MOST))
    if count == 1:
        work = Work(layers)
        for point in points:
            yield point, result(work, base, point)
        return
    yield from _shared(layers, base, points, count)


def result(work: Work, base: Nfu, point: Point) -> Row:
    """What a design does, or why it cannot be."""
    try:
        return point.document() | work.figures(point.nfu(base))
    except HwError as e:
        return point.document() | {"refused": str(e)}


def _shared(layers: Sequence[Layer], base: Nfu, points: Sequence[Point], count: int) -> Iterator[tuple[Point, Row]]:
    shares = _shares(points, count)
    same = {
        "layers": [{"name": layer.name, "shape": shape_text(layer)} for layer in layers],
        "nfu": document(base),
    }
    jobs = [{**same, "points": [points[i].document() for i in share]} for share in shares]
    waiting = [iter(share) for share in shares]
    for number, row in answers("trainscape.nfu.workers", jobs, [len(share) for share in shares]):
        yield points[next(waiting[number])], row


def _shares(points: Sequence[Point], count: int) -> list[list[int]]:
    """Points for each process; those that differ in their words alone stay together, for their cycles are found once."""
    shares: list[list[int]] = [[] for _ in range(count)]
    number, before = -1, None
    for i, p in enumerate(points):
        key = (p.tn, p.rows, p.dram_bytes_per_second)
        number, before = (number, before) if key == before else (number + 1, key)
        shares[number % count].append(i)
    return shares


def main() -> None:
    """A process that works."""
    serve(_answer)


def _answer(job: Any) -> Iterator[Row]:
    work = Work([read_shape(x["shape"], x["name"]) for x in job["layers"]])
    base = from_document(job["nfu"])
    for said in job["points"]:
        yield result(work, base, Point.from_document(said))
